"""A comparison's numbers are right: ranks with ties, shared codes, significance, each against what is computed by hand."""

import itertools

import numpy as np
import pytest
import torch

from recbole_prorec.compare import ranks, report, significance, summary
from recbole_prorec.compare.shared_codes import SharedCodes, corrected

# Ranks

def test_counts_above_and_tied_by_hand():
    inf = float("inf")
    scores = torch.tensor([[-inf, 3.0, 1.0, 2.0], [-inf, 1.0, 1.0, 1.0], [-inf, 5.0, -inf, 4.0]])
    above, tied = ranks.count_above_and_tied(scores, torch.tensor([3, 2, 2]))
    assert above.tolist() == [1, 0, ranks.NOT_FOUND] and tied.tolist() == [0, 2, 0]


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        ranks.count_above_and_tied(torch.tensor([[0.0, float("nan")]]), torch.tensor([1]))


@pytest.mark.parametrize("name, k", list(itertools.product(ranks.GAINS, (1, 2, 3, 5))))
def test_a_metric_of_a_tied_item_is_the_mean_over_all_orders_of_the_tie(name, k):
    for above, tied in itertools.product(range(4), range(4)):
        places = np.arange(above + 1, above + tied + 2)  # where the item can come to stand
        expected = np.mean(np.where(places <= k, ranks.GAINS[name](places), 0))
        assert ranks.metric_per_user(name, k, np.array([above]), np.array([tied]))[0] == pytest.approx(expected)


def test_an_item_outside_of_the_beam_counts_nothing():
    for name in ranks.GAINS:
        assert ranks.metric_per_user(name, 10, np.array([ranks.NOT_FOUND]), np.array([0])).tolist() == [0]


def test_metrics_that_the_ranks_cannot_give_are_refused_and_any_order_of_ties_is_not():
    above, tied = np.array([0, 4, 30, ranks.NOT_FOUND]), np.array([0, 1, 0, 0])
    for recall in (0.25, 0.5):  # the tied item stands on place 5 or 6
        ranks.check_against({"recall@5": recall}, [5], above, tied)
    ranks.check_against({"recall@5": 0.2}, [5], above, tied, rounding=0.05)
    for recall in (0.2, 0.55):
        with pytest.raises(RuntimeError, match="recall@5"):
            ranks.check_against({"recall@5": recall}, [5], above, tied)


@pytest.mark.parametrize("ties", [False, True])
def test_unseen_ranks_are_those_of_scores_without_the_items_of_the_history(ties):
    scores = torch.rand(200, 30, generator=torch.Generator().manual_seed(0))
    scores = (scores * 5).floor() if ties else scores
    scores[:, 0], scores[:50, 20:] = -torch.inf, -torch.inf
    targets = torch.arange(200) % 29 + 1
    history = torch.randint(0, 30, (200, 8), generator=torch.Generator().manual_seed(1))  # items come twice, and the target may be there
    above, tied = ranks.count_above_and_tied(scores, targets)
    seen_above, seen_tied = ranks.count_seen(scores, targets, history)
    own = scores.gather(1, targets.unsqueeze(1))
    without = scores.scatter(1, history, -torch.inf).scatter(1, targets.unsqueeze(1), own)
    expected = ranks.count_above_and_tied(without, targets)
    assert torch.equal(above - seen_above, expected[0]) and torch.equal(tied - seen_tied, expected[1])


def test_a_view_that_some_seeds_lack_is_of_the_others_and_says_so():
    counts = {"above": np.array([1, 0]), "tied": np.array([0, 0])}
    seeds = {1: ({}, {**counts, "seen_above": np.array([1, 0]), "seen_tied": np.array([0, 0])}), 2: ({}, counts)}
    assert summary._per_user(seeds, "recall", 1).tolist() == [0, 1]
    assert summary._per_user(seeds, "recall", 1, unseen=True).tolist() == [1, 1]
    assert report._cell(summary._spread([0.5]), "unseen recall@1", n_seeds=2) == "0.5000 (1 of 2 seeds)"


def test_the_share_of_seen_items_counts_what_is_listed():
    lists, histories = np.array([[1, 2, 3], [4, 0, 0]]), np.array([[3, 1, 0], [5, 0, 0]])
    assert ranks.share_seen(lists, histories) == pytest.approx(2 / 4)


def test_coverage_and_popularity_by_hand():
    items = np.array([[1, 2], [2, 0]])
    assert ranks.coverage(items, n_items=5) == 2 / 4
    assert ranks.average_popularity(items, np.array([0, 10, 1, 7, 7])) == 4.0


