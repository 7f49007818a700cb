"""Constrained beam search, exact search and exact scoring over a trie, for any decoder with the two verbs `start` and `advance`.

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

ROUNDING = 1e-4  # what sums of log-probabilities of one item, in float32, may differ by between two searches


def beam_search(decoder, state, trie, beam_size, closed=None, best_below=None):
    """The `beam_size` most probable items of every row, found level by level; every one of them is real, and none comes twice.

    A beam below which a single item is left has nothing more to choose: it keeps its log-probability and costs the decoder nothing.

    Args:
        state: what `decoder.start` takes, first axis B. trie: the real codes. beam_size: M. closed: `ClosedPaths`, to items that are not
            to be found. best_below: as of `Trie.best_below`, of scores that items have beside their log-probabilities; beams are then
            ranked by the best sum that an item below them can have.

    Returns:
        items [B, M] item ids by falling probability, and log_probs [B, M], or the sums. Every row holds min(M, number of items that are
        open) items; behind them stands item 0 with log_prob -inf.
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
        promise = total if best_below is None else total + best_below[level].gather(1, table.child_node[node].flatten(1))
        promise, chosen = promise.topk(min(beam_size, promise.shape[1]), dim=1)
        total = total.gather(1, chosen)
        width = table.child_code.shape[1]
        beam, slot = chosen // width, chosen % width
        row_of = _inverse(open_beams, node.numel()).view(node.shape).gather(1, beam)
        parent = node.gather(1, beam)
        node = table.child_node[parent, slot]
        if level + 1 < trie.n_levels:
            open_beams = (trie.levels[level + 1].n_leaves[node] > 1).logical_and(promise > float("-inf")).flatten().nonzero().squeeze(1)
            codes = table.child_code[parent, slot].flatten()[open_beams]
            hidden, cache = decoder.advance(cache, row_of.flatten()[open_beams], codes, level)
    items = trie.leaf_item[node].masked_fill(promise == float("-inf"), 0)
    return _pad(items, 0, beam_size), _pad(promise, float("-inf"), beam_size)


def exact_search(decoder, state, trie, prior, size):
    """The `size` best of all items of every row by log p(codes) + prior, whatever a beam would have missed, and without scoring them all.

    No item below a node has more than log p(node) + the highest prior below it. A beam that follows these bounds finds `size` good items,
    and then every node is opened whose bound reaches the worst of them: of a trained model about as many as the beam had, at worst all.
    The bound is that of exact inference by depth-first search (arXiv 1908.10090), here level by level and with a prior that sees to the
    end of every path.

    Args:
        state, trie: as above. prior: [B, n_items], -inf for items that are not to be found; that of padding is not read.

    Returns:
        items [B, size] by falling score, among equals in order of their codes, and scores [B, size]; behind the last item that is open
        stand item 0 and -inf.
    """
    best_below = trie.best_below(prior)
    hidden, cache = decoder.start(state)
    batch = hidden.shape[0]
    wanted = prior.new_full((batch,), float("-inf"))
    if size < trie.n_items - 1:  # wider by a fifth, or one path that ends badly would lower the worst by much
        wanted = beam_search(decoder, state, trie, size + size // 5, best_below=best_below)[1][:, size - 1] - ROUNDING
    row = torch.arange(batch, device=hidden.device)  # of each open node, row by row
    node, total = torch.zeros_like(row), torch.zeros(batch, device=hidden.device)
    choosing = row  # the open nodes that `hidden` has a row for
    for level, table in enumerate(trie.levels):
        step = _one_way(len(node), table)
        step[choosing] = child_log_probs(decoder, hidden, trie, node[choosing], level)
        total = total.unsqueeze(1) + step
        bound = total + best_below[level][row.unsqueeze(1), table.child_node[node]]
        is_open = ~(bound < wanted[row].unsqueeze(1)) & (bound != float("-inf"))  # NaN is kept, to be seen
        parent, slot = is_open.nonzero(as_tuple=True)
        row, total, bound = row[parent], total[parent, slot], bound[parent, slot]
        code, row_of = table.child_code[node[parent], slot], _inverse(choosing, len(node))[parent]
        node = table.child_node[node[parent], slot]
        if level + 1 < trie.n_levels:
            choosing = (trie.levels[level + 1].n_leaves[node] > 1).nonzero().squeeze(1)
            hidden, cache = decoder.advance(cache, row_of[choosing], code[choosing], level)
    return _best_of_each(row, trie.leaf_item[node], bound, batch, size)


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


def _best_of_each(row, items, scores, n_rows, size):
    """Items [S] of rows [S], in order, with their scores -> the `size` best of each row, best first: items and scores [B, size], 0 and
    -inf behind them."""
    order = scores.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    n_found = torch.bincount(row, minlength=n_rows)
    place = torch.arange(len(row), device=row.device) - (n_found.cumsum(0) - n_found)[row]
    at, best = (row[place < size], place[place < size]), order[place < size]
    listed = items.new_zeros(n_rows, size).index_put_(at, items[best])
    return listed, scores.new_full((n_rows, size), float("-inf")).index_put_(at, scores[best])


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
