"""The decoder's two losses and its exact log-probabilities, against sums written out."""

import pytest
import torch
from random_codes import SHAPES, random_codes, random_decoder, random_states

from recbole_prorec.generation.decoder import code_log_probs, code_losses
from recbole_prorec.generation.generator import code_vectors
from recbole_prorec.generation.trie import Trie


@pytest.fixture(params=[(shape, item_size) for shape in SHAPES for item_size in (0, 5)], ids=str)
def problem(request):
    shape, item_size = request.param
    trie = Trie(random_codes(*shape))
    items = torch.randint(1, trie.n_items, (17,), generator=torch.Generator().manual_seed(0))
    return random_decoder(*shape[1:], item_size=item_size), trie, random_states(17), items


def siblings(trie, item, level):
    """Codes of a level that real items have behind the codes of `item` before it, and for each the items that have it."""
    found = {}
    for other in range(1, trie.n_items):
        if torch.equal(trie.codes[other, :level], trie.codes[item, :level]):
            found.setdefault(int(trie.codes[other, level]), []).append(other)
    return found


def choices(decoder, trie, states, items):
    """(row, {code: items}, log-probability of every code) of every level, by the whole forward and a softmax over real codes."""
    hidden = decoder(states, trie.codes[items])
    for row, item in enumerate(items):
        for level in range(trie.n_levels):
            found = siblings(trie, item, level)
            logits = decoder.logits(hidden[row, level:level + 1], level)[0, list(found)]
            yield row, level, found, dict(zip(found, logits.log_softmax(0)))


def test_log_probs_equal_the_sum_over_all_levels(problem):
    decoder, trie, states, items = problem
    expected = torch.zeros(len(items))
    for row, level, _, log_probs in choices(*problem):
        expected[row] += log_probs[int(trie.codes[items[row], level])].detach()
    torch.testing.assert_close(code_log_probs(decoder, trie, states, items).detach(), expected)


def test_the_hard_loss_is_the_mean_of_the_log_probs(problem):
    hard, soft = code_losses(*problem)
    torch.testing.assert_close(hard, -code_log_probs(*problem).mean())
    assert soft == 0


class Taught:
    """In the place of `SoftTargets`: a teacher's probabilities [P, n_items], summed item by item."""

    def __init__(self, trie, items, probs):
        self.trie, self.items, self.probs = trie, items, probs

    def at(self, rows, level):
        found = torch.zeros(len(rows), self.trie.levels[level].child_code.shape[1])
        for place, row in enumerate(rows):
            for below in siblings(self.trie, self.items[row], level).values():
                found[place, self.trie.path_slot[below[0], level]] = self.probs[row, below].sum()
        return found / found.sum(1, keepdim=True)


def test_the_soft_loss_equals_the_teacher_summed_below_every_code(problem):
    teacher = torch.randn(17, problem[1].n_items, generator=torch.Generator().manual_seed(1))
    probs = torch.cat([torch.zeros(17, 1), teacher[:, 1:].softmax(1)], dim=1)
    expected = 0.0
    for row, _, found, log_probs in choices(*problem):
        mass = {code: probs[row, below].sum() for code, below in found.items()}
        expected -= sum(mass[code] / sum(mass.values()) * log_probs[code] for code in found) / 17
    torch.testing.assert_close(code_losses(*problem, Taught(*problem[1::2], probs))[1], expected)


def test_a_teacher_sure_of_the_target_is_the_hard_target(problem):
    sure = torch.nn.functional.one_hot(problem[3], problem[1].n_items).float()
    hard, soft = code_losses(*problem, Taught(*problem[1::2], sure))
    torch.testing.assert_close(hard, soft)


def test_the_losses_of_a_batch_are_the_means_of_its_rows(problem):
    decoder, trie, states, items = problem
    alone = [code_losses(decoder, trie, state, item)[0] for state, item in zip(states.split(1), items.split(1))]
    torch.testing.assert_close(code_losses(*problem)[0], torch.stack(alone).mean())


def test_a_code_sees_the_codes_before_it_and_none_after(problem):
    decoder, trie, states, items = problem
    codes = trie.codes[items]
    for level in range(trie.n_levels):
        changed = codes.clone()
        changed[:, level] = (changed[:, level] + 1) % decoder.codebook_size
        hidden, other = decoder(states, codes), decoder(states, changed)
        torch.testing.assert_close(hidden[:, :level + 1], other[:, :level + 1])
        assert level + 1 == trie.n_levels or not torch.allclose(hidden[:, level + 1], other[:, level + 1])


def test_gradients_reach_every_parameter_and_the_states():
    trie, decoder = Trie(random_codes(40, 3, 4)), random_decoder(3, 4)
    states = random_states(40).requires_grad_()
    code_losses(decoder, trie, states, torch.arange(1, 41))[0].backward()
    assert (states.grad.abs().sum(1) > 0).all()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_code_vectors_sum_to_the_vectors_where_each_item_has_a_last_code_of_its_own():
    codes, vectors = random_codes(9, 1, 9), torch.randn(10, 5)
    assert torch.equal(code_vectors(codes, vectors, 9)[0, codes[1:, 0]], vectors[1:])


def test_code_vectors_are_the_means_of_what_the_levels_before_left():
    codes, vectors = random_codes(40, 3, 4), torch.randn(41, 5)
    found, rest = code_vectors(codes, vectors, 4), vectors.clone()
    for level in range(3):
        for code in range(4):
            having = [item for item in range(1, 41) if codes[item, level] == code]
            torch.testing.assert_close(found[level, code], torch.stack([rest[item] for item in having]).mean(0))
        rest = torch.stack([rest[item] - found[level, codes[item, level]] for item in range(41)])


def test_a_code_that_no_item_has_stands_for_nothing():
    assert (code_vectors(random_codes(2, 1, 9), torch.ones(3, 5), 9)[0].abs().sum(1) > 0).sum() == 2


def test_a_decoder_begins_with_the_products_of_state_and_quantized_item():
    trie, vectors = Trie(random_codes(40, 3, 4)), torch.randn(41, 5)
    decoder, of_codes, weight = random_decoder(3, 4), code_vectors(trie.codes, vectors, 4), torch.randn(5, 8)
    with torch.no_grad():
        for parameter in decoder.output.parameters():
            parameter.zero_()
    decoder.start_from(of_codes, weight, torch.zeros(5))
    states, items = random_states(40), torch.arange(1, 41)
    hidden = decoder(states, trie.codes[items])
    logits = sum(decoder.logits(hidden[:, level], level).gather(1, trie.codes[items, level, None]).squeeze(1) for level in range(3))
    quantized = sum(of_codes[level, trie.codes[items, level]] for level in range(3))
    torch.testing.assert_close(logits, ((states @ weight.T) * quantized).sum(1))
