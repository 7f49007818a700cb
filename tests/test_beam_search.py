"""What the beam finds is real, distinct and as exact scoring ranks it."""

import pytest
import torch
from random_codes import SHAPES, random_codes, random_decoder, random_states

from recbole_prorec.generation import choices
from recbole_prorec.generation.beam_search import ClosedPaths, beam_search, exact_search, score_all
from recbole_prorec.generation.decoder import code_log_probs
from recbole_prorec.generation.trie import Trie

BATCH = 7


@pytest.fixture(params=[(shape, seed) for shape in SHAPES for seed in range(2)], ids=str)
def problem(request, monkeypatch):
    (n_real, n_levels, codebook_size), seed = request.param
    monkeypatch.setattr(choices, "PAIR_COST", (choices.PAIR_COST, 0)[seed])  # either way of a node's children's logits
    trie = Trie(random_codes(n_real, n_levels, codebook_size, seed))
    return random_decoder(n_levels, codebook_size, seed=seed), random_states(BATCH, seed=seed), trie


def exact(decoder, states, trie):
    """Teacher-forced log-probability of every item for every state, [B, n_items - 1]."""
    items = torch.arange(1, trie.n_items).repeat(len(states))
    states = states.repeat_interleave(trie.n_items - 1, dim=0)
    return code_log_probs(decoder, trie, states, items).view(-1, trie.n_items - 1)


@pytest.mark.parametrize("beam_size", [1, 3, 10, 1000])
def test_beams_of_an_untrained_network_are_real_and_distinct_and_fill_every_row(problem, beam_size):
    items, log_probs = beam_search(*problem, beam_size)
    n_real = problem[2].n_items - 1
    filled = min(beam_size, n_real)
    assert items.shape == log_probs.shape == (BATCH, beam_size)
    for row in items[:, :filled].tolist():
        assert len(set(row)) == filled and set(row) <= set(range(1, n_real + 1))
    assert torch.isfinite(log_probs[:, :filled]).all()
    assert (items[:, filled:] == 0).all() and (log_probs[:, filled:] == float("-inf")).all()


@pytest.mark.parametrize("beam_size", [1, 3, 10])
def test_a_beams_log_probability_is_the_exact_one(problem, beam_size):
    decoder, states, trie = problem
    beam_size = min(beam_size, trie.n_items - 1)
    items, log_probs = beam_search(decoder, states, trie, beam_size)
    expected = code_log_probs(decoder, trie, states.repeat_interleave(beam_size, dim=0), items.flatten())
    torch.testing.assert_close(log_probs.flatten(), expected)
    assert (log_probs.diff(dim=1) <= 0).all()


def test_a_beam_as_wide_as_the_catalogue_is_the_exhaustive_ranking(problem):
    decoder, states, trie = problem
    items, _ = beam_search(decoder, states, trie, trie.n_items)
    expected = exact(decoder, states, trie).argsort(dim=1, descending=True) + 1
    assert torch.equal(items[:, :-1], expected)
    assert (items[:, -1] == 0).all()


@pytest.mark.parametrize("beam_size", [1, 4, 1000])
@pytest.mark.parametrize("n_excluded", [1, 6, 40])
def test_excluded_items_are_not_found_and_take_no_place(problem, beam_size, n_excluded):
    decoder, states, trie = problem
    excluded = torch.randint(0, trie.n_items, (BATCH, n_excluded), generator=torch.Generator().manual_seed(n_excluded))  # some come twice
    items, log_probs = beam_search(decoder, states, trie, beam_size, ClosedPaths(trie, excluded))
    for row, values, without in zip(items.tolist(), log_probs, excluded.tolist()):
        left = set(range(1, trie.n_items)) - set(without)
        n_found = min(beam_size, len(left))
        assert len(set(row[:n_found])) == n_found and set(row[:n_found]) <= left
        assert row[n_found:] == [0] * (beam_size - n_found) and (values[n_found:] == float("-inf")).all()
    if beam_size == 1000:
        all_items = torch.cat([torch.zeros(BATCH, 1), exact(decoder, states, trie)], dim=1)
        expected = all_items.scatter(1, excluded, float("-inf"))[:, 1:]
        torch.testing.assert_close(log_probs[:, :trie.n_items - 1], expected.sort(1, descending=True).values)


def priors(trie, scale, seed=0):
    """[BATCH, n_items], -inf for padding and for a few items of each row."""
    drawn = torch.Generator().manual_seed(seed)
    prior = scale * torch.randn(BATCH, trie.n_items, generator=drawn)
    return prior.scatter(1, torch.randint(0, trie.n_items, (BATCH, 3), generator=drawn), float("-inf"))


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("scale", [0, 1, 20])
def test_exact_search_finds_the_best_of_all_items(problem, size, scale):
    decoder, states, trie = problem
    prior = priors(trie, scale)
    items, scores = exact_search(decoder, states, trie, prior, size)
    expected = exact(decoder, states, trie) + prior[:, 1:]
    best = expected.topk(min(size, trie.n_items - 1), dim=1)
    torch.testing.assert_close(scores[:, : best.values.shape[1]], best.values, atol=1e-4, rtol=1e-4)
    assert items.shape == scores.shape == (BATCH, size)
    found = scores > float("-inf")
    assert torch.equal(items > 0, found)
    torch.testing.assert_close(scores[found], torch.nn.functional.pad(expected, (1, 0)).gather(1, items)[found], atol=1e-4, rtol=1e-4)
    assert all(len(set(row[kept].tolist())) == kept.sum() for row, kept in zip(items, found))


