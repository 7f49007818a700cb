"""RQ-VAE keeps its codebooks in use, each level says more of the vector, and a seed says all of the codes."""

import logging

import numpy as np
import pytest
import torch

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer import rqvae
from recbole_prorec.tokenizer.collisions import count_collisions
from recbole_prorec.tokenizer.quantizer import make_quantizer, quantize
from recbole_prorec.tokenizer.residual_kmeans import ResidualKMeans
from recbole_prorec.tokenizer.rqvae import RQVAE


def clustered(n=400, width=32, n_clusters=24, seed=0):
    """Topics with subtopics on the unit sphere, as sentence embeddings are."""
    rng = np.random.default_rng(seed)
    topic, subtopic = rng.normal(size=(n_clusters, width)), 0.5 * rng.normal(size=(n_clusters, 4, width))
    of = rng.integers(n_clusters, size=n), rng.integers(4, size=n)
    x = topic[of[0]] + subtopic[of] + 0.6 * rng.normal(size=(n, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def x():
    return clustered()


@pytest.fixture(scope="module")
def quantizer(x):
    return RQVAE(3, 32, n_epochs=40, seed=1).fit(x)


def share_left(quantizer, x, n_levels):
    """Squared error of decoding by the first levels, as a share of the variance."""
    return ((x - quantizer.decode(quantizer.encode(x), n_levels)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()


def test_nearly_all_codes_are_used(quantizer, x):
    codes = quantizer.encode(x)
    assert codes.shape == (400, 3) and codes.min() >= 0 and codes.max() < 32
    assert min(len(np.unique(level)) for level in codes.T) > 0.95 * 32


def test_few_items_collide(quantizer, x):
    assert count_collisions(quantizer.encode(x)) < 0.1 * len(x)


def test_the_error_falls_with_every_level(quantizer, x):
    errors = [share_left(quantizer, x, n_levels) for n_levels in (1, 2, 3)]
    assert 1 > errors[0] > errors[1] > errors[2]
    assert errors[2] == share_left(quantizer, x, None) < 0.5


def test_it_finds_what_there_is_to_find_and_noise_has_less_of_it(x):
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    of_noise, of_topics = (share_left(RQVAE(2, 8, n_epochs=20).fit(vectors), vectors, None) for vectors in (noise, x))
    assert of_topics < 0.8 * of_noise


def test_the_same_seed_gives_the_same_codes_and_another_one_others(quantizer, x):
    codes = quantizer.encode(x)
    torch.manual_seed(123)  # the state of torch's own generator does not count
    assert np.array_equal(codes, RQVAE(3, 32, n_epochs=40, seed=1).fit(x).encode(x))
    assert not np.array_equal(codes, RQVAE(3, 32, n_epochs=40, seed=2).fit(x).encode(x))


def test_one_epoch_trains_codebooks_too(x):
    assert len(np.unique(RQVAE(1, 4, n_epochs=1).fit(x[:50]).encode(x[:50]))) > 1


def test_the_global_random_state_is_left_alone(x):
    before = torch.random.get_rng_state()
    RQVAE(1, 4, n_epochs=2).fit(x[:50])
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_single_vector_is_encoded_as_in_the_batch(quantizer, x):
    assert np.array_equal(quantizer.encode(x[7:8]), quantizer.encode(x)[7:8])
    assert np.array_equal(np.concatenate([quantizer.encode(x[:150]), quantizer.encode(x[150:])]), quantizer.encode(x))


def test_every_code_is_the_nearest_of_its_level(quantizer, x):
    with torch.no_grad():
        residual = quantizer.network.encoder(torch.from_numpy((x - quantizer.mean.numpy()) / quantizer.scale.numpy())).numpy()
    for level, codes in enumerate(quantizer.encode(x).T):
        distance = ((residual[:, None] - quantizer.codebooks[level]) ** 2).sum(-1)
        assert (distance[np.arange(len(x)), codes] <= distance.min(1) + 1e-3).all()
        residual = residual - quantizer.codebooks[level][codes]


def test_usage_is_logged_in_every_epoch_with_codes(x, caplog):
    with caplog.at_level(logging.INFO, logger=rqvae.__name__):
        RQVAE(2, 8, n_epochs=20).fit(x[:200])
    lines = [record.getMessage() for record in caplog.records if record.name == rqvae.__name__]
    assert [line.split(":")[0] for line in lines] == [f"RQ-VAE epoch {epoch}" for epoch in range(2, 20)]
    assert all("codes used [" in line and "of 8" in line for line in lines)


def test_a_dead_code_is_moved_onto_a_residual_and_others_stay(x):
    network = RQVAE(2, 8, n_epochs=3).fit(x[:100]).network
    optimizer = torch.optim.Adam(network.parameters())
    network.codebooks.square().sum().backward()
    optimizer.step()
    before, used = network.codebooks.detach().clone(), torch.ones(2, 8, dtype=torch.bool)
    used[1, 3] = False
    residuals = torch.randn(2, 5, rqvae.LATENT_SIZE)
    assert network.restart(used, residuals, optimizer) == 1
    changed = (network.codebooks != before).any(-1)
    assert changed.nonzero().tolist() == [[1, 3]]
    assert (network.codebooks[1, 3] == residuals[1]).all(-1).any()
    assert optimizer.state[network.codebooks]["exp_avg"][1, 3].abs().sum() == 0


def test_collapsed_codebooks_come_back_to_life(x, monkeypatch):
    def one_point(network, latent, seed):
        network.codebooks.data[:] = 100 + torch.arange(network.codebooks.shape[1]).view(1, -1, 1)  # all but the first are out of reach

    monkeypatch.setattr(rqvae._Network, "start_from_kmeans", one_point)
    codes = RQVAE(2, 16, n_epochs=30).fit(x).encode(x)
    assert min(len(np.unique(level)) for level in codes.T) >= 14
    monkeypatch.setattr(rqvae._Network, "restart", lambda *_: 0)
    codes = RQVAE(2, 16, n_epochs=30).fit(x).encode(x)
    assert len(np.unique(codes[:, 0])) == 1  # what the restart is there for


def test_neither_scale_nor_offset_of_the_vectors_matters(x):
    near, far = RQVAE(2, 16, n_epochs=20).fit(x), RQVAE(2, 16, n_epochs=20).fit(1000 * x + 7)
    assert share_left(far, 1000 * x + 7, None) == pytest.approx(share_left(near, x, None), rel=0.1)


def test_gradients_of_the_reconstruction_reach_the_encoder_through_the_codes(x):
    network = RQVAE(2, 8, n_epochs=1).fit(x[:100]).network
    network.zero_grad()
    error = network.losses(torch.from_numpy(x[:10]), quantized=True)[0]
    error.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.encoder.parameters())
    assert network.codebooks.grad is None


def test_fewer_vectors_than_codes_and_equal_vectors_are_no_obstacle(x):
    assert RQVAE(2, 16, n_epochs=5).fit(x[:5]).encode(x[:5]).max() < 5
    same = np.ones((20, 6), np.float32)
    quantizer = RQVAE(2, 4, n_epochs=5).fit(same)
    assert len(np.unique(quantizer.encode(same), axis=0)) == 1
    np.testing.assert_allclose(quantizer.decode(quantizer.encode(same)), same, atol=1e-3)


@pytest.mark.parametrize("settings, message", [({"n_levels": 0}, "n_levels of the RQ-VAE is 0; expected 1 or more"),
                                               ({"n_epochs": 0}, "n_epochs of the RQ-VAE is 0; expected 1 or more")])
def test_no_level_and_no_epoch_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        RQVAE(**{"n_levels": 2, "codebook_size": 4, **settings})


def test_a_quantizer_is_made_by_name():
    assert isinstance(make_quantizer("residual_kmeans", 2, 4), ResidualKMeans)
    assert isinstance(make_quantizer("rqvae", 2, 4), RQVAE)
    with pytest.raises(InputError, match="quantizer is 'pq'; expected one of residual_kmeans, rqvae"):
        make_quantizer("pq", 2, 4)


@pytest.mark.parametrize("kind", ["residual_kmeans", "rqvae"])
def test_quantizing_names_every_item_once_and_reports_it(kind, x):
    codes, report = quantize(x[:300], make_quantizer(kind, 2, 24, n_epochs=20))
    assert codes.shape == (300, 3) and len(np.unique(codes, axis=0)) == 300
    assert report["used"] == [len(np.unique(level)) for level in codes.T[:2]]
    assert report["collisions"] == count_collisions(codes[:, :2])
    assert 1 > report["error"][0] > report["error"][1] > 0
