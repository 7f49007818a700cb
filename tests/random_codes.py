"""Random catalogues of codes, and decoders that nobody trained."""

import numpy as np
import torch

from recbole_prorec.generation.decoder import CodeDecoder

TRANSFORMER = {"n_layers": 2, "n_heads": 2, "inner_size": 16, "attention_dropout": 0.3, "hidden_dropout": 0.3}
SHAPES = [(1, 1, 4), (5, 2, 3), (40, 3, 4), (64, 3, 4), (30, 4, 50), (9, 1, 9)]  # items, levels, codebook size: lone to full trees


def random_codes(n_real, n_levels, codebook_size, seed=0):
    """Unique codes [1 + n_real, n_levels], row 0 padding."""
    chosen = np.random.default_rng(seed).choice(codebook_size**n_levels, n_real, replace=False)
    digits = [chosen // codebook_size**power % codebook_size for power in reversed(range(n_levels))]
    return torch.from_numpy(np.concatenate([np.zeros((1, n_levels), np.int64), np.stack(digits, axis=1)]))


def random_decoder(n_levels, codebook_size, state_size=8, seed=0, item_size=5):
    """In evaluation mode, with weights large enough that its choices differ."""
    torch.manual_seed(seed)
    decoder = CodeDecoder(n_levels, codebook_size, state_size, 8, TRANSFORMER, item_size)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return decoder.eval()


def random_states(batch, state_size=8, seed=0):
    return torch.randn(batch, state_size, generator=torch.Generator().manual_seed(seed))
