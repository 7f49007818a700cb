"""Where every test user's item stands in the ranking, and metrics of it per user. Plain arrays, no RecBole.

A rank is kept as two counts: `above`, the items with a higher score (-1: the item has no score, as outside of a beam), and `tied`, the
other items with the same one. Metrics per user are means over all orders of the tied items, so an item in a tie counts for its share.
"""

import numpy as np
import torch

from recbole_prorec.nn.seen import each_once

NOT_FOUND = -1
GAINS = {"recall": lambda place: np.ones(len(place)), "ndcg": lambda place: 1 / np.log2(place + 1), "mrr": lambda place: 1 / place}


def chosen_depth(topk):
    """The list length of the significance tests, coverage and popularity."""
    return 10 if 10 in topk else max(topk)


def count_above_and_tied(scores, targets):
    """scores [B, N], targets [B] item ids -> above [B], tied [B]."""
    if torch.isnan(scores).any():
        raise ValueError("the model scores some items with NaN: no item has a rank among them")
    own = scores.gather(1, targets.unsqueeze(1))
    above, tied = (scores > own).sum(1), (scores == own).sum(1) - 1
    found = torch.isfinite(own).squeeze(1)
    return torch.where(found, above, NOT_FOUND), torch.where(found, tied, 0)


def count_seen(scores, targets, history):
    """How many of `count_above_and_tied` are items of the user's own history [B, T], 0 behind its end: above [B], tied [B]."""
    items = each_once(history)
    own, seen = scores.gather(1, targets.unsqueeze(1)), scores.gather(1, items)
    counted = (items > 0) & (items != targets.unsqueeze(1)) & torch.isfinite(own)
    return (counted & (seen > own)).sum(1), (counted & (seen == own)).sum(1)


def top_items(scores, k):
    """The k items of the highest scores [B, k], 0 where fewer have a score."""
    best = torch.topk(scores, k, dim=1)
    return torch.where(torch.isfinite(best.values), best.indices, 0)


def metric_per_user(name, k, above, tied):
    """recall, ndcg or mrr at k of one item per user, expected over the orders of tied items: [U]."""
    summed = np.concatenate([[0.0], np.cumsum(GAINS[name](np.arange(1, k + 1)))])
    first, last = np.minimum(above, k), np.minimum(above + tied + 1, k)
    return np.where(above == NOT_FOUND, 0.0, (summed[last] - summed[np.maximum(first, 0)]) / (tied + 1))


def bounds(name, k, above, tied):
    """The metric's mean if all ties were lost, and if all were won: what another treatment of ties can come to."""
    lost = np.where(above == NOT_FOUND, NOT_FOUND, above + tied)
    return tuple(float(metric_per_user(name, k, counts, np.zeros_like(tied)).mean()) for counts in (lost, above))


def check_against(reported, topk, above, tied, rounding=0.0, tolerance=1e-3):
    """Fail loudly where RecBole reports a metric, rounded by so much at most, that these ranks cannot give."""
    tolerance = max(tolerance, 1.001 * rounding)
    for name in GAINS:
        for k in topk:
            low, high = bounds(name, k, above, tied)
            said = reported.get(f"{name}@{k}")
            if said is not None and not low - tolerance <= said <= high + tolerance:
                raise RuntimeError(f"RecBole reports {name}@{k} = {said:.4f}, but the ranks kept for the users give between {low:.4f} and "
                                   f"{high:.4f}; the run is thrown away.")


def all_metrics(topk, above, tied):
    """{metric at k: its mean over users}"""
    return {f"{name}@{k}": float(metric_per_user(name, k, above, tied).mean()) for name in GAINS for k in topk}


def share_seen(items, history):
    """Share of the lists' items [U, k] that stand in the user's own history [U, T]."""
    listed = items > 0
    return float(((items[:, :, None] == history[:, None, :]).any(2) & listed).sum() / max(listed.sum(), 1))


def coverage(items, n_items):
    """Share of the catalogue (n_items with padding) that the lists items [U, k] recommend to anybody."""
    return len(np.unique(items[items > 0])) / (n_items - 1)


def average_popularity(items, counts):
    """Mean number of training interactions [n_items] of the items in the lists [U, k]."""
    return float(counts[items[items > 0]].mean())
