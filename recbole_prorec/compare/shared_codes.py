"""The collision-corrected view: what a ranking is worth if the level that tells collisions apart says nothing. Plain arrays, no RecBole.

Items of equal codes before that level form a group. The target could stand wherever an item of its group stands, with equal chance, and
counts nothing where that item is not in the list: a metric is the mean over the group. A group of one is the plain metric.
"""

import numpy as np
import torch

from recbole_prorec.compare.ranks import GAINS, count_above_and_tied, metric_per_user

AT_ONCE = 512  # rows of scores copied


class SharedCodes:
    """codes [n_items, L] integers, row 0 padding, the last level resolving collisions."""

    def __init__(self, codes):
        _, group, self.size = np.unique(codes[1:, :-1], axis=0, return_inverse=True, return_counts=True)
        self.group, self.items = group.ravel(), np.argsort(group.ravel(), kind="stable") + 1  # the items, group by group
        self.first = self.size.cumsum() - self.size

    @property
    def n_in_collisions(self):
        return int(self.size[self.size > 1].sum())

    def members(self, targets, excluded):
        """targets [B] item ids, excluded [B, T] items that are no answers -> rows [P], items [P]: each row's group
        without them."""
        groups = self.group[targets - 1]
        rows = np.repeat(np.arange(len(targets)), self.size[groups])
        within = np.arange(len(rows)) - np.repeat(self.size[groups].cumsum() - self.size[groups], self.size[groups])
        items = self.items[self.first[groups][rows] + within]
        open_ones = (items == targets[rows]) | (items[:, None] != excluded[rows]).all(1)
        return rows[open_ones], items[open_ones]

    def ranks(self, scores, targets, excluded=None):
        """scores [B, N], targets [B], excluded [B, T] -> size of the target's group [B]; above, tied [P] of its members, row by row."""
        excluded = targets.new_empty(len(targets), 0) if excluded is None else excluded
        found = self.members(targets.cpu().numpy(), excluded.cpu().numpy())
        rows, items = (torch.from_numpy(part).to(scores.device) for part in found)
        counts = [count_above_and_tied(scores[some], those) for some, those in zip(rows.split(AT_ONCE), items.split(AT_ONCE))]
        above, tied = map(torch.cat, zip(*counts))
        return torch.bincount(rows, minlength=len(targets)), above, tied


def corrected(topk, size, above, tied):
    """{metric at k: its mean over users} of what `ranks` gives for all of them."""
    user = np.repeat(np.arange(len(size)), size)
    return {f"{name}@{k}": float((np.bincount(user, metric_per_user(name, k, above, tied)) / size).mean()) for name in GAINS for k in topk}
