"""Items of a history, which are no answers to it where nobody takes an item twice. Axes: B rows, T history, P positions, N items."""

import torch


def seen_before(inputs, targets):
    """The items that stand before each target of a batch of windows, itself left out.

    Args:
        inputs, targets: [B, T], padding is 0, and so is a target not asked for.

    Returns:
        [P, T] item ids of the P targets asked for, row by row; 0 for none.
    """
    row, place = (targets > 0).nonzero(as_tuple=True)
    items = inputs[row]
    before = torch.arange(inputs.shape[1], device=inputs.device) <= place.unsqueeze(1)
    return items * (before & (items != targets[row, place].unsqueeze(1)))


def each_once(items):
    """Item ids [B, T], 0 for none -> the same in order of the ids [B, T], 0 in the place of one that has come already."""
    items = items.sort(1).values
    came = torch.zeros_like(items, dtype=torch.bool)
    came[:, 1:] = items[:, 1:] == items[:, :-1]
    return items.masked_fill(came, 0)


def exclude(scores, items):
    """Scores -inf [N, P] for the items [P, T] of each position; below 0: none."""
    position, place = (items >= 0).nonzero(as_tuple=True)
    scores[items[position, place], position] = float("-inf")
