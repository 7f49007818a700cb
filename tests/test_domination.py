"""The measure of semantic domination: laws, not numbers."""

import numpy as np
import pytest

from recbole_prorec.report.domination import cka, code_prefixes, neighbours, overlap, survival

N, K = 300, 10
MEASURES = {"overlap": overlap, "cka": cka}


def space(seed, width=16, n=N):
    return np.random.default_rng(seed).normal(size=(n, width))


def rotation(width, seed=9):
    return np.linalg.qr(space(seed, width, width))[0]


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_space_survives_whole_in_itself(measure):
    assert measure(space(0), space(0)) == pytest.approx(1)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_rotation_and_scale_change_nothing(measure):
    x, y = space(0), space(0) + space(1)
    assert measure(x, 1e-3 * y @ rotation(16)) == pytest.approx(measure(x, y))
    assert measure(1e5 * x @ rotation(16), y) == pytest.approx(measure(x, y))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_both_spaces_are_treated_alike(measure):
    x, y = space(0), space(0, 8) @ space(1, 24, 8)
    assert measure(x, y) == pytest.approx(measure(y, x))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_the_order_of_items_is_of_no_consequence(measure):
    x, y, order = space(0), space(0) + space(1), np.random.default_rng(2).permutation(N)
    assert measure(x[order], y[order]) == pytest.approx(measure(x, y))
    assert measure(x[order], y) < measure(x, y) / 2


def test_unrelated_spaces_share_neighbours_by_chance():
    found = [overlap(space(2 * seed), space(2 * seed + 1), K) for seed in range(8)]
    assert np.mean(found) == pytest.approx(K / (N - 1), rel=0.1)
    assert cka(space(0, n=4000), space(1, n=4000)) < 0.02


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_more_noise_leaves_less(measure):
    kept = [measure(space(0), space(0) + noise * space(1)) for noise in (0.1, 0.5, 2.0)]
    assert kept[0] > kept[1] > kept[2]


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_the_longer_half_dominates_a_naive_concatenation(measure):
    loud, quiet = 100 * space(0), space(1)
    both = np.concatenate([loud, quiet], axis=1)
    assert measure(loud, both) > 0.95
    assert measure(quiet, both) < 0.2
    even = np.concatenate([space(0), quiet], axis=1)
    assert measure(space(0), even) == pytest.approx(measure(quiet, even), abs=0.1)


@pytest.mark.parametrize("widths", [(8, 16), (400, 500), (3, 900)], ids=["narrow", "wide", "one of each"])
def test_cka_is_its_definition_whichever_way_it_is_computed(widths):
    x, y = space(0, widths[0], 100), space(1, widths[1], 100)
    a, b = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert cka(x, y) == pytest.approx(expected)


def test_all_items_in_one_point_are_like_nothing():
    assert cka(np.ones((N, 4)), space(0)) == 0
    assert overlap(np.ones((N, 4)), space(0), K) == pytest.approx(K / (N - 1))


def test_tied_neighbours_share_the_last_places():
    found = neighbours(code_prefixes(np.array([[0, 0], [0, 0], [0, 1], [0, 2], [1, 0]])), 2)
    np.testing.assert_allclose(found[0], [0, 1, 0.5, 0.5, 0])
    np.testing.assert_allclose(found.sum(1), 2)


def test_an_item_is_not_its_own_neighbour():
    assert not np.diag(neighbours(space(0), K)).any()


def test_similarity_of_codes_is_the_number_of_leading_codes_shared():
    codes = np.random.default_rng(0).integers(0, 3, (40, 3))
    one_hot = code_prefixes(codes)
    shared = np.logical_and.accumulate(codes[:, None] == codes[None], axis=2).sum(2)
    np.testing.assert_array_equal(one_hot @ one_hot.T, shared)


@pytest.mark.parametrize("k", [0, N])
def test_more_neighbours_than_items_are_refused(k):
    with pytest.raises(ValueError, match="expected 1 to"):
        neighbours(space(0), k)


def test_the_table_has_every_modality_in_every_representation():
    table = survival({"a": space(0), "b": space(1)}, {"a": space(0), "both": space(0) + space(1)}, K)
    assert table["a"]["a"]["overlap"] == pytest.approx(1)
    assert {name: set(row) for name, row in table.items()} == {"a": {"a", "both"}, "b": {"a", "both"}}
