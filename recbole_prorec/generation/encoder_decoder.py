"""TIGER's network: an encoder over the history as code tokens, and a decoder of codes that attends to all of them (arXiv 2305.05065).
Axes: B users, T items, S = T L code tokens, P positions, R rows, L levels, D width."""

from dataclasses import dataclass

import torch
from torch import nn

from recbole_prorec.generation.decoder import LevelHeads
from recbole_prorec.nn.cross_attention import CrossBlock, UserRows
from recbole_prorec.nn.transformer import MASKED, Block, Dropout, causal_mask, init_weights


class EncoderBlock(Block):
    """A `Block` with TIGER's ReLU."""

    activation = nn.ReLU


@dataclass
class Memory:
    """What the decoder sees of every user; indexed and counted by user."""

    states: torch.Tensor  # [B, S, D]
    mask: torch.Tensor  # [B, 1, 1, S] to be added to scores

    def __getitem__(self, rows):
        return Memory(self.states[rows], self.mask[rows])

    def __len__(self):
        return len(self.states)


@dataclass
class Cache:
    """Of decoding: keys and values of the levels done, of every row, and of the memory, of every user."""

    levels: list  # of each block: keys, values, each [R, H, level, head size]
    memory: list  # of each block: keys, values, each [B, H, S, head size]
    mask: torch.Tensor  # [B, 1, 1, S]
    owner: torch.Tensor  # [R] the user of every row


class EncoderDecoder(nn.Module):
    """A bidirectional encoder of the history's codes, and a `CrossDecoder`.

    The shape is TIGER's (T5's); LayerNorm behind each sum and embedded positions are this project's blocks, in the place of T5's norm
    before it and relative biases, and there is no token for the user.

    Args:
        n_levels, codebook_size: of the codes. width: D. max_items: longest history. encoder, decoder: n_layers, n_heads, head_size,
            inner_size, attention_dropout, hidden_dropout of each.
    """

    def __init__(self, n_levels, codebook_size, width, max_items, encoder, decoder):
        super().__init__()
        self.register_buffer("offset", torch.arange(n_levels) * codebook_size, persistent=False)
        self.code_embedding = nn.Embedding(n_levels * codebook_size, width)
        self.position = nn.Embedding(max_items, width)
        self.norm_input = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(encoder["hidden_dropout"])
        self.blocks = stack(EncoderBlock, width, **encoder)
        self.decoder = CrossDecoder(n_levels, codebook_size, width, decoder, self.code_embedding)
        self.apply(init_weights)

    def forward(self, inputs, lengths, codes):
        """inputs [B, T] item ids padded behind, lengths [B], codes [n_items, L] of all items -> Memory."""
        batch, length = inputs.shape
        ago = (lengths.unsqueeze(1) - 1 - torch.arange(length, device=inputs.device)).clamp(min=0)  # back from the latest item
        x = self.code_embedding(codes[inputs] + self.offset) + self.position(ago).unsqueeze(2)  # [B, T, L, D]
        x = self.dropout(self.norm_input(x.flatten(1, 2)))
        padding = (inputs == 0).repeat_interleave(len(self.offset), dim=1).view(batch, 1, 1, -1)
        mask = torch.zeros(padding.shape, device=x.device, dtype=x.dtype).masked_fill(padding, MASKED)
        for block in self.blocks:
            x = block(x, mask)
        return Memory(x, mask)


class CrossDecoder(LevelHeads):
    """p(codes | memory), level by level.

    Args:
        n_levels: L. codebook_size: K. width: D. transformer: n_layers and the blocks' arguments. code_embedding: of the L K tokens, the
            encoder's.
    """

    def __init__(self, n_levels, codebook_size, width, transformer, code_embedding):
        super().__init__(n_levels, codebook_size)
        self.code_embedding = code_embedding
        self.begin = nn.Parameter(torch.zeros(width))  # the token before the first code
        self.position = nn.Embedding(n_levels, width)
        self.norm_input = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(transformer["hidden_dropout"])
        self.blocks = stack(CrossBlock, width, **transformer)
        self.add_heads(width)
        nn.init.normal_(self.begin, std=0.02)

    def forward(self, memory, codes):
        """memory of P users, codes [P, l] of the first l <= L levels -> hidden [P, l, D]; hidden[:, i] has seen codes[:, :i]."""
        begin = self.begin.expand(len(codes), 1, -1)
        x = torch.cat([begin, self.code_embedding(self.tokens(codes[:, :-1]))], dim=1)
        x = self.dropout(self.norm_input(x + self.position.weight[: codes.shape[1]]))
        causal = causal_mask(codes.shape[1], x)
        for block in self.blocks:
            x = block(x, causal, block.cross.keys_values(memory.states), memory.mask)
        return x

    def start(self, memory):
        """memory of B users -> hidden [B, D] that the first code is drawn from, cache."""
        keys_values = [block.cross.keys_values(memory.states) for block in self.blocks]
        owner = torch.arange(len(memory), device=memory.states.device)
        return self._step(self.begin.expand(len(memory), -1), Cache([None] * len(self.blocks), keys_values, memory.mask, owner), 0)

    def advance(self, cache, rows, codes, level):
        """Row r of the result goes on from row rows[r] of the cache with codes[r] of `level` -> hidden [R, D], cache. The rows of a user
        stand together, users in their order."""
        levels = [(keys[rows], values[rows]) for keys, values in cache.levels]
        kept = Cache(levels, cache.memory, cache.mask, cache.owner[rows])
        return self._step(self.code_embedding(codes + level * self.codebook_size), kept, level + 1)

    def _step(self, x, cache, position):
        rows = UserRows(cache.owner, len(cache.mask))
        x = self.norm_input(x + self.position.weight[position]).unsqueeze(1)
        levels = []
        for block, level, keys_values in zip(self.blocks, cache.levels, cache.memory):
            x, level = block.step(x, level, keys_values, cache.mask, rows)
            levels.append(level)
        return x.squeeze(1), Cache(levels, cache.memory, cache.mask, cache.owner)


def stack(kind, width, n_layers, **arguments):
    return nn.ModuleList(kind(width, **arguments) for _ in range(n_layers))