# Shared codes

CODES = np.array([[0, 0, 0], [1, 1, 0], [2, 2, 0], [1, 1, 1], [2, 1, 0], [1, 1, 2]])  # items 1, 3 and 5 share the code (1, 1)


def test_a_metric_is_corrected_to_its_mean_over_the_places_of_the_group():
    scores = torch.tensor([[float("-inf"), 5, 4, 3, 2, 1]])  # item i at place i
    places, shared = np.array([1, 3, 5]), SharedCodes(CODES)
    for target, name, k in itertools.product((1, 3, 5), ranks.GAINS, (1, 3, 4, 5)):
        found = corrected([k], *(part.numpy() for part in shared.ranks(scores, torch.tensor([target]))))
        assert found[f"{name}@{k}"] == pytest.approx(np.mean(np.where(places <= k, ranks.GAINS[name](places), 0)))
    assert shared.n_in_collisions == 3


def test_an_item_of_the_group_outside_of_the_beam_is_a_share_lost():
    inf = float("inf")
    scores = torch.tensor([[-inf, 5, 4, -inf, -inf, -inf], [-inf, -inf, 4, 3, -inf, -inf]])
    size, above, tied = (part.numpy() for part in SharedCodes(CODES).ranks(scores, torch.tensor([5, 2])))
    assert corrected([5], size, above, tied)["recall@5"] == pytest.approx((1 / 3 + 1) / 2)


def test_an_item_of_the_group_that_is_no_answer_takes_no_share():
    scores = torch.tensor([[float("-inf"), 5, 4, float("-inf"), 2, 1]])  # 3 is in the history, and 5 on place 4
    found = SharedCodes(CODES).ranks(scores, torch.tensor([5]), torch.tensor([[3, 0, 5]]))  # so is the target, which may come again
    assert corrected([1, 4], *(part.numpy() for part in found))["recall@1"] == 0.5
    assert corrected([1, 4], *(part.numpy() for part in found))["recall@4"] == 1


def test_without_collisions_the_corrected_metric_is_the_plain_one():
    scores = torch.randint(0, 30, (700, 40), generator=torch.Generator().manual_seed(0)).float()  # with ties
    targets = torch.randint(1, 40, (700,), generator=torch.Generator().manual_seed(1))
    codes = np.stack([np.arange(40) // 7, np.arange(40) % 7, np.zeros(40, int)], axis=1)
    found = corrected([5, 10], *(part.numpy() for part in SharedCodes(codes).ranks(scores, targets)))
    above, tied = (part.numpy() for part in ranks.count_above_and_tied(scores, targets))
    for name, k in itertools.product(ranks.GAINS, (5, 10)):
        assert found[f"{name}@{k}"] == pytest.approx(ranks.metric_per_user(name, k, above, tied).mean())


# Significance

def test_holm_by_hand():
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.9, 0.8]) == [1, 1]
    assert significance.holm([]) == []


def test_the_sign_flip_test_comes_to_the_exact_one():
    differences = np.array([0.5, 0.9, -0.2, 0.4, 0.7, 0.0, 0.3, -0.1])
    flipped = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=len(differences))]
    exact = np.mean(np.array(flipped) >= abs(differences.sum()) - 1e-9)
    assert significance.sign_flip_p(differences) == pytest.approx(exact, abs=0.01)
    assert significance.sign_flip_p(-differences) == significance.sign_flip_p(differences)


def test_no_difference_is_not_significant_and_a_steady_one_is():
    assert significance.sign_flip_p(np.zeros(50)) == 1
    assert significance.sign_flip_p(np.full(50, 0.1)) == pytest.approx(1 / (1 + significance.DRAWS))


def test_p_values_of_chance_are_spread_evenly():
    rng = np.random.default_rng(1)
    p_values = [significance.sign_flip_p(rng.normal(size=30), draws=200) for _ in range(300)]
    assert np.mean(np.array(p_values) < 0.05) < 0.1 and 0.4 < np.mean(p_values) < 0.6


def test_the_bootstrap_interval_is_that_of_the_central_limit():
    differences = np.random.default_rng(0).normal(0.3, 1, 2000)
    margin = 1.96 * differences.std() / np.sqrt(2000)
    expected = differences.mean() - margin, differences.mean() + margin
    assert significance.bootstrap_interval(differences) == pytest.approx(expected, abs=0.005)
