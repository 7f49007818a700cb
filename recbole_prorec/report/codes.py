"""The codes of a catalogue in numbers, and as a tree. codes: [n_items, L], row 0 padding, the last level telling collisions apart."""

from dataclasses import dataclass, field

import numpy as np

from recbole_prorec.tokenizer.collisions import count_collisions
from recbole_prorec.tokenizer.semantic_ids import code_statistics


def code_numbers(codes, codebook_size):
    """Use and entropy of every level, sizes of the prefixes of every length, collisions before and after the last level."""
    codes = codes[1:]
    statistics = code_statistics(codes, codebook_size)
    levels = [{"level": level + 1, "used": used, "codebook_size": codebook_size, "entropy_bits": entropy,
               "most_bits": round(float(np.log2(codebook_size)), 3)}
              for level, (used, entropy) in enumerate(zip(statistics["used"], statistics["entropy"]))]
    return {"n_items": len(codes), "levels": levels, "prefixes": [_prefixes(codes, length) for length in range(1, codes.shape[1] + 1)],
            "items_in_collisions": {"before": count_collisions(codes[:, :-1]), "after": count_collisions(codes)}}


def prefix_sizes(codes, length):
    """Items below each prefix of `length` codes, the largest first."""
    return np.sort(np.unique(codes[:, :length], axis=0, return_counts=True)[1])[::-1]


def _prefixes(codes, length):
    sizes = prefix_sizes(codes, length)
    return {"length": length, "n_prefixes": len(sizes), "largest": int(sizes[0]), "median": float(np.median(sizes)),
            "with_one_item": int((sizes == 1).sum())}


@dataclass
class Branch:
    """A prefix of codes. items: all item ids below it. children: {next code: Branch}, empty where one item is left."""

    items: list = field(default_factory=list)
    children: dict = field(default_factory=dict)


def code_tree(codes):
    """The tree of all items as a `Branch`, children in the order of codes."""
    root = Branch()
    for item in np.lexsort(codes[1:].T[::-1]) + 1:
        branch = root
        branch.items.append(int(item))
        for code in codes[item].tolist():
            branch = branch.children.setdefault(code, Branch())
            branch.items.append(int(item))
    return root
