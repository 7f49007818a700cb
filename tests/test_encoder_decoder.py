"""TIGER's network decodes step by step what it computes at once, for each user alone as for many."""

import pytest
import torch
from random_codes import SHAPES, random_codes

from recbole_prorec.generation.beam_search import beam_search, score_all
from recbole_prorec.generation.decoder import code_log_probs, code_losses
from recbole_prorec.generation.encoder_decoder import EncoderDecoder
from recbole_prorec.generation.trie import Trie
from recbole_prorec.nn.cross_attention import CrossAttention, UserRows

BLOCK = {"n_layers": 2, "n_heads": 3, "head_size": 4, "inner_size": 16, "attention_dropout": 0.3, "hidden_dropout": 0.3}
BATCH, T = 5, 4


def random_network(n_levels, codebook_size, seed=0):
    """In evaluation mode, with weights large enough that its choices differ."""
    torch.manual_seed(seed)
    network = EncoderDecoder(n_levels, codebook_size, 8, T, BLOCK, BLOCK)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(params=SHAPES, ids=str)
def problem(request):
    """A network, its trie, and histories of 1 to T items."""
    n_real, n_levels, codebook_size = request.param
    trie, network = Trie(random_codes(n_real, n_levels, codebook_size)), random_network(n_levels, codebook_size)
    lengths = torch.tensor([T, 1, 2, T, 3])
    inputs = torch.randint(1, trie.n_items, (BATCH, T)) * (torch.arange(T) < lengths.unsqueeze(1))
    with torch.no_grad():
        yield network, trie, inputs, lengths


def test_cached_decoding_equals_the_whole_forward(problem):
    network, trie, inputs, lengths = problem
    memory, items = network(inputs, lengths, trie.codes), torch.randint(1, trie.n_items, (BATCH,))
    whole = network.decoder(memory, trie.codes[items])
    hidden, cache = network.decoder.start(memory)
    torch.testing.assert_close(hidden, whole[:, 0])
    for level in range(trie.n_levels - 1):
        hidden, cache = network.decoder.advance(cache, torch.arange(BATCH), trie.codes[items][:, level], level)
        torch.testing.assert_close(hidden, whole[:, level + 1])


def test_beams_attend_to_the_memory_of_their_own_user(problem):
    network, trie, inputs, lengths = problem
    if trie.n_levels == 1:
        return
    memory = network(inputs, lengths, trie.codes)
    rows = torch.tensor([0, 0, 0, 2, 4, 4])  # users 1 and 3 have no beam left
    items = torch.randint(1, trie.n_items, (len(rows),))
    hidden, _ = network.decoder.advance(network.decoder.start(memory)[1], rows, trie.codes[items][:, 0], 0)
    torch.testing.assert_close(hidden, network.decoder(memory[rows], trie.codes[items])[:, 1])


def test_a_beam_as_wide_as_the_catalogue_is_the_exhaustive_ranking(problem):
    network, trie, inputs, lengths = problem
    memory, n_real = network(inputs, lengths, trie.codes), trie.n_items - 1
    users, everything = torch.arange(BATCH).repeat_interleave(n_real), torch.arange(1, trie.n_items).repeat(BATCH)
    exact = code_log_probs(network.decoder, trie, memory[users], everything).view(BATCH, n_real)
    items, log_probs = beam_search(network.decoder, memory, trie, n_real)
    torch.testing.assert_close(exact.gather(1, items - 1), log_probs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_probs, exact.sort(1, descending=True).values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(score_all(network.decoder, memory, trie)[:, 1:], exact, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(BATCH))


@pytest.mark.parametrize("beam_size", [1, 3, 10])
def test_beams_are_real_and_distinct(problem, beam_size):
    network, trie, inputs, lengths = problem
    items, log_probs = beam_search(network.decoder, network(inputs, lengths, trie.codes), trie, beam_size)
    filled = min(beam_size, trie.n_items - 1)
    assert all(len(set(row)) == filled and min(row) > 0 for row in items[:, :filled].tolist())
    assert torch.isfinite(log_probs[:, :filled]).all()


def test_a_user_in_a_batch_equals_the_user_alone(problem):
    network, trie, inputs, lengths = problem
    together = score_all(network.decoder, network(inputs, lengths, trie.codes), trie)
    for row in range(BATCH):
        alone = network(inputs[row:row + 1, : lengths[row]], lengths[row:row + 1], trie.codes)
        torch.testing.assert_close(score_all(network.decoder, alone, trie), together[row:row + 1], atol=1e-4, rtol=1e-4)


def test_the_order_of_the_history_counts():
    network, codes = random_network(2, 3), random_codes(9, 2, 3)
    forward, backward = (network(torch.tensor([items]), torch.tensor([3]), codes) for items in ([1, 5, 8], [8, 5, 1]))
    assert not torch.allclose(network.decoder.start(forward)[0], network.decoder.start(backward)[0])


def test_gradients_reach_every_parameter():
    network, trie = random_network(3, 4).train(), Trie(random_codes(40, 3, 4))
    inputs, lengths = torch.randint(1, 41, (40, T)), torch.full((40,), T)
    code_losses(network.decoder, trie, network(inputs, lengths, trie.codes), torch.arange(1, 41))[0].backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_the_memory_is_projected_once_however_many_beams_there_are(monkeypatch):
    network, trie, calls = random_network(3, 4), Trie(random_codes(40, 3, 4)), []
    keys_values = CrossAttention.keys_values
    monkeypatch.setattr(CrossAttention, "keys_values", lambda self, memory: calls.append(len(memory)) or keys_values(self, memory))
    with torch.no_grad():
        memory = network(torch.randint(1, 41, (BATCH, T)), torch.full((BATCH,), T), trie.codes)
        beam_search(network.decoder, memory, trie, 20)
    assert calls == [BATCH] * BLOCK["n_layers"]


def test_rows_are_packed_by_user_and_unpacked_again():
    rows, x = UserRows(torch.tensor([0, 0, 2, 3, 3, 3]), 5), torch.arange(1.0, 7).unsqueeze(1)
    packed = rows.pack(x)
    assert packed.squeeze(-1).tolist() == [[1, 2, 0], [0, 0, 0], [3, 0, 0], [4, 5, 6], [0, 0, 0]]
    assert torch.equal(rows.unpack(packed), x)