def test_exact_search_lists_equals_in_order_of_their_codes_and_no_excluded_item():
    trie = Trie(random_codes(60, 3, 4))
    decoder = Table([torch.zeros(4)] * 3)
    prior = -score_all(decoder, torch.zeros(2, 1), trie)  # all sums are 0
    items, scores = exact_search(decoder, torch.zeros(2, 1), trie, prior, 20)
    assert torch.equal(items, trie.leaf_item[:20].expand(2, -1)) and scores.abs().max() < 1e-5
    prior[1] = float("-inf")
    items, scores = exact_search(decoder, torch.zeros(2, 1), trie, prior, 20)
    assert (items[0] > 0).all() and (items[1] == 0).all() and (scores[1] == float("-inf")).all()


def test_exact_search_does_not_hide_what_is_no_number(problem):
    decoder, states, trie = problem
    prior = priors(trie, 1)
    prior[2] = float("nan")
    scores = exact_search(decoder, states, trie, prior, 3)[1]
    assert scores[2].isnan().any() and not scores[[0, 1, 3, 4, 5, 6]].isnan().any()


def test_exact_search_opens_a_part_of_the_trie_alone():
    trie, decoder, states = Trie(random_codes(3000, 3, 20)), random_decoder(3, 20), random_states(BATCH)
    prior, n_opened, advance = priors(trie, 5), [], decoder.advance
    decoder.advance = lambda cache, rows, *rest: n_opened.append(len(rows)) or advance(cache, rows, *rest)
    exact_search(decoder, states, trie, prior, 10)
    searched = sum(n_opened)
    n_opened.clear()
    score_all(decoder, states, trie)
    assert searched < sum(n_opened) / 5


def test_a_wider_beam_never_finds_a_worse_best_item(problem):
    best = [beam_search(*problem, beam_size)[1][:, 0] for beam_size in (2, 1000)]
    assert (best[1] >= best[0] - 1e-5).all()


def test_score_all_is_a_distribution_over_the_catalogue(problem):
    scores = score_all(problem[0], problem[1], problem[2])
    assert (scores[:, 0] == float("-inf")).all()
    torch.testing.assert_close(scores[:, 1:].exp().sum(1), torch.ones(BATCH))


def test_score_all_equals_teacher_forcing(problem):
    torch.testing.assert_close(score_all(*problem)[:, 1:], exact(*problem))


@pytest.mark.parametrize("search", [beam_search, lambda *problem: (score_all(*problem[:3]),)], ids=["beam_search", "score_all"])
def test_a_batch_equals_its_rows_one_by_one(problem, search):
    decoder, states, trie = problem
    alone = [search(decoder, state, trie, 6) for state in states.split(1)]
    for together, rows in zip(search(decoder, states, trie, 6), zip(*alone)):
        torch.testing.assert_close(together, torch.cat(rows))


class Uncached:
    """The same decoder without memory: every step runs the whole forward over the codes so far."""

    def __init__(self, decoder):
        self.decoder, self.logits, self.pair_logits = decoder, decoder.logits, decoder.pair_logits
        self.codebook_size = decoder.codebook_size

    def start(self, states):
        return self._last(states, torch.zeros(len(states), 0, dtype=torch.long))

    def advance(self, cache, rows, codes, level):
        states, before = cache
        return self._last(states[rows], torch.cat([before[rows], codes.unsqueeze(1)], dim=1))

    def _last(self, states, codes):
        unread = torch.zeros(len(codes), 1, dtype=torch.long)  # the code asked for, which no position sees
        return self.decoder(states, torch.cat([codes, unread], dim=1))[:, -1], (states, codes)


def test_cached_decoding_equals_uncached(problem):
    decoder, states, trie = problem
    for cached, uncached in zip(beam_search(decoder, states, trie, 6), beam_search(Uncached(decoder), states, trie, 6)):
        torch.testing.assert_close(cached, uncached)
    torch.testing.assert_close(score_all(decoder, states, trie), score_all(Uncached(decoder), states, trie))


class Table:
    """A decoder that reads its logits from a table, whatever the codes before: log-probabilities can be written by hand."""

    def __init__(self, logits):
        self.table = logits

    def start(self, states):
        return states, None

    def advance(self, cache, rows, codes, level):
        return torch.zeros(len(rows), 1), None

    def logits(self, hidden, level):
        return self.table[level].expand(len(hidden), -1)

    codebook_size = property(lambda self: len(self.table[0]))


def test_probabilities_written_by_hand():
    codes = torch.tensor([[0, 0], [0, 0], [0, 2], [1, 1], [2, 2]])  # the last two items are decided by their first code
    first, second = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.6, 0.3])
    decoder, trie = Table([first.log(), second.log()]), Trie(codes)
    expected = torch.tensor([0, 0.5 * 0.1 / 0.4, 0.5 * 0.3 / 0.4, 0.3, 0.2])
    torch.testing.assert_close(score_all(decoder, torch.zeros(1, 1), trie)[0].exp(), expected)
    items, log_probs = beam_search(decoder, torch.zeros(1, 1), trie, 3)
    assert items.tolist() == [[2, 3, 4]]
    torch.testing.assert_close(log_probs[0].exp(), torch.tensor([0.375, 0.3, 0.2]))
