"""The one transformer of the project: causal over items in stage 1 and in the generator's encoder, causal over code levels
in its decoder. Axes: B batch, T positions, H heads, D width."""

import functools
import math

import torch
from torch import nn
from torch.nn import functional as F

FUSED_ROWS = 65_535  # that the fused kernel takes at once in every version of torch
MASKED = -1e4  # finite, so that a row with nothing to look at is no row of NaN, and in the range of float16


def fast_dropout(x, prob, training):
    """Dropout whose mask costs one random byte an element on a CPU, not 64 random bits: the mask, not the product, is what dropout
    costs there. The rate is rounded to 1/256, and the scale is exact for the rounded rate.

    Args:
        x: any floating tensor. prob: share of elements set to zero, in [0, 1). training: without it x comes back as it is.
    """
    threshold = min(round(prob * 256), 255)
    if not training or threshold == 0:
        return x
    if x.is_cuda:  # torch's is a single kernel there, and launches are what small steps take on a GPU
        return F.dropout(x, threshold / 256)
    n_words = (x.numel() + 7) // 8
    words = torch.empty(n_words, dtype=torch.int64, device=x.device).random_(-(2**63), None)
    keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
    return x * (keep.to(x.dtype) * (256 / (256 - threshold)))


class Dropout(nn.Module):
    """`fast_dropout` as a module."""

    def __init__(self, prob):
        super().__init__()
        self.prob = prob

    def forward(self, x):
        return fast_dropout(x, self.prob, self.training)


def even_head_size(width, n_heads):
    if width % n_heads:
        raise ValueError(f"the width {width} is no multiple of the number of heads {n_heads}")
    return width // n_heads


