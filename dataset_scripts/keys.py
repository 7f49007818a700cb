"""Raw ids: kept as text to the last character, or refused."""

import re

import numpy as np

# pandas reads these as missing, and RecBole reads its files with pandas: as an id they would vanish
MISSING_WORDS = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"]
    + ["NaN", "None", "n/a", "nan", "null"]
)
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class KeyIndex:
    """Raw ids -> consecutive integers, in order of first appearance; -1 for what cannot be an id."""

    def __init__(self):
        self.codes = {}

    def encode(self, values):
        return np.fromiter((self._code(value) for value in values), np.int32, len(values))

    def _code(self, value):
        code = self.codes.get(value) if type(value) is str else None
        if code is not None:
            return code
        key = as_key(value)
        return -1 if key is None else self.codes.setdefault(key, len(self.codes))

    def keys(self):
        return np.array(list(self.codes), dtype=object)


def as_key(value):
    """The id as it will be written, or None if it would not come back the same: a leading quote opens a quoted field."""
    key = str(value) if type(value) is int else value
    if not isinstance(key, str) or key in MISSING_WORDS or key.startswith('"') or UNWRITABLE.search(key):
        return None
    return key
