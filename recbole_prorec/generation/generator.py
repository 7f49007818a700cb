"""Stage 2's network: a causal encoder over items, and a decoder of codes on each of its states. Axes: B batch, T positions, D width."""

import torch
from torch import nn

from recbole_prorec.generation.decoder import CodeDecoder
from recbole_prorec.nn.transformer import HistoryEncoder


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
        self.encoder = HistoryEncoder(width, **encoder)
        self.decoder = CodeDecoder(n_levels, codebook_size, width, decoder_size, decoder, item_size=2 * width if reads_aligned else 0)
        nn.init.normal_(self.code_embedding.weight, std=0.002 if reads_aligned else 0.02)  # small beside a projection that is warm
        if reads_aligned:
            nn.init.normal_(self.project.weight, std=0.02)

    def start_from(self, encoder, weights, codes, aligned):
        """Begin as stage 1: its encoder, a projection to weights[0] E_C + weights[1] E_T, what its encoder read, and a decoder whose logits
        are the states' products with the codes' share of [E_C, E_T]. codes [n_items, L], aligned [n_items, 2 D]."""
        self.encoder.load_state_dict(encoder.state_dict())
        eye = torch.eye(self.project.out_features)
        read = torch.cat([weights[0] * eye, weights[1] * eye], dim=1)
        with torch.no_grad():
            self.project.weight.copy_(read)
        self.decoder.start_from(code_vectors(codes, aligned, self.decoder.codebook_size), read.T, torch.zeros(len(read.T)))

    def item_table(self, codes, aligned=None):
        """What the encoder reads for every item: the sum of its code embeddings and a projection of its aligned embeddings.
        codes [..., L], aligned [..., 2 D] -> [..., D]."""
        table = self.code_embedding(codes + self.offset).sum(-2)
        return table if self.project is None else table + self.project(aligned)

    def forward(self, embedded):
        """embedded [B, T, D], rows of the item table, padded behind -> states [B, T, D]."""
        return self.encoder(embedded)


def code_vectors(codes, vectors, codebook_size):
    """What each code stands for, level by level: the mean, over the items with that code, of what the levels before left of their vectors.
    codes [n_items, L] and vectors [n_items, E], row 0 padding -> [L, K, E], 0 for codes that no item has.

    With the codes of residual k-means these are its codebooks, in whatever space the vectors are.
    """
    codes, rest = codes[1:], vectors[1:].clone()
    levels = []
    for code in codes.T:
        count = torch.bincount(code, minlength=codebook_size).clamp(min=1)
        mean = rest.new_zeros(codebook_size, rest.shape[1]).index_add_(0, code, rest) / count.unsqueeze(1)
        rest -= mean[code]
        levels.append(mean)
    return torch.stack(levels)