def attend(q, k, v, mask, dropout):
    """q [B, H, T, d], k and v [B, H, S, d], mask added to the scores [B, H, T, S] or None -> [B, T, H d]."""
    if q.is_cuda and len(q) <= FUSED_ROWS:
        return attend_fused(q, k, v, mask, dropout)
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return (dropout(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)


def attend_fused(q, k, v, mask, dropout):
    """`attend` by torch's fused kernel, which on a GPU is one launch in the place of six."""
    prob = dropout.prob if dropout.training else 0.0
    mask = None if mask is None else mask.to(q.dtype)  # which differ in RecBole's mixed precision (`enable_amp`)
    return F.scaled_dot_product_attention(q, k, v, mask, prob).transpose(1, 2).flatten(2)


def causal_mask(length, like):
    """[T, T] to be added to scores: nothing for itself and what came before, much less for the rest."""
    return torch.full((length, length), MASKED, device=like.device, dtype=like.dtype).triu(1)


class SelfAttention(nn.Module):
    """Multi-head self-attention, on a CPU by plain matrix products, which at the lengths of this project (20 items, 4 levels) are
    faster there than the fused kernel. head_size: the width shared out among the heads, unless told otherwise."""

    def __init__(self, width, n_heads, dropout, head_size=None):
        super().__init__()
        self.n_heads, self.head_size = n_heads, head_size or even_head_size(width, n_heads)
        self.qkv = nn.Linear(width, 3 * n_heads * self.head_size)
        self.out = nn.Linear(n_heads * self.head_size, width)
        self.dropout = Dropout(dropout)

    def forward(self, x, mask):
        """x [B, T, D], mask (of a shape that fits [B, H, T, T]) added to the scores -> [B, T, D]."""
        q, k, v = self._heads(self.qkv(x))
        return self.out(attend(q, k, v, mask, self.dropout))

    def step(self, x, cache):
        """One more position: x [B, 1, D] and cache (keys, values), each [B, H, t, head size], or None -> [B, 1, D], new cache."""
        q, k, v = self._heads(self.qkv(x))
        if cache is not None:
            k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
        return self.out(attend(q, k, v, None, self.dropout)), (k, v)

    def _heads(self, qkv):
        batch, length, _ = qkv.shape
        return qkv.view(batch, length, 3, self.n_heads, self.head_size).permute(2, 0, 3, 1, 4)  # 3 x [B, H, T, head size]


class Block(nn.Module):
    """Attention and feed-forward, each followed by a residual sum and LayerNorm, as in SASRec (arXiv 1808.09781), with BERT's GELU."""

    activation = functools.partial(nn.GELU, approximate="tanh")

    def __init__(self, width, n_heads, inner_size, attention_dropout, hidden_dropout, head_size=None):
        super().__init__()
        self.attention = SelfAttention(width, n_heads, attention_dropout, head_size)
        self.feed_forward = nn.Sequential(nn.Linear(width, inner_size), self.activation(), nn.Linear(inner_size, width))
        self.norm_attention = nn.LayerNorm(width, eps=1e-12)
        self.norm_feed_forward = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(hidden_dropout)

    def forward(self, x, mask):
        x = self.norm_attention(x + self.dropout(self.attention(x, mask)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))

    def step(self, x, cache):
        attended, cache = self.attention.step(x, cache)
        x = self.norm_attention(x + attended)
        return self.norm_feed_forward(x + self.feed_forward(x)), cache


class CausalTransformer(nn.Module):
    """A stack of blocks over embedded positions, each of which sees itself and what came before it.

    Position embeddings start as small as item embeddings, and a LayerNorm follows their sum: with N(0, 1) positions the
    items drown in them.
    """

    def __init__(self, width, n_layers, n_heads, inner_size, max_length, attention_dropout=0.0, hidden_dropout=0.0, head_size=None):
        super().__init__()
        self.position = nn.Embedding(max_length, width)
        self.norm_input = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(hidden_dropout)
        blocks = (Block(width, n_heads, inner_size, attention_dropout, hidden_dropout, head_size) for _ in range(n_layers))
        self.blocks = nn.ModuleList(blocks)
        self.apply(init_weights)

    def forward(self, x):
        """x [B, T, D] -> states [B, T, D]. Padding belongs behind the last item: then no real position sees it."""
        length = x.shape[1]
        x = self.dropout(self.norm_input(x + self.position.weight[:length]))
        mask = causal_mask(length, x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class SteppedTransformer(CausalTransformer):
    """A causal transformer that can be asked for one position after the other."""

    def step(self, x, cache=None):
        """The next position alone: x [B, D], cache as returned by the step before (None at the first) -> [B, D], cache.
        Equals the last position of `forward` without dropout."""
        done = 0 if cache is None else cache[0][0].shape[2]
        x = self.norm_input(x + self.position.weight[done]).unsqueeze(1)
        layers = []
        for index, block in enumerate(self.blocks):
            x, layer = block.step(x, None if cache is None else cache[index])
            layers.append(layer)
        return x.squeeze(1), layers


class HistoryEncoder(CausalTransformer):
    """A causal transformer over the embeddings x of a history's items. With `adds_sum` its states have sum_{s <= t} w(t - s) x_s added, by
    learned weights w of how long ago an item was: stage 1, which scores by products with the same embeddings, then finds items like those
    of the history without having to learn how (ours, measured: results/notes.md)."""

    def __init__(self, width, adds_sum=False, **transformer):
        super().__init__(width, **transformer)
        self.age_weight = nn.Parameter(1 / torch.arange(1, len(self.position.weight) + 1)) if adds_sum else None

    def forward(self, x):
        """x [B, T, D], padded behind -> states [B, T, D]."""
        states = super().forward(x)
        return states if self.age_weight is None else states + self._by_age(x.shape[1]) @ self.dropout(x)

    def _by_age(self, length):
        """w(t - s) at [t, s], 0 above the diagonal: [T, T]. Rows are windows on the weights, because the gradient of an index adds up in an
        order of its own where there are several threads."""
        oldest_first = F.pad(self.age_weight[:length].flip(0), (0, length - 1))
        return oldest_first.unfold(0, length, 1).flip(0)


def init_weights(module):
    """Normal(0, 0.02) for weights, zero for biases: BERT's initialisation, which RecBole's SASRec uses too."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
