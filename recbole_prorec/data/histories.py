"""RecBole's train rows, one prefix each, folded back into whole histories, and those cut into windows.

RecBole makes a row of every prefix of a history (its last T items, and the item that follows). A causal network trains all of
them in one pass over the history, so the rows are chained: a row follows the one before when its list is that row's list with
that row's target behind it. What is trained is exactly the targets of the rows, each once an epoch."""

from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction

INPUTS, TARGETS, TARGET_ROWS = "history_inputs", "history_targets", "history_target_rows"


@dataclass
class Histories:
    """Sequences laid end to end.

    Args:
        items: [n] item ids. is_target: [n] whether a train row asks for this item. first: [n_sequences + 1] where each begins.
    """

    items: np.ndarray
    is_target: np.ndarray
    first: np.ndarray

    @classmethod
    def from_rows(cls, users, lists, lengths, targets):
        """users [R], lists [R, T] left-aligned and padded with 0, lengths [R], targets [R]: RecBole's rows, in its order."""
        starts = np.flatnonzero(~_follows(users, lists, lengths, targets))
        n_rows = np.diff(np.append(starts, len(targets)))
        sizes = lengths[starts] + n_rows
        first = np.concatenate([[0], sizes.cumsum()])
        items = np.zeros(first[-1], np.int64)
        is_target = np.zeros(first[-1], bool)
        row = np.arange(len(targets)) - np.repeat(starts, n_rows)  # a row's place in its chain
        at = np.repeat(first[:-1] + lengths[starts], n_rows) + row
        items[at], is_target[at] = targets, True
        head = np.arange(lists.shape[1]) < lengths[starts][:, None]
        items[(first[:-1, None] + np.arange(lists.shape[1]))[head]] = lists[starts][head]
        return cls(items, is_target, first)

    @classmethod
    def from_dataset(cls, dataset):
        """The train part of a RecBole SequentialDataset."""
        rows = dataset.inter_feat
        columns = (dataset.uid_field, dataset.item_id_list_field, dataset.item_list_length_field, dataset.iid_field)
        return cls.from_rows(*(rows[column].numpy() for column in columns))

    @property
    def n_targets(self):
        return int(self.is_target.sum())

    def windows(self, length, stride, rng):
        """Cut into windows of at most `length` inputs, so that every target is asked for in exactly one of them.

        A long history is cut at random places, so that over the epochs a target is seen behind contexts of different lengths.

        Args:
            length: T. stride: targets that a window adds to the one before; the other length - stride inputs are context alone.
            rng: numpy's Generator.

        Returns:
            begin, end, ask: [n_windows] each. Inputs are items[begin:end], the targets items[begin + 1:end + 1], asked for from
            position `ask` on.
        """
        n_steps = np.diff(self.first) - 1  # every step predicts the item after it
        head = np.where(n_steps > length, rng.integers(1, length + 1, len(n_steps)), n_steps)
        n_more = -(-(n_steps - head) // stride)
        sequence = np.repeat(np.arange(len(n_steps)), n_more + 1)
        order = np.arange(len(sequence)) - np.repeat((n_more + 1).cumsum() - n_more - 1, n_more + 1)
        end = np.minimum(head[sequence] + order * stride, n_steps[sequence])
        ask = np.where(order == 0, 0, head[sequence] + (order - 1) * stride)
        begin = np.maximum(end - length, 0)
        offset = self.first[:-1][sequence]
        asked_before = np.concatenate([[0], self.is_target.cumsum()])
        asks = asked_before[offset + end + 1] > asked_before[offset + ask + 1]
        return (offset + begin)[asks], (offset + end)[asks], (offset + ask)[asks]


def _follows(users, lists, lengths, targets):
    """[R] whether a row's list is the list of the row before, with that row's target behind it."""
    width = lists.shape[1]
    full = lengths[:-1] == width
    expected = lists[:-1].copy()
    expected[full, :-1] = lists[:-1][full, 1:]
    expected[np.arange(len(expected)), np.minimum(lengths[:-1], width - 1)] = targets[:-1]
    follows = np.zeros(len(targets), bool)
    same_length = lengths[1:] == np.minimum(lengths[:-1] + 1, width)
    follows[1:] = (users[1:] == users[:-1]) & same_length & (lists[1:] == expected).all(1)
    return follows


class WindowBatches:
    """One epoch of windows as batches of tensors, longest windows together, so that little of a batch is padding.

    A batch is as many windows as ask for `batch_size` targets, however long they are, so that every target weighs the same in an epoch
    and a step costs the same. Iterating gives RecBole interactions of INPUTS [B, T] and TARGETS [B, T], padding is 0, and so is a target
    not asked for, and TARGET_ROWS [B, T], which of the n_targets of the histories a target is.
    """

    def __init__(self, histories, length, stride, batch_size, device, seed):
        self.items = torch.from_numpy(histories.items).to(device)
        self.wanted = torch.from_numpy(np.where(histories.is_target, histories.items, 0)).to(device)
        rng = np.random.default_rng(seed)
        begin, end, ask = histories.windows(length, stride, rng)
        order = shuffled_by_length(end - begin, rng)
        asked = np.concatenate([[0], histories.is_target.cumsum()])
        self.row = torch.from_numpy(asked).to(device)
        n_targets = (asked[end + 1] - asked[ask + 1])[order].cumsum()
        first = np.flatnonzero(np.diff((n_targets - 1) // batch_size, prepend=-1))
        self.begin, self.end, self.ask = (torch.from_numpy(array[order]).to(device) for array in (begin, end, ask))
        self.rows = [slice(a, b) for a, b in zip(first, [*first[1:], len(order)])]
        self.batch_order = rng.permutation(len(self.rows))

    def __len__(self):
        return len(self.batch_order)

    def __iter__(self):
        for batch in self.batch_order:
            rows = self.rows[batch]
            begin, end, ask = self.begin[rows, None], self.end[rows, None], self.ask[rows, None]
            at = begin + torch.arange(int((end - begin).max()), device=begin.device)
            inside = at < end
            at = at.clamp(max=len(self.items) - 2)
            yield Interaction({INPUTS: self.items[at] * inside, TARGETS: self.wanted[at + 1] * (inside & (at >= ask)),
                               TARGET_ROWS: self.row[at + 1]})


def shuffled_by_length(lengths, rng):
    """A random order in which sequences of like length stand together: sorted by length with a little noise."""
    return np.argsort(lengths + rng.random(len(lengths)), kind="stable")
