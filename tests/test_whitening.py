"""Whitening of text embeddings: variances, scale, and the linear layer that takes it in."""

import pytest
import torch

from recbole_prorec.tokenizer.whitening import Whitening


def texts(n=200):
    """[n + 1, 6], row 0 padding, with different variances and a mean."""
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=random)).Q
    return torch.cat([torch.zeros(1, 6), torch.randn(n, 6, generator=random) * torch.linspace(4, 0.5, 6) @ turn + 3])


def variances(text):
    centred = text[1:].double() - text[1:].double().mean(0)
    return torch.linalg.eigvalsh(centred.T @ centred / len(centred))


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_the_variances_of_the_directions_are_as_far_apart_as_power_says(power):
    text = texts()
    whitened, before = Whitening(text[1:], power)(text), variances(text)
    expected = before ** (1 - power)
    torch.testing.assert_close(variances(whitened), expected * before.sum() / expected.sum(), rtol=1e-4, atol=0)
    torch.testing.assert_close(whitened[1:].double().mean(0), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-5)
    assert (whitened[0] == 0).all() and whitened.dtype == text.dtype


def test_a_layer_that_it_is_folded_into_reads_texts_as_they_are():
    text, layer = texts(), torch.nn.Linear(6, 4)
    whitening = Whitening(text[1:], 0.7)
    expected = layer(whitening(text))[1:]
    whitening.fold_into(layer)
    torch.testing.assert_close(layer(text)[1:], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", [texts(n=3), texts(n=1), torch.ones(9, 6)], ids=["three items", "one item", "one text"])
def test_directions_in_which_the_texts_hardly_vary_are_left_out(text):
    whitening, centred = Whitening(text[1:], 1), text[1:] - text[1:].mean(0)
    assert whitening(text).norm(dim=1).max() <= 2 * centred.norm(dim=1).max() + 1e-5
    elsewhere = torch.randn(6, generator=torch.Generator().manual_seed(1))
    elsewhere -= torch.linalg.lstsq(centred.T, elsewhere.unsqueeze(1), driver="gelsd").solution.squeeze(1) @ centred
    new = torch.stack([text[0], text[1], text[1] + 5 * elsewhere])
    torch.testing.assert_close(whitening(new)[2], whitening(new)[1], rtol=1e-3, atol=1e-3)


def test_a_direction_of_little_variance_says_nothing_of_a_new_text():
    text = texts()
    text[1:, 0] = 3 + 0.01 * (text[1:, 0] - 3)
    new = text[:3].clone()
    new[2] = new[1] + torch.eye(6)[0]
    first, second = Whitening(text[1:], 1)(new)[1:]
    torch.testing.assert_close(first, second, rtol=0, atol=0.2)


def test_of_equal_variances_it_does_not_matter_which_directions_were_found():
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2))).Q
    text = torch.cat([turn * 2, -turn * 2, turn[:1], -turn[:1]])  # five of six directions have the same variance
    matrices = [Whitening(text[order], 0.5).matrix for order in (torch.arange(14), torch.arange(13, -1, -1))]
    torch.testing.assert_close(*matrices)
    torch.testing.assert_close(matrices[0], matrices[0].T)
