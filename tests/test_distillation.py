"""The teacher is stage 1 as it was, and what it teaches is its softmax over items, summed over the items that share codes."""

import pytest
import torch
from random_codes import SHAPES, random_codes
from recbole.data.interaction import Interaction

from recbole_prorec.data.histories import INPUTS, TARGET_ROWS, TARGETS, WindowBatches
from recbole_prorec.generation import distillation
from recbole_prorec.generation.distillation import SoftTargets, Teacher
from recbole_prorec.generation.trie import Trie
from recbole_prorec.nn import losses
from recbole_prorec.nn.seen import seen_before
from recbole_prorec.nn.transformer import CausalTransformer

WIDTH, LENGTH, POSITIONS = 8, 5, 17


@pytest.fixture(params=SHAPES, ids=str)
def teacher(request):
    return teacher_of(*request.param)


def teacher_of(n_real, n_levels, codebook_size, dropout=False):
    torch.manual_seed(0)
    encoder = CausalTransformer(WIDTH, n_layers=1, n_heads=2, inner_size=16, max_length=LENGTH, attention_dropout=0.5, hidden_dropout=0.5)
    table, trie = torch.randn(n_real + 1, WIDTH, requires_grad=True), Trie(random_codes(n_real, n_levels, codebook_size))
    return Teacher(encoder if dropout else encoder.eval(), table, trie)


def batch_of(teacher, n_rows=4):
    items = torch.randint(1, teacher.trie.n_items, (2, n_rows, LENGTH), generator=torch.Generator().manual_seed(1))
    return Interaction({INPUTS: items[0], TARGETS: items[1]})


def masses(teacher, state, item, level, seen=()):
    """{slot: probability} of the children of the node that the item's path passes, from the softmax over all items written out."""
    trie = teacher.trie
    scores = teacher.table[1:] @ state
    scores[[other - 1 for other in seen if other]] = -torch.inf
    probs = scores.softmax(0)
    below = [other for other in range(1, trie.n_items) if torch.equal(trie.codes[other, :level], trie.codes[item, :level])]
    found = {}
    for other in below:
        slot = int(trie.path_slot[other, level])
        found[slot] = found.get(slot, 0) + float(probs[other - 1])
    return {slot: mass / sum(found.values()) for slot, mass in found.items()}


def check(teacher, soft_targets, states, items, seen=None):
    for level in range(teacher.trie.n_levels):
        rows = torch.arange(len(items)).flip(0)[teacher.trie.n_choices[items].flip(0) > level]
        if len(rows):
            for row, found in zip(rows, soft_targets.at(rows, level)):
                expected = torch.zeros(len(found))
                for slot, mass in masses(teacher, states[row], items[row], level, () if seen is None else seen[row].tolist()).items():
                    expected[slot] = mass
                torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("block_elements", [1, 100, 10**6])
def test_soft_targets_are_the_softmax_over_items_summed_below_every_code(teacher, block_elements, monkeypatch):
    monkeypatch.setitem(losses.BLOCK_ELEMENTS, "cpu", block_elements)
    states = torch.randn(POSITIONS, WIDTH)
    items = torch.randint(1, teacher.trie.n_items, (POSITIONS,))
    check(teacher, SoftTargets(teacher, items, states), states, items)
    seen = torch.randint(0, teacher.trie.n_items, (POSITIONS, 3))
    seen[seen == items.unsqueeze(1)] = 0
    check(teacher, SoftTargets(teacher, items, states, seen), states, items, seen)


def test_what_was_seen_is_what_stands_before_a_target(teacher):
    inputs = torch.tensor([[3, 1, 2, 1], [2, 4, 0, 0]])
    targets = torch.tensor([[0, 2, 1, 5], [4, 6, 0, 0]])
    assert seen_before(inputs, targets).tolist() == [[3, 1, 0, 0], [3, 0, 2, 0], [3, 1, 2, 1], [2, 0, 0, 0], [2, 4, 0, 0]]
    teacher.exclude_seen = True
    batch = batch_of(teacher)
    found = teacher.soft_targets(batch, batch[INPUTS], batch[TARGETS])
    items = batch[TARGETS].flatten()
    check(teacher, found, found.states, items, seen_before(batch[INPUTS], batch[TARGETS]))


