"""The table of all items' codes: frozen, unique, complete."""

import json
from dataclasses import dataclass

import numpy as np

from recbole_prorec.artifacts import whole_file
from recbole_prorec.errors import InputError


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """Every item's unique code tuple. Checked here once, trusted from here on.

    Args:
        item_keys: [n_items] the data set's own ids; row 0 is the padding item.
        codes: [n_items, L] integers in [0, codebook_size); row 0 is zeros and counts for nothing.
        codebook_size: K.
    """

    item_keys: tuple
    codes: np.ndarray
    codebook_size: int

    def __post_init__(self):
        object.__setattr__(self, "item_keys", tuple(str(key) for key in self.item_keys))
        codes = np.array(self.codes, dtype=np.int64)
        codes.flags.writeable = False
        object.__setattr__(self, "codes", codes)
        self._check()

    def _check(self):
        real = self.codes[1:]
        if self.codes.ndim != 2 or len(self.codes) != len(self.item_keys) or len(real) == 0:
            raise InputError(f"codes of shape {self.codes.shape} for {len(self.item_keys)} item keys; expected one row of codes "
                             "for every item key, row 0 being padding.")
        if real.min() < 0 or real.max() >= self.codebook_size:
            raise InputError(f"codes run from {real.min()} to {real.max()}; expected 0 to {self.codebook_size - 1}.")
        n_unique = len(np.unique(real, axis=0))
        if n_unique < len(real):
            raise InputError(f"{len(real)} items have only {n_unique} different code tuples; every item needs its own.")
        if len(set(self.item_keys)) < len(self.item_keys):
            raise InputError("an item key occurs twice; every item needs one key.")

    @property
    def n_levels(self):
        return self.codes.shape[1]

    def save(self, path):
        """Write as json, by item key, readable without this package."""
        table = {key: row.tolist() for key, row in zip(self.item_keys[1:], self.codes[1:])}
        with whole_file(path, "w", encoding="utf-8") as file:
            json.dump({"codebook_size": self.codebook_size, "codes": table}, file, ensure_ascii=False)

    @classmethod
    def load(cls, path, item_keys):
        """Read what `save` wrote, in the order of `item_keys` (row 0 padding)."""
        try:
            with open(path, encoding="utf-8") as file:
                saved = json.load(file)
            table = {key: np.array(row, dtype=np.int64) for key, row in saved["codes"].items()}
            codebook_size, shapes = int(saved["codebook_size"]), {row.shape for row in table.values()}
            if len(shapes) != 1:
                raise ValueError(f"rows of {len(shapes)} different lengths")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no readable file of semantic ids ({error!r}); make it again with SemanticIds.save.") from error
        missing = [key for key in item_keys[1:] if str(key) not in table]
        if missing:
            raise InputError(f"{path} has no codes for {len(missing)} of {len(item_keys) - 1} items, the first is {missing[0]!r}.")
        rows = [table[str(key)] for key in item_keys[1:]]
        return cls(item_keys, np.stack([np.zeros_like(rows[0]), *rows]), codebook_size)


def code_statistics(codes, codebook_size):
    """Per level of codes [n, L]: share of the codebook in use, and the entropy of its use in bits."""
    counts = [np.bincount(codes[:, level], minlength=codebook_size) for level in range(codes.shape[1])]
    probs = [count[count > 0] / count.sum() for count in counts]
    return {"used": [int((count > 0).sum()) for count in counts],
            "entropy": [round(float(np.abs(prob * np.log2(prob)).sum()), 3) for prob in probs]}
