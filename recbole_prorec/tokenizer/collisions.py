"""One more level that tells apart the items that quantization gave the same codes."""

import numpy as np

from recbole_prorec.errors import InputError


def count_collisions(codes):
    """How many items share their code tuple [n, L] with another item."""
    _, group, size = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return int((size[group.ravel()] > 1).sum())


def resolve_collisions(codes, codebook_size):
    """codes [n, L] -> [n, L + 1], unique: the last level counts 0, 1, 2 ... within each group of equal codes, in the order of rows.

    Raises:
        InputError: a group is larger than codebook_size, so that one more level cannot tell its items apart.
    """
    _, group, size = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    if size.max() > codebook_size:
        raise InputError(f"{size.max()} items share one code tuple, but the level that tells them apart has {codebook_size} codes. Give "
                         "those items different texts, or raise codebook_size, as far as the run has not lowered it for the catalogue.")
    order = np.argsort(group.ravel(), kind="stable")
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(size.cumsum() - size, size)
    return np.concatenate([codes, rank[:, None]], axis=1)
