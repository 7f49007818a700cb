"""Text embeddings on the way to whitened ones, for the adaptation layer of stage 1. Axes: D_text width of the text embeddings."""

import torch

SMALLEST = 1e-2  # of the mean variance: a direction with less, as of a catalogue with fewer items than D_text, is left out


class Whitening:
    """x -> c P (x - mean), with P = V diag(v ** (-power / 2)) V^T, V and v the principal directions of the texts and their variances.

    A sentence encoder has most of its variance in a few directions, and an adaptation layer learns from these alone. power: 0 leaves
    every direction its variance, 1 gives all the same, which is whitening (arXiv 2402.10602; a power between them is ours). P is symmetric,
    and so the same whichever signs and basis the directions come in, which depends on threads and machine: what a stage keeps in the cache
    fits the P of any later run. c keeps the mean squared norm of what is centred. A linear map: `fold_into` puts it into the layer behind.

    Args:
        text: [n, D_text] of the items, without padding. power: in [0, 1].
    """

    def __init__(self, text, power):
        centred = text.double()
        self.mean = centred.mean(0)
        centred = centred - self.mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        known = variances > max(SMALLEST * float(variances.mean()), torch.finfo(torch.float64).tiny)
        variances, directions = variances[known], directions[:, known]
        scales = variances ** (-power / 2)
        kept = (variances.sum() / (variances * scales**2).sum()).sqrt() if len(variances) else 1
        self.matrix = kept * (directions * scales) @ directions.T

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
