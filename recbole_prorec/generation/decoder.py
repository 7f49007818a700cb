"""The autoregressive decoder: a user state as prefix, then one code per level. Axes: P positions, R rows, L levels, K codes, D width."""

import torch
from torch import nn

from recbole_prorec.generation.choices import PairProducts, child_log_probs
from recbole_prorec.nn.transformer import SteppedTransformer, init_weights


class LevelHeads(nn.Module):
    """What decoders of codes share: L codebooks of K codes, and an output layer for each."""

    def __init__(self, n_levels, codebook_size):
        super().__init__()
        self.n_levels, self.codebook_size = n_levels, codebook_size

    def add_heads(self, width):
        self.output = nn.ModuleList(nn.Linear(width, self.codebook_size) for _ in range(self.n_levels))
        self.output.apply(init_weights)

    def tokens(self, codes):
        """codes [P, l] of the first l levels -> tokens, offset(level) + code."""
        return codes + torch.arange(codes.shape[1], device=codes.device) * self.codebook_size

    def logits(self, hidden, level):
        """hidden [R, D] at a level -> [R, K]."""
        return self.output[level](hidden)

    def pair_logits(self, hidden, level, n, codes):
        """Of n [R] codes of each row alone: codes [S], row by row -> [S]."""
        layer = self.output[level]
        bias = layer.bias.index_select(0, codes)  # of layer.bias[codes] several threads add the gradients up in no fixed order
        return PairProducts.apply(hidden.to(layer.weight.dtype), layer.weight, n, codes) + bias


class CodeDecoder(LevelHeads):
    """p(codes | state), level by level.

    The state stands where other decoders cross-attend to the history: it is all that this one sees of the user, so that a position costs
    L tokens and not L x T.

    With `item_size`, the output layers also read the state past the transformer, in the space of the item embeddings that were quantized.
    `start_from` puts the codes' embeddings there: then the logits of an item's codes sum to state . quantized embedding of the item, and
    generation begins with what retrieval knew (ours).

    Args:
        n_levels: L. codebook_size: K. state_size: width of the states. width: D of the decoder.
        transformer: n_layers, n_heads, inner_size, attention_dropout, hidden_dropout. item_size: E, or 0.
    """

    def __init__(self, n_levels, codebook_size, state_size, width, transformer, item_size=0):
        super().__init__(n_levels, codebook_size)
        self.from_state = nn.Linear(state_size, width)
        self.code_embedding = nn.Embedding((n_levels - 1) * codebook_size, width)  # token = offset(level) + code
        self.transformer = SteppedTransformer(width, max_length=n_levels, **transformer)
        self.to_items = nn.Linear(state_size, item_size) if item_size else None
        self.add_heads(width + item_size)
        self.apply(init_weights)

    def start_from(self, code_vectors, weight, bias):
        """code_vectors [L, K, E] of every code; weight [E, state_size] and bias [E] of the layer from states to item space."""
        with torch.no_grad():
            for layer, vectors in zip(self.output, code_vectors):
                layer.weight[:, -vectors.shape[1] :] = vectors
            self.to_items.weight.copy_(weight)
            self.to_items.bias.copy_(bias)

    def forward(self, states, codes):
        """states [P, state_size], codes [P, l] of the first l <= L levels -> hidden [P, l, D + E]; hidden[:, i] has seen the codes before
        level i."""
        prefix = self.from_state(states).unsqueeze(1)
        hidden = self.transformer(torch.cat([prefix, self.code_embedding(self.tokens(codes[:, :-1]))], dim=1))
        return self._beside(hidden, self._items(states).unsqueeze(1).expand(-1, codes.shape[1], -1))

    def start(self, states):
        """states [B, state_size] -> hidden [B, D + E] that the first code is drawn from, cache."""
        hidden, cache = self.transformer.step(self.from_state(states))
        items = self._items(states)
        return self._beside(hidden, items), (cache, items)

    def advance(self, cache, rows, codes, level):
        """Row r of the result goes on from row rows[r] of the cache with codes[r] of `level` -> hidden [R, D + E], cache."""
        layers, items = cache
        kept, items = [(keys[rows], values[rows]) for keys, values in layers], items[rows]
        hidden, layers = self.transformer.step(self.code_embedding(codes + level * self.codebook_size), kept)
        return self._beside(hidden, items), (layers, items)

    def _items(self, states):
        return states[:, :0] if self.to_items is None else self.to_items(states)

    def _beside(self, hidden, items):
        return hidden if self.to_items is None else torch.cat([hidden, items], dim=-1)


def code_log_probs(decoder, trie, states, items):
    """Teacher-forced log p(codes of items | states): states [P, state_size], items [P] -> [P]. Exact, whatever the beam."""
    total = torch.zeros(len(items), device=items.device)
    for rows, level, log_probs in _choices(decoder, trie, states, items):
        total = total.index_add(0, rows, log_probs.gather(1, trie.path_slot[items[rows], level, None]).squeeze(1))
    return total


def code_losses(decoder, trie, states, items, soft_targets=None):
    """Generation loss of every position, over its choices alone: where a single item is left there is nothing to learn.

    Args:
        states: [P, state_size]. items: [P] target items. soft_targets: `SoftTargets` of the items, or None.

    Returns:
        hard: mean over P of -log p(codes of the target), the sum of the cross-entropies of its levels (arXiv 2502.06269).
        soft: mean over P of the levels' cross-entropies against the soft targets; 0 without them.
    """
    hard = soft = torch.zeros((), device=items.device)
    for rows, level, log_probs in _choices(decoder, trie, states, items):
        hard = hard - log_probs.gather(1, trie.path_slot[items[rows], level, None]).sum()
        if soft_targets is not None:
            target = soft_targets.at(rows, level)
            soft = soft - (target * log_probs.masked_fill(target == 0, 0)).sum()
    return hard / len(items), soft / len(items)


def _choices(decoder, trie, states, items):
    """Every choice on the items' paths, the output layers once a level. Yields (rows [R] of `items`, level, log-probabilities [R, F] of the
    children of the nodes passed there)."""
    by_level = hidden_in_one_pass if items.is_cuda else hidden_by_depth
    for level, (rows, hidden) in enumerate(by_level(decoder, trie, states, items)):
        yield rows, level, child_log_probs(decoder, hidden, trie, trie.path_node[items[rows], level], level)


def hidden_by_depth(decoder, trie, states, items):
    """What the choices at each level are drawn from: rows [R] of `items` that have one there, hidden [R, D]. The decoder runs over groups
    of items with as many choices, so that none costs more tokens than it has."""
    depth, groups = trie.n_choices[items], []
    for n_choices in range(1, trie.n_levels + 1):
        rows = (depth == n_choices).nonzero().squeeze(1)
        if len(rows):
            groups.append((rows, decoder(states[rows], trie.codes[items[rows], :n_choices])))
    for level in range(trie.n_levels):
        deeper = [(rows, hidden[:, level]) for rows, hidden in groups if hidden.shape[1] > level]
        if not deeper:
            return
        yield tuple(map(torch.cat, zip(*deeper)))


def hidden_in_one_pass(decoder, trie, states, items):
    """As `hidden_by_depth`, with tokens for the deepest item in all rows: four passes are four times the launches, which are what a step
    takes on a GPU."""
    depth = trie.n_choices[items]
    deepest = int(depth.max()) if len(depth) else 0
    hidden = decoder(states, trie.codes[items, :deepest]) if deepest else None
    for level in range(deepest):
        rows = (depth > level).nonzero().squeeze(1)
        yield rows, hidden[rows, level]
