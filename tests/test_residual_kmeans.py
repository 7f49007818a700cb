"""Each level of codes says more of the vector, and a seed says all of the codes."""

import numpy as np
import pytest

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer.residual_kmeans import MIN_ITEMS_PER_CODE, ResidualKMeans, fitting_codebook_size


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def quantizer(x):
    return ResidualKMeans(4, 16, seed=3).fit(x)


def test_the_error_falls_with_every_level(quantizer, x):
    codes = quantizer.encode(x)
    errors = [((x - quantizer.decode(codes, n_levels)) ** 2).sum() for n_levels in range(1, 5)]
    assert (x**2).sum() > errors[0] > errors[1] > errors[2] > errors[3]


def test_every_code_is_the_nearest_of_its_level(quantizer, x):
    residual = x.astype(np.float64)
    for level, codes in enumerate(quantizer.encode(x).T):
        distance = ((residual[:, None] - quantizer.codebooks[level]) ** 2).sum(-1)
        assert (distance[np.arange(len(x)), codes] <= distance.min(1) + 1e-4).all()
        residual = residual - quantizer.codebooks[level][codes]


def test_decoding_adds_the_centroids_up(quantizer, x):
    codes = quantizer.encode(x)
    np.testing.assert_allclose(quantizer.decode(codes), sum(quantizer.codebooks[level][codes[:, level]] for level in range(4)))
    np.testing.assert_allclose(quantizer.decode(codes[:1]), quantizer.decode(codes)[:1])


def test_decoded_vectors_of_the_first_level_are_encoded_as_they_were(quantizer, x):
    codes = quantizer.encode(x)
    assert np.array_equal(quantizer.encode(quantizer.decode(codes, 1))[:, 0], codes[:, 0])


def test_the_same_seed_gives_the_same_codes_and_another_one_others(quantizer, x):
    codes = quantizer.encode(x)
    assert np.array_equal(codes, quantizer.encode(x))
    assert np.array_equal(codes, ResidualKMeans(4, 16, seed=3).fit(x).encode(x))
    assert not np.array_equal(codes, ResidualKMeans(4, 16, seed=4).fit(x).encode(x))


def test_a_single_vector_is_encoded_as_in_the_batch(quantizer, x):
    assert np.array_equal(quantizer.encode(x[7:8]), quantizer.encode(x)[7:8])


def test_codes_stay_inside_the_codebook(quantizer, x):
    codes = quantizer.encode(x)
    assert codes.shape == (300, 4) and codes.min() >= 0 and codes.max() < 16


def test_fewer_vectors_than_codes_are_no_obstacle(x):
    few = ResidualKMeans(2, 16).fit(x[:5])
    np.testing.assert_allclose(few.decode(few.encode(x[:5])), x[:5], atol=1e-5)


def test_any_seed_of_recboles_will_do(x):
    assert ResidualKMeans(2, 4, seed=2**32 - 1).fit(x).encode(x).max() == 3


def test_equal_vectors_get_equal_codes():
    same = np.ones((20, 4), np.float32)
    quantizer = ResidualKMeans(3, 5).fit(same)
    assert len(np.unique(quantizer.encode(same), axis=0)) == 1
    np.testing.assert_allclose(quantizer.decode(quantizer.encode(same)), same, atol=1e-5)


@pytest.mark.parametrize("n_items, expected", [(5, 8), (40, 10), (256 * MIN_ITEMS_PER_CODE, 256), (10**6, 256)])
def test_a_small_catalogue_gets_fewer_codes(n_items, expected):
    assert fitting_codebook_size(256, n_items) == expected


@pytest.mark.parametrize("codebook_size", [-1, 0, 1])
def test_a_level_of_less_than_two_codes_is_refused(codebook_size):
    with pytest.raises(InputError, match=f"codebook_size is {codebook_size};.*2 or more"):
        fitting_codebook_size(codebook_size, 100)


def test_no_level_at_all_is_refused():
    with pytest.raises(InputError, match="n_levels is 0;.*1 or more"):
        ResidualKMeans(0, 16)
