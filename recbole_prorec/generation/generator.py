"""Stage 2's network: a causal encoder over items, and a decoder of codes on each of its states. Axes: B batch, T positions, D width."""

import torch
from torch import nn
from torch.nn import functional as F

from recbole_prorec.generation.decoder import CodeDecoder
from recbole_prorec.nn.transformer import CausalTransformer


class Generator(nn.Module):
    """One token per item, and at every position the next item's codes.

    Args:
        n_levels, codebook_size: of the codes. width: D of items and states. encoder: arguments of the causal encoder.
        decoder_size: width of the decoder. decoder: arguments of its transformer. reads_aligned: whether an item is its codes and its
            aligned embeddings to the encoder, or its codes alone.
    """

    def __init__(self, n_levels, codebook_size, width, encoder, decoder_size, decoder, reads_aligned=True):
        super().__init__()
        self.register_buffer("offset", torch.arange(n_levels) * codebook_size, persistent=False)
        self.code_embedding = nn.Embedding(n_levels * codebook_size, width)
        self.project = nn.Linear(2 * width, width, bias=False) if reads_aligned else None
        self.encoder = CausalTransformer(width, **encoder)
        self.decoder = CodeDecoder(n_levels, codebook_size, width, decoder_size, decoder)
        nn.init.normal_(self.code_embedding.weight, std=0.002 if reads_aligned else 0.02)  # small beside a projection that is warm
        if reads_aligned:
            nn.init.normal_(self.project.weight, std=0.02)

    def start_from(self, encoder, weights):
        """Begin as stage 1: its encoder, and a projection to weights[0] E_C + weights[1] E_T, what its encoder read."""
        self.encoder.load_state_dict(encoder.state_dict())
        eye = torch.eye(self.project.out_features)
        with torch.no_grad():
            self.project.weight.copy_(torch.cat([weights[0] * eye, weights[1] * eye], dim=1))

    def item_table(self, codes, aligned=None):
        """What the encoder reads for every item: the sum of its code embeddings and a projection of its aligned embeddings.
        codes [n_items, L], aligned [n_items, 2 D] -> [n_items, D]."""
        table = self.code_embedding(codes + self.offset).sum(1)
        return table if self.project is None else table + self.project(aligned)

    def forward(self, inputs, table):
        """inputs [B, T] item ids, padded behind -> states [B, T, D]."""
        return self.encoder(F.embedding(inputs, table))
