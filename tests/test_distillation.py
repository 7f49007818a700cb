"""Distillation equals a reference written by hand, and the teacher learns nothing from it."""

import pytest
import torch

from recbole_prorec.model.distillation import DistillationHeads

N_ITEMS, WIDTH, POSITIONS = 9, 4, 13


@pytest.fixture
def heads():
    torch.manual_seed(0)
    return DistillationHeads(WIDTH).double()


@pytest.fixture
def given():
    torch.manual_seed(1)
    states = torch.randn(POSITIONS, WIDTH, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(N_ITEMS, 2 * WIDTH, dtype=torch.float64, requires_grad=True)
    return states, teacher, torch.randint(1, N_ITEMS, (POSITIONS,))


def reference(heads, states, teacher, items):
    """Position by position: the softmax over all items of h_C . E_C + h_T . E_T."""
    collaborative, semantic = teacher.chunk(2, dim=1)
    total = 0.0
    for state, item in zip(states, items):
        from_collaborative, from_semantic = (head.weight @ state + head.bias for head in (heads.collaborative, heads.semantic))
        scores = [from_collaborative @ collaborative[i] + from_semantic @ semantic[i] for i in range(1, N_ITEMS)]
        total -= scores[item - 1] - torch.stack(scores).logsumexp(0)
    return total / len(items)


def test_the_loss_and_its_gradients_equal_the_reference(heads, given):
    states, teacher, items = given
    found, expected = heads.loss(states, teacher[1:], items - 1), reference(heads, states, teacher.detach(), items)
    torch.testing.assert_close(found, expected)
    learned = [states, *heads.parameters()]
    torch.testing.assert_close(torch.autograd.grad(found, learned), torch.autograd.grad(expected, learned))


def test_no_gradient_reaches_the_teacher(heads, given):
    states, teacher, items = given
    heads.loss(states, teacher[1:], items - 1).backward()
    assert given[1].grad is None
    assert (given[0].grad != 0).any()


def test_the_loss_is_the_mean_of_the_log_probs_of_the_targets(heads, given):
    states, teacher, items = given
    log_probs = heads.log_probs(states, teacher)
    torch.testing.assert_close(heads.loss(states, teacher[1:], items - 1), -log_probs.gather(1, items.unsqueeze(1)).mean())
    assert (log_probs[:, 0] == float("-inf")).all()
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(POSITIONS, dtype=torch.float64))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0)])
def test_the_heads_begin_with_the_scores_of_stage_1(heads, given, weights):
    states, teacher, _ = given
    heads.start_from(weights)
    collaborative, adapted = teacher.chunk(2, dim=1)
    expected = states @ (weights[0] * collaborative + weights[1] * adapted).T
    torch.testing.assert_close(heads(states) @ teacher.T, expected)
