"""One more level makes all codes unique."""

import numpy as np
import pytest

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer.collisions import count_collisions, resolve_collisions


@pytest.mark.parametrize("seed", range(5))
def test_resolved_codes_are_unique_and_keep_the_levels_before(seed):
    codes = np.random.default_rng(seed).integers(0, 3, (50, 3))
    resolved = resolve_collisions(codes, codebook_size=50)
    assert len(np.unique(resolved, axis=0)) == 50
    assert np.array_equal(resolved[:, :3], codes)


@pytest.mark.parametrize("seed", range(5))
def test_each_group_counts_from_zero_in_the_order_of_rows(seed):
    codes = np.random.default_rng(seed).integers(0, 2, (40, 2))
    seen = {}
    for row, rank in zip(codes, resolve_collisions(codes, 40)[:, -1]):
        assert rank == seen.setdefault(tuple(row), 0)
        seen[tuple(row)] += 1


def test_collisions_are_the_items_that_share_their_codes():
    codes = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [2, 2], [1, 0]])
    assert count_collisions(codes) == 5
    assert count_collisions(codes[[0, 2, 4]]) == 0
    assert count_collisions(resolve_collisions(codes, 3)) == 0


def test_a_group_as_large_as_the_codebook_is_told_apart_and_a_larger_one_refused():
    codes = np.zeros((4, 2), int)
    assert resolve_collisions(codes, 4)[:, -1].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="4 items share one code tuple.*has 3 codes.*raise codebook_size"):
        resolve_collisions(codes, 3)
