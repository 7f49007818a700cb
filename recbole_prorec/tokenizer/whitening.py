"""Text embeddings on the way to whitened ones, for the adaptation layer of stage 1. Axes: D_text width of the text embeddings."""

import torch

SMALLEST = 1e-3  # of the mean variance: a direction with less, as of a catalogue with fewer items than D_text, is not blown up further


class Whitening:
    """x -> c (x - mean) P, with P = V diag(v ** (-power / 2)), V and v the principal directions of the texts and their variances.

    A sentence encoder has most of its variance in a few directions, and an adaptation layer learns from these alone. power: 0 leaves
    every direction its variance, 1 gives all the same (whitening, arXiv 2402.10602, where what lies between is called relaxed); c keeps
    the mean squared norm of what is centred. A linear map: `fold_into` puts it into the layer behind it.

    Args:
        text: [n, D_text] of the items, without padding. power: in [0, 1].
    """

    def __init__(self, text, power):
        centred = text.double()
        self.mean = centred.mean(0)
        centred = centred - self.mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        floored = variances.clamp(min=max(SMALLEST * float(variances.mean()), torch.finfo(torch.float64).tiny))
        scales = floored ** (-power / 2)
        left = (variances.clamp(min=0) * scales**2).sum()
        self.matrix = directions * scales * (variances.clamp(min=0).sum() / left).sqrt() if left > 0 else directions

    def __call__(self, text):
        """text [n_items, D_text], row 0 zero -> the same whitened, row 0 zero."""
        whitened = ((text.double() - self.mean) @ self.matrix).to(text.dtype)
        whitened[0] = 0
        return whitened

    @torch.no_grad()
    def fold_into(self, layer):
        """Make the linear layer that read whitened texts read texts as they are."""
        weight = layer.weight.double() @ self.matrix.T
        layer.bias -= (weight @ self.mean).to(layer.bias.dtype)
        layer.weight.copy_(weight)
