"""Residual k-means: every level clusters what the levels before it left over."""

import faiss
import numpy as np

from recbole_prorec.errors import InputError

MIN_ITEMS_PER_CODE = 4  # below it a centroid is little more than the item itself, and a code says nothing about its neighbours
FEWEST_CODES = 8  # of a tiny catalogue: with two a level, more items could fall on one code than there are codes to tell them apart


def fitting_codebook_size(codebook_size, n_items):
    """The largest codebook, up to the one asked for, that a catalogue can fill: at least MIN_ITEMS_PER_CODE items a code, from FEWEST_CODES
    codes on."""
    if codebook_size < 2:
        raise InputError(f"codebook_size is {codebook_size}; a level needs at least 2 codes. Set codebook_size to 2 or more.")
    return min(codebook_size, max(FEWEST_CODES, n_items // MIN_ITEMS_PER_CODE))


class ResidualKMeans:
    """n_levels codebooks of [K, D]. `encode` and `decode` are inverses up to the reconstruction error.

    Args:
        n_levels: L, at least 1. codebook_size: K, or fewer where there are fewer vectors. n_iterations: of Lloyd's algorithm.
    """

    def __init__(self, n_levels, codebook_size, n_iterations=25, seed=0):
        if n_levels < 1:
            raise InputError(f"n_levels is {n_levels}; a code needs at least one level. Set n_levels to 1 or more.")
        self.n_levels, self.codebook_size, self.n_iterations, self.seed = n_levels, codebook_size, n_iterations, seed
        self.codebooks = None

    def fit(self, x):
        """Learn the codebooks from x [n, D] and return self."""
        residual = np.ascontiguousarray(x, dtype=np.float32)
        size = min(self.codebook_size, len(residual))
        self.codebooks = np.empty((self.n_levels, size, residual.shape[1]), np.float32)
        for level in range(self.n_levels):
            kmeans = faiss.Kmeans(residual.shape[1], size, niter=self.n_iterations, seed=(self.seed + level) % 2**31, nredo=1,
                                  min_points_per_centroid=1, max_points_per_centroid=10**9)
            kmeans.train(residual)
            self.codebooks[level] = kmeans.centroids
            residual = residual - kmeans.centroids[_nearest(kmeans.centroids, residual)]
        return self

    def encode(self, x):
        """x [n, D] -> codes [n, L], nearest centroid level by level."""
        residual = np.ascontiguousarray(x, dtype=np.float32)
        codes = np.empty((len(residual), self.n_levels), np.int64)
        for level, codebook in enumerate(self.codebooks):
            codes[:, level] = _nearest(codebook, residual)
            residual = residual - codebook[codes[:, level]]
        return codes

    def decode(self, codes, n_levels=None):
        """codes [n, L] -> the sum of their centroids [n, D], of the first n_levels levels if told so."""
        levels = range(self.n_levels if n_levels is None else n_levels)
        return sum(self.codebooks[level][codes[:, level]] for level in levels)


def _nearest(codebook, x):
    index = faiss.IndexFlatL2(codebook.shape[1])
    index.add(np.ascontiguousarray(codebook))
    return index.search(np.ascontiguousarray(x), 1)[1][:, 0]
