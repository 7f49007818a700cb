"""How likely the children of a trie's nodes are.
Axes: R nodes, F children of the widest, S pairs of a node and a child, K codes, D width."""

import torch
from torch.nn import functional as F

PAIR_COST = 64  # products of a matrix product that one of a pair by itself takes as long as
GPU_LOGITS = 2**28  # 1 GiB of them in float32
PAIRS_AT_ONCE = 2048  # their vectors stay in the processor's cache


def child_log_probs(decoder, hidden, trie, node, level):
    """Log-probabilities of each node's children, so that those of all items sum to 1: [R, F], -inf behind a node's last child.

    With thousands of codes a node has a few children, and their logits alone are computed where that is cheaper.

    Args:
        decoder: as of `beam_search`. hidden: [R, D] at the level. node: [R] of it.
    """
    table = trie.levels[level]
    if level == 0 or _all_are_cheaper(hidden, table, decoder.codebook_size):
        return trie.log_probs(decoder.logits(hidden, level), node, level)
    is_child = table.is_child[node]
    logits = decoder.pair_logits(hidden, level, table.n_children[node], table.child_code[node][is_child])
    return logits.new_full(is_child.shape, float("-inf")).masked_scatter(is_child, logits).log_softmax(-1)


def _all_are_cheaper(hidden, table, codebook_size):
    """Whether all logits of the rows are the cheaper way: on a GPU, which has room and wants few launches, unless they are too many."""
    if hidden.is_cuda:
        return len(hidden) * codebook_size <= GPU_LOGITS
    return PAIR_COST * table.mean_children >= codebook_size


class PairProducts(torch.autograd.Function):
    """hidden[r] . weight[c] of pairs (r, c) [S], row by row: n [R] pairs of each row, c [S]."""

    @staticmethod
    def forward(ctx, hidden, weight, n, c):
        r = torch.arange(len(n), device=n.device).repeat_interleave(n)
        ctx.save_for_backward(hidden, weight, n, r, c)
        pairs = zip(r.split(PAIRS_AT_ONCE), c.split(PAIRS_AT_ONCE))
        return torch.cat([(hidden[rows] * weight[columns]).sum(1) for rows, columns in pairs])

    @staticmethod
    def backward(ctx, grad):
        hidden, weight, n, r, c = ctx.saved_tensors
        order = c.argsort(stable=True)
        return _sums(weight, c, n, grad), _sums(hidden, r[order], torch.bincount(c, minlength=len(weight)), grad[order]), None, None


def _sums(table, row, n, weight):
    """weight x table[row] summed over runs of n [G] pairs: [G, D]."""
    return F.embedding_bag(row, table, n.cumsum(0) - n, mode="sum", per_sample_weights=weight)