def test_the_teacher_reads_histories_as_stage_1_did(teacher):
    batch = batch_of(teacher)
    expected = teacher.encoder(teacher.table[batch[INPUTS]])
    found = teacher.soft_targets(batch, batch[INPUTS], batch[TARGETS])
    torch.testing.assert_close(found.states, expected.flatten(0, 1).detach())


def test_the_teacher_has_its_dropout_in_training():
    teacher = teacher_of(40, 3, 4, dropout=True)
    batch = batch_of(teacher)
    first, second = (teacher.soft_targets(batch, batch[INPUTS], batch[TARGETS]).states for _ in range(2))
    assert not torch.equal(first, second)


def test_nothing_of_the_teacher_is_trained(teacher):
    batch = batch_of(teacher)
    found = teacher.soft_targets(batch, batch[INPUTS], batch[TARGETS])
    assert not found.states.requires_grad and not found.at(torch.arange(3), 0).requires_grad


def with_rows(batch):
    batch.update(Interaction({TARGET_ROWS: torch.randperm(batch[TARGETS].numel()).view(batch[TARGETS].shape)}))
    return batch


def test_what_is_kept_is_what_a_step_would_compute(teacher):
    batches = [with_rows(batch_of(teacher))]
    items, n_targets = batches[0][TARGETS].flatten(), batches[0][TARGETS].numel()
    computed = teacher.soft_targets(batches[0], batches[0][INPUTS], batches[0][TARGETS])
    teacher.keep(batches, n_targets)
    kept = teacher.soft_targets(batches[0], batches[0][INPUTS], batches[0][TARGETS])
    for level in range(teacher.trie.n_levels):
        rows = (teacher.trie.n_choices[items] > level).nonzero().squeeze(1).flip(0)
        if len(rows):
            torch.testing.assert_close(kept.at(rows, level), computed.at(rows, level), atol=1e-3, rtol=1e-3)
    others = batch_of(teacher)  # of rows that nobody knows
    assert torch.equal(teacher.soft_targets(others, others[INPUTS], others[TARGETS]).root, computed.root)


def test_what_would_not_fit_is_not_kept(monkeypatch):
    teacher = teacher_of(40, 3, 4)
    monkeypatch.setattr(distillation, "KEPT_BYTES", 2 * 20 * 4 - 1)
    teacher.keep([with_rows(batch_of(teacher))], 20)
    assert teacher.kept is None and len(teacher.kept_states) == 20
    monkeypatch.setattr(distillation, "KEPT_BYTES", 2 * 20 * 4)
    teacher.keep([with_rows(batch_of(teacher))], 20)
    assert teacher.kept is not None


def test_dropout_is_drawn_once_whether_distributions_fit_or_not(monkeypatch):
    teacher = teacher_of(40, 3, 4, dropout=True)
    batch = with_rows(batch_of(teacher))
    rows, found = torch.arange(batch[TARGETS].numel()), []
    for kept_bytes in (2**20, 0, 0):
        monkeypatch.setattr(distillation, "KEPT_BYTES", kept_bytes)
        torch.manual_seed(0)
        teacher.keep([batch], len(rows))
        found += [teacher.soft_targets(batch, batch[INPUTS], batch[TARGETS]).at(rows, 0) for _ in range(2)]
    torch.testing.assert_close(found[0], found[2], atol=1e-3, rtol=1e-3)
    assert all(torch.equal(again, found[2]) for again in found[3:])


def test_every_target_of_the_histories_is_kept_behind_its_own_history():
    from test_histories import random_sequences, rows_of

    from recbole_prorec.data.histories import Histories

    teacher, histories = teacher_of(40, 3, 4), Histories.from_rows(*rows_of(random_sequences(3, longest=LENGTH)))
    teacher.keep(WindowBatches(histories, LENGTH, 3, 16, "cpu", seed=0), histories.n_targets)
    for row, place in enumerate(histories.is_target.nonzero()[0]):
        first = histories.first[histories.first <= place].max()
        state = teacher.states(torch.from_numpy(histories.items[first:place]).unsqueeze(0))[0, -1:]
        torch.testing.assert_close(teacher.kept.root[row].float(), teacher.root_probs(state)[0], atol=1e-3, rtol=1e-3)
