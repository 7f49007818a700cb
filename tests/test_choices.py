"""Logits of a node's children alone are those of the whole codebook, with their gradients."""

import pytest
import torch
from random_codes import SHAPES, random_codes, random_decoder

from recbole_prorec.generation import choices
from recbole_prorec.generation.choices import PairProducts, child_log_probs
from recbole_prorec.generation.trie import Trie

ALWAYS_PAIRS, NEVER_PAIRS = 0, 10**9


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("at_once", [1, 5, 10**6])
def test_both_ways_agree(shape, at_once, monkeypatch):
    monkeypatch.setattr(choices, "PAIRS_AT_ONCE", at_once)
    trie, decoder = Trie(random_codes(*shape)), random_decoder(*shape[1:])
    for level, table in enumerate(trie.levels):
        node = torch.randint(len(table.n_children), (13,), generator=torch.Generator().manual_seed(level))
        hidden = torch.randn(13, decoder.output[0].in_features, requires_grad=True)
        layer = decoder.output[level]
        found = []
        for cost in (ALWAYS_PAIRS, NEVER_PAIRS):
            monkeypatch.setattr(choices, "PAIR_COST", cost)
            log_probs = child_log_probs(decoder, hidden, trie, node, level)
            loss = (log_probs * torch.linspace(1, 2, log_probs.shape[1])).masked_fill(log_probs == float("-inf"), 0).sum()
            found.append([log_probs, *torch.autograd.grad(loss, (hidden, layer.weight, layer.bias))])
        torch.testing.assert_close(*found)


def test_gradients_of_pairs_are_those_of_finite_differences():
    torch.manual_seed(0)
    pair = [torch.randn(rows, 3, dtype=torch.double, requires_grad=True) for rows in (4, 6)]
    n, c = torch.tensor([2, 0, 3, 1]), torch.tensor([5, 0, 1, 5, 5, 2])
    assert torch.autograd.gradcheck(lambda hidden, weight: PairProducts.apply(hidden, weight, n, c), pair)


def test_thousands_of_codes_are_not_all_computed(monkeypatch):
    trie, decoder = Trie(random_codes(300, 3, 700)), random_decoder(3, 700)
    dense = []
    monkeypatch.setattr(decoder, "logits", lambda hidden, level: dense.append(level) or decoder.output[level](hidden))
    for level in range(3):
        nodes = torch.arange(len(trie.levels[level].n_children))
        child_log_probs(decoder, torch.randn(len(nodes), decoder.output[0].in_features), trie, nodes, level)
    assert dense == [0]
