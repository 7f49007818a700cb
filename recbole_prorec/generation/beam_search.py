"""Constrained beam search and exact scoring over a trie, for any decoder with the two verbs `start` and `advance`.

A decoder is an object with
    start(state)                 [B, ...] -> hidden [B, D], cache           what the first code is drawn from
    advance(cache, rows, codes, level)    -> hidden [R, D], cache           row r goes on from row rows[r] with codes[r] of `level`
    logits(hidden, level)        [R, D]   -> [R, K]                         the next code's logits
    pair_logits(hidden, level, n, codes)  -> [S]                            those of n [R] codes of each row alone, codes [S] row by row
    codebook_size                K
so the search knows nothing of networks, and there is no Python per user or per beam."""

import torch

from recbole_prorec.generation.choices import child_log_probs
from recbole_prorec.nn.seen import each_once


def beam_search(decoder, state, trie, beam_size, closed=None):
    """The `beam_size` most probable items of every row, found level by level; every one of them is real, and none comes twice.

    A beam below which a single item is left has nothing more to choose: it keeps its log-probability and costs the decoder nothing.

    Args:
        state: what `decoder.start` takes, first axis B. trie: the real codes. beam_size: M. closed: `ClosedPaths`, to items that are not
            to be found.

    Returns:
        items [B, M] item ids by falling probability, and log_probs [B, M]. Every row holds min(M, number of items that are open) items;
        behind them stands item 0 with log_prob -inf.
    """
    hidden, cache = decoder.start(state)
    batch = hidden.shape[0]
    node = torch.zeros(batch, 1, dtype=torch.long, device=hidden.device)
    total = torch.zeros(batch, 1, device=hidden.device)
    open_beams = torch.arange(batch, device=hidden.device)  # the flat beams that `hidden` has a row for
    for level, table in enumerate(trie.levels):
        step = _one_way(node.numel(), table)
        step[open_beams] = child_log_probs(decoder, hidden, trie, node.flatten()[open_beams], level)
        if closed is not None:
            closed.close(step.view(*node.shape, -1), node, level)
        total = (total.unsqueeze(-1) + step.view(*node.shape, -1)).flatten(1)  # [B, M * F]
        total, chosen = total.topk(min(beam_size, total.shape[1]), dim=1)
        width = table.child_code.shape[1]
        beam, slot = chosen // width, chosen % width
        row_of = _inverse(open_beams, node.numel()).view(node.shape).gather(1, beam)
        parent = node.gather(1, beam)
        node = table.child_node[parent, slot]
        if level + 1 < trie.n_levels:
            open_beams = (trie.levels[level + 1].n_leaves[node] > 1).logical_and(total > float("-inf")).flatten().nonzero().squeeze(1)
            codes = table.child_code[parent, slot].flatten()[open_beams]
            hidden, cache = decoder.advance(cache, row_of.flatten()[open_beams], codes, level)
    items = trie.leaf_item[node].masked_fill(total == float("-inf"), 0)
    return _pad(items, 0, beam_size), _pad(total, float("-inf"), beam_size)


class ClosedPaths:
    """Nodes of a trie with nothing but excluded items below them: no beam goes there, so that no place is lost to one.

    Args:
        items: [B, T] excluded items of each row, 0 for none.
    """

    def __init__(self, trie, items):
        self.trie = trie
        self.items = each_once(items)
        self.counted = self.items > 0

    def close(self, step, node, level):
        """Fill the steps [B, M, F] from the nodes [B, M] of a level to closed children with -inf."""
        trie = self.trie
        parent, slot = trie.path_node[self.items, level], trie.path_slot[self.items, level]
        closed = self.counted
        if level + 1 < trie.n_levels:
            child = trie.path_node[self.items, level + 1]
            n_excluded = ((child.unsqueeze(2) == child.unsqueeze(1)) & self.counted.unsqueeze(1)).sum(2)
            closed = closed & (n_excluded == trie.levels[level + 1].n_leaves[child])
        row, beam, place = ((node.unsqueeze(2) == parent.unsqueeze(1)) & closed.unsqueeze(1)).nonzero(as_tuple=True)
        step[row, beam, slot[row, place]] = float("-inf")


def score_all(decoder, state, trie):
    """Exact log-probability of every item: [B, n_items], -inf for padding. The decoder runs only on nodes with several items below
    them: about a tenth of L x n_items."""
    hidden, cache = decoder.start(state)
    batch, device = hidden.shape[0], hidden.device
    log_prob = torch.zeros(batch, 1, device=device)  # of every node of the level
    open_nodes = torch.zeros(1, dtype=torch.long, device=device)  # the nodes that `hidden` has rows for, user by user
    first_row = torch.arange(batch, device=device).unsqueeze(1)
    for level, table in enumerate(trie.levels):
        step = _one_way(len(table.n_children), table).expand(batch, -1, -1).clone()
        found = child_log_probs(decoder, hidden, trie, open_nodes.repeat(batch), level)
        step[:, open_nodes] = found.view(batch, len(open_nodes), step.shape[-1])
        valid = table.is_child
        log_prob = (log_prob.unsqueeze(-1) + step)[:, valid]  # children in order are the nodes of the next level
        if level + 1 < trie.n_levels:
            parent, slot = valid.nonzero(as_tuple=True)
            row_of, n_open = _inverse(open_nodes, len(table.n_children)), len(open_nodes)
            open_nodes = (trie.levels[level + 1].n_leaves > 1).nonzero().squeeze(1)
            rows = first_row * n_open + row_of[parent[open_nodes]]
            codes = table.child_code[parent, slot][open_nodes].repeat(batch)
            hidden, cache = decoder.advance(cache, rows.flatten(), codes, level)
    scores = torch.full((batch, trie.n_items), float("-inf"), device=device)
    scores[:, trie.leaf_item] = log_prob
    return scores


def _one_way(n_rows, table):
    """Step log-probabilities [n_rows, F] of nodes with a lone child: log 1 for the first child, -inf for what is not there."""
    step = torch.full((n_rows, table.child_code.shape[1]), float("-inf"), device=table.child_code.device)
    step[:, 0] = 0
    return step


def _inverse(kept, size):
    """kept [n] of 0 .. size - 1 -> [size] where in `kept` each stands; 0 for those that are not in it, which nobody asks for."""
    position = torch.zeros(size, dtype=torch.long, device=kept.device)
    position[kept] = torch.arange(len(kept), device=kept.device)
    return position


def _pad(tensor, value, width):
    missing = width - tensor.shape[1]
    return tensor if missing <= 0 else torch.nn.functional.pad(tensor, (0, missing), value=value)
