"""Are two entries different, or were the users lucky? Paired over users; randomness has a fixed seed, so tables can be made again."""

import numpy as np

DRAWS, SEED, AT_ONCE = 10_000, 0, 4_000_000


def bootstrap_interval(differences, level=0.95, draws=DRAWS):
    """Percentile interval of the mean difference over users drawn with replacement: (low, high)."""
    rng, n = np.random.default_rng(SEED), len(differences)
    means = [differences[rng.integers(0, n, (size, n))].mean(1) for size in _chunks(draws, n)]
    return tuple(np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2]).tolist())


def sign_flip_p(differences, draws=DRAWS):
    """Two-sided paired permutation test of the mean: how often random signs give a mean as far from 0 (itself counted: never 0)."""
    moved = differences[differences != 0]  # a difference of 0 stays 0 under either sign
    if not len(moved):
        return 1.0
    rng, limit = np.random.default_rng(SEED), abs(moved.sum()) - 1e-9
    as_far = sum(int((abs(_signs(rng, size, len(moved)) @ moved) >= limit).sum()) for size in _chunks(draws, len(moved)))
    return (1 + as_far) / (1 + draws)


def _signs(rng, *shape):
    return rng.integers(0, 2, shape, dtype=np.int8) * 2.0 - 1


def _chunks(draws, n):
    size = max(1, min(draws, AT_ONCE // n))
    return [min(size, draws - start) for start in range(0, draws, size)]


def holm(p_values):
    """Holm's correction for the number of comparisons: adjusted p-values, in the given order."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return adjusted.tolist()
