"""The losses are the textbook's, block by block and gradients included."""

import math

import pytest
import torch
from torch.nn import functional as F

from recbole_prorec.nn import losses
from recbole_prorec.nn.losses import info_nce, item_cross_entropy

POSITIONS, ITEMS, WIDTH = 23, 11, 4


@pytest.fixture
def problem():
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, dtype=torch.float64, requires_grad=True)
    table = torch.randn(ITEMS, WIDTH, dtype=torch.float64, requires_grad=True)
    return hidden, table, torch.randint(1, ITEMS, (POSITIONS,))


@pytest.fixture(params=[(1, 1), (3 * ITEMS, 1), (6 * ITEMS, 3), (POSITIONS * ITEMS, 1), (4_000_000, 64)],
                ids=["row by row", "three rows", "twice three rows, padded", "exactly all", "all, padded"])
def block_elements(request, monkeypatch):
    monkeypatch.setitem(losses.BLOCK_ELEMENTS, "cpu", request.param[0])
    monkeypatch.setattr(losses, "ROWS", request.param[1])


def plain(hidden, table, target):
    return F.cross_entropy(hidden @ table[1:].T, target - 1)


def test_it_is_the_cross_entropy_over_all_items_but_padding(problem, block_elements):
    hidden, table, target = problem
    found = item_cross_entropy(hidden, table, target)
    torch.testing.assert_close(found, plain(hidden, table, target))
    gradients = torch.autograd.grad(3 * found, (hidden, table))
    expected = torch.autograd.grad(3 * plain(hidden, table, target), (hidden, table))
    torch.testing.assert_close(gradients, expected)
    assert (gradients[1][0] == 0).all()


def test_excluded_items_are_no_answers(problem, block_elements):
    hidden, table, target = problem
    excluded = torch.randint(0, ITEMS + 1, (POSITIONS, 3), generator=torch.Generator().manual_seed(0)).clamp(max=len(table) - 1)
    excluded[excluded == target.unsqueeze(1)] = 0
    scores = hidden @ table.T
    scores = scores.scatter(1, torch.cat([torch.zeros(POSITIONS, 1, dtype=torch.long), excluded], dim=1), -torch.inf)
    found, expected = item_cross_entropy(hidden, table, target, excluded), F.cross_entropy(scores, target)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, (hidden, table)), torch.autograd.grad(expected, (hidden, table)))


def test_its_gradients_are_those_of_finite_differences(problem, block_elements):
    hidden, table, target = problem
    assert torch.autograd.gradcheck(lambda h, t: item_cross_entropy(h, t, target), (hidden, table))


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_side_without_gradient_gets_none(problem, wanted):
    pair = [tensor.detach().requires_grad_(side == wanted) for side, tensor in enumerate(problem[:2])]
    item_cross_entropy(*pair, problem[2]).backward()
    expected = torch.autograd.grad(plain(*problem), problem[wanted])[0]
    torch.testing.assert_close(pair[wanted].grad, expected)
    assert pair[1 - wanted].grad is None


def test_probabilities_too_small_to_be_floats_have_logarithms(problem):
    pair, target = [1000 * problem[0].float(), problem[1].float()], problem[2]
    found = item_cross_entropy(*pair, target)
    assert found > 100
    torch.testing.assert_close(found, plain(*pair, target))


def test_info_nce_equals_the_sums_written_out():
    torch.manual_seed(0)
    a, b, temperature = torch.randn(5, 3), torch.randn(5, 3), 0.3
    total = 0.0
    for view, other in ((a, b), (b, a)):
        for i in range(5):
            cosines = [torch.cosine_similarity(view[i], other[j], dim=0) / temperature for j in range(5)]
            total += -(cosines[i] - torch.stack(cosines).logsumexp(0)) / 5
    torch.testing.assert_close(info_nce(a, b, temperature), total / 2)


def test_the_gradients_of_info_nce_are_those_of_the_cross_entropies_both_ways():
    torch.manual_seed(0)
    pair = [torch.randn(7, 3, dtype=torch.double, requires_grad=True) for _ in range(2)]
    cosines = F.normalize(pair[0], dim=1) @ F.normalize(pair[1], dim=1).T / 0.2
    expected = (F.cross_entropy(cosines, torch.arange(7)) + F.cross_entropy(cosines.T, torch.arange(7))) / 2
    found = info_nce(*pair, 0.2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * found, pair), torch.autograd.grad(3 * expected, pair))
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 0.2), pair)


def test_info_nce_of_opposite_views_at_a_low_temperature():
    a = torch.eye(3)
    torch.testing.assert_close(info_nce(a, -a, 0.005), torch.tensor(200 + math.log(2)))


def test_info_nce_is_least_where_the_views_agree():
    torch.manual_seed(0)
    a = torch.randn(6, 8)
    assert info_nce(a, 5 * a, 0.1) < info_nce(a, a.roll(1, 0), 0.1)
    assert info_nce(a[:1], torch.randn(1, 8), 0.1) == 0
