"""Attention from a decoder to what an encoder made of a history. Axes: B users, R rows (each a beam of a user), M rows of one user,
S encoder tokens, H heads, D width."""

import torch
from torch import nn

from recbole_prorec.nn.transformer import Block, Dropout, attend, even_head_size


class CrossAttention(nn.Module):
    """Multi-head attention to a memory whose keys and values are made once, by `keys_values`."""

    def __init__(self, width, n_heads, dropout, head_size=None):
        super().__init__()
        self.n_heads, self.head_size = n_heads, head_size or even_head_size(width, n_heads)
        inner = n_heads * self.head_size
        self.query, self.keys_and_values, self.out = nn.Linear(width, inner), nn.Linear(width, 2 * inner), nn.Linear(inner, width)
        self.dropout = Dropout(dropout)

    def keys_values(self, memory):
        """memory [B, S, D] -> keys, values, each [B, H, S, head size]."""
        batch, length, _ = memory.shape
        both = self.keys_and_values(memory).view(batch, length, 2, self.n_heads, self.head_size).unbind(2)
        return tuple(part.transpose(1, 2).contiguous() for part in both)  # once here, and not in the products of every level of a beam

    def forward(self, x, keys_values, mask):
        """x [B, M, D], mask [B, 1, 1, S] added to the scores -> [B, M, D]."""
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, self.n_heads, self.head_size).transpose(1, 2)  # [B, H, M, head size]
        return self.out(attend(q, *keys_values, mask, self.dropout))


class CrossBlock(Block):
    """A `Block` that looks at a memory between its self-attention and its feed-forward part, with TIGER's ReLU (arXiv 2305.05065)."""

    activation = nn.ReLU

    def __init__(self, width, n_heads, inner_size, attention_dropout, hidden_dropout, head_size=None):
        super().__init__(width, n_heads, inner_size, attention_dropout, hidden_dropout, head_size)
        self.cross = CrossAttention(width, n_heads, attention_dropout, head_size)
        self.norm_cross = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, causal, keys_values, mask):
        """x [B, T, D], causal [T, T], keys_values and mask of the memory -> [B, T, D]."""
        x = self.norm_attention(x + self.dropout(self.attention(x, causal)))
        x = self.norm_cross(x + self.dropout(self.cross(x, keys_values, mask)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))

    def step(self, x, cache, keys_values, mask, rows):
        """One more position of every row: x [R, 1, D], cache as of `SelfAttention.step`, rows: `UserRows` -> [R, 1, D], new cache."""
        attended, cache = self.attention.step(x, cache)
        x = self.norm_attention(x + attended)
        crossed = rows.unpack(self.cross(rows.pack(x.squeeze(1)), keys_values, mask)).unsqueeze(1)
        x = self.norm_cross(x + crossed)
        return self.norm_feed_forward(x + self.feed_forward(x)), cache


class UserRows:
    """Rows side by side per user, so that they share the user's keys and values instead of repeating them.

    Args:
        owner: [R] the user of every row, never falling. n_users: B.
    """

    def __init__(self, owner, n_users):
        n_rows = torch.bincount(owner, minlength=n_users)
        first = n_rows.cumsum(0) - n_rows
        self.owner, self.slot = owner, torch.arange(len(owner), device=owner.device) - first[owner]
        self.shape = n_users, int(n_rows.max())

    def pack(self, x):
        """x [R, D] -> [B, M, D], zero where a user has fewer rows than M."""
        packed = x.new_zeros(*self.shape, x.shape[-1])
        packed[self.owner, self.slot] = x
        return packed

    def unpack(self, packed):
        """The inverse of `pack`."""
        return packed[self.owner, self.slot]
