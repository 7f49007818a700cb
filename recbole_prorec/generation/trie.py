"""The prefix tree of all real codes, as tensors: what may follow a prefix is one gather."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F


@dataclass
class TrieLevel:
    """Nodes of one depth and their children, padded to the widest node. Axes: F widest node of the level."""

    child_code: torch.Tensor  # [n_nodes, F] the code that leads to the child; 0 where there is none
    child_node: torch.Tensor  # [n_nodes, F] the child's node in the next level; 0 where there is none
    n_children: torch.Tensor  # [n_nodes]
    first_leaf: torch.Tensor  # [n_nodes] leaves below a node are a run of `leaf_item`: where it begins ...
    n_leaves: torch.Tensor  # [n_nodes] ... and how long it is

    @functools.cached_property
    def is_child(self):
        """[n_nodes, F] True where there is a child."""
        slots = torch.arange(self.child_code.shape[1], device=self.child_code.device)
        return slots < self.n_children.unsqueeze(1)

    @functools.cached_property
    def mean_children(self):
        """Of the nodes with a choice; 1 without any."""
        several = self.n_children[self.n_children > 1]
        return float(several.double().mean()) if len(several) else 1.0


class Trie:
    """Levels 0 .. L-1, leaves behind the last. Row 0 of `codes` is padding and is no leaf.

    Args:
        codes: [n_items, L] integers, unique from row 1 on.

    Attributes:
        codes: as given.
        levels: a `TrieLevel` for every level.
        path_node: [n_items, L] the node that an item's path passes at each level (level 0: the root, node 0).
        path_slot: [n_items, L] which of that node's children the path takes.
        leaf_item: [n_items - 1] item_id of every leaf, in lexicographic order of the codes.
        item_leaf: [n_items] the inverse; 0 for padding.
        n_choices: [n_items] levels an item's path takes before its subtree holds no other item.
    """

    def __init__(self, codes):
        device = codes.device
        self.codes = codes
        table = codes[1:].cpu().numpy()
        n_leaves, self.n_levels = table.shape
        order = np.lexsort(table.T[::-1])
        table = table[order]
        self.n_items = n_leaves + 1
        self.leaf_item = torch.from_numpy(order + 1).to(device)
        node = _prefix_nodes(table)  # [n_leaves, L + 1]
        if node[-1, -1] != n_leaves - 1:
            raise ValueError("two items share one code tuple: a trie needs unique codes")
        self.item_leaf = torch.zeros(self.n_items, dtype=torch.long, device=device)
        self.item_leaf[self.leaf_item] = torch.arange(n_leaves, device=device)
        self.levels, slots = [], []
        for level in range(self.n_levels):
            arrays, slot = _level(table[:, level], node[:, level], node[:, level + 1])
            self.levels.append(TrieLevel(*(torch.from_numpy(array).to(device) for array in arrays)))
            slots.append(slot)
        self.path_node = self._by_item(node[:, :-1])
        self.path_slot = self._by_item(np.stack(slots, axis=1))
        below = torch.stack([level.n_leaves[self.path_node[:, i]] for i, level in enumerate(self.levels)], dim=1)
        self.n_choices = (below > 1).sum(1)

    def _by_item(self, by_leaf):
        by_item = torch.zeros(self.n_items, by_leaf.shape[1], dtype=torch.long, device=self.leaf_item.device)
        by_item[self.leaf_item] = torch.from_numpy(by_leaf).to(by_item)
        return by_item

    def log_probs(self, logits, node, level):
        """Logits of a level's whole codebook -> log-probabilities of a node's children alone, so that the probabilities of
        all items sum to 1.

        Args:
            logits: [..., K]. node: [...] node ids of that level.

        Returns:
            [..., F], -inf behind the node's last child.
        """
        table = self.levels[level]
        if level == 0:  # the root, with one set of children for all
            return logits[..., table.child_code[0]].log_softmax(-1)
        valid = table.is_child[node]
        chosen = logits.gather(-1, table.child_code[node]).masked_fill(~valid, float("-inf"))
        return chosen.log_softmax(-1)

    def root_probs(self, probs):
        """A distribution over leaves [n_leaves, R] summed below each child of the root, a run of leaves: [R, F]."""
        leaves = torch.arange(len(probs), device=probs.device)
        first = self.levels[1].first_leaf if self.n_levels > 1 else leaves
        return F.embedding_bag(leaves, probs, first, mode="sum").T  # by far the fastest sum of runs of rows

    def best_below(self, scores):
        """Scores [B, n_items] -> for each level, the highest below each child of its nodes [B, n_children]; the last: leaves' own."""
        found = [scores[:, self.leaf_item].T]
        for table in reversed(self.levels[1:]):
            found.append(torch.segment_reduce(found[-1].contiguous(), "max", lengths=table.n_children, axis=0))
        return [level.T.contiguous() for level in reversed(found)]

    def leaves_below(self, node, level):
        """node [R] of a level -> all leaves below these nodes, one node after the other: row [S] of `node`, leaf [S]."""
        n_leaves, first_leaf = self.levels[level].n_leaves[node], self.levels[level].first_leaf[node]
        row = torch.arange(len(node), device=node.device).repeat_interleave(n_leaves)
        before = n_leaves.cumsum(0) - n_leaves
        return row, (first_leaf - before)[row] + torch.arange(len(row), device=node.device)

    def child_probs(self, scores, row, leaf, n_rows, level):
        """The softmax over the leaves below a node, summed below each of its children.

        Args:
            scores: [S] of the leaves. row, leaf: [S], as `leaves_below` gives them for n_rows nodes of that level.

        Returns:
            [R, F] probabilities over each node's children, 0 behind the last.
        """
        highest = scores.new_full((n_rows,), float("-inf")).scatter_reduce_(0, row, scores, "amax")
        width = self.levels[level].child_code.shape[1]
        child = row * width + self.path_slot[self.leaf_item[leaf], level]
        share = scores.new_zeros(n_rows * width).index_add_(0, child, (scores - highest[row]).exp()).view(n_rows, width)
        return share / share.sum(1, keepdim=True)


def _prefix_nodes(table):
    """Sorted codes [n_leaves, L] -> the node of every prefix length 0 .. L, [n_leaves, L + 1], numbered within its level."""
    changed = np.zeros((len(table), table.shape[1] + 1), dtype=bool)
    changed[1:, 1:] = np.logical_or.accumulate(table[1:] != table[:-1], axis=1)
    return changed.cumsum(0)


def _level(code, node, child):
    """Of every sorted leaf: its code at a level, its node there and in the next level -> arrays of a TrieLevel, and
    each leaf's slot among its node's children."""
    first_of_child = np.flatnonzero(np.diff(child, prepend=-1))
    parent = node[first_of_child]
    n_children = np.bincount(parent)
    first_child = n_children.cumsum() - n_children
    slot = np.arange(len(first_of_child)) - first_child[parent]
    child_code = np.zeros((len(n_children), n_children.max()), dtype=np.int64)
    child_node = np.zeros_like(child_code)
    child_code[parent, slot] = code[first_of_child]
    child_node[parent, slot] = child[first_of_child]
    n_leaves = np.bincount(node)
    return (child_code, child_node, n_children, n_leaves.cumsum() - n_leaves, n_leaves), slot[child]
