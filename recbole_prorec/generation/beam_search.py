"""Constrained beam search and exact scoring over a trie, for any decoder with the two verbs `start` and `advance`.

A decoder is an object with
    start(state)                 [B, ...] -> hidden [B, D], cache           what the first code is drawn from
    advance(cache, rows, codes, level)    -> hidden [R, D], cache           row r goes on from row rows[r] with codes[r] of `level`
    logits(hidden, level)        [R, D]   -> [R, K]                         the next code's logits
so the search knows nothing of networks, and there is no Python per user or per beam."""

import torch


def beam_search(decoder, state, trie, beam_size):
    """The `beam_size` most probable items of every row, found level by level; every one of them is real, and none comes twice.

    Args:
        state: what `decoder.start` takes, first axis B. trie: the real codes. beam_size: M, at most the number of items.

    Returns:
        items [B, M] item ids by falling probability, and log_probs [B, M]. Where fewer than M items were reachable from
        the beams kept on the way, the rest of the row is item 0 with log_prob -inf.
    """
    hidden, cache = decoder.start(state)
    batch = hidden.shape[0]
    node = torch.zeros(batch, 1, dtype=torch.long, device=hidden.device)
    total = torch.zeros(batch, 1, device=hidden.device)
    first_row = torch.arange(batch, device=hidden.device).unsqueeze(1)
    for level, table in enumerate(trie.levels):
        step = trie.log_probs(decoder.logits(hidden, level), node.flatten(), level)  # [B * M, F]
        total = (total.unsqueeze(-1) + step.view(*node.shape, -1)).flatten(1)  # [B, M * F]
        total, chosen = total.topk(min(beam_size, total.shape[1]), dim=1)
        width = table.child_code.shape[1]
        beam, slot = chosen // width, chosen % width
        parent = node.gather(1, beam)
        node = table.child_node[parent, slot]
        if level + 1 < trie.n_levels:
            rows = (first_row * (hidden.shape[0] // batch) + beam).flatten()
            hidden, cache = decoder.advance(cache, rows, table.child_code[parent, slot].flatten(), level)
    items = trie.leaf_item[node].masked_fill(total == float("-inf"), 0)
    return _pad(items, 0, beam_size), _pad(total, float("-inf"), beam_size)


def score_all(decoder, state, trie):
    """Exact log-probability of every item: [B, n_items], -inf for padding. Nodes with a single child have nothing to choose,
    so the decoder runs only on those with several: about a tenth of L x n_items."""
    hidden, cache = decoder.start(state)
    batch, device = hidden.shape[0], hidden.device
    log_prob = torch.zeros(batch, 1, device=device)  # of every node of the level
    running = torch.zeros(1, dtype=torch.long, device=device)  # the nodes that `hidden` stands at, in order
    first_row = torch.arange(batch, device=device).unsqueeze(1)
    for level, table in enumerate(trie.levels):
        step = trie.log_probs(decoder.logits(hidden, level), running.repeat(batch), level).view(batch, len(running), -1)
        below = torch.zeros(batch, len(table.n_children), step.shape[-1], device=device)  # a lone child: log 1
        below[:, running] = step
        valid = table.is_child
        log_prob = (log_prob.unsqueeze(-1) + below)[:, valid]  # children in order are the next level's nodes
        if level + 1 == trie.n_levels:
            break
        parent, slot = valid.nonzero(as_tuple=True)
        next_running = (trie.levels[level + 1].n_leaves > 1).nonzero().squeeze(1)
        if len(next_running) == 0:
            break
        position = torch.full((len(table.n_children),), -1, device=device)
        position[running] = torch.arange(len(running), device=device)
        rows = first_row * len(running) + position[parent[next_running]]
        codes = table.child_code[parent, slot][next_running].repeat(batch)
        hidden, cache = decoder.advance(cache, rows.flatten(), codes, level)
        running = next_running
    scores = torch.full((batch, trie.n_items), float("-inf"), device=device)
    scores[:, trie.leaf_item] = log_prob
    return scores


def _pad(tensor, value, width):
    missing = width - tensor.shape[1]
    return tensor if missing <= 0 else torch.nn.functional.pad(tensor, (0, missing), value=value)
