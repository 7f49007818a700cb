"""RQ-VAE: an autoencoder whose latent vectors are quantized in residual levels (arXiv 2107.03312, 2203.01941), as TIGER uses it
(arXiv 2305.05065, section 3.1). Axes: n vectors, D width, L levels, K codes, H latent width."""

import logging
import math

import numpy as np
import torch
from torch import nn

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer.residual_kmeans import ResidualKMeans

HIDDEN_SIZES, LATENT_SIZE, COMMITMENT = (512, 256, 128), 32, 0.25  # TIGER's
BATCH_SIZE, LEARNING_RATE = 1024, 1e-3  # TIGER's batch; Adam in the place of its Adagrad, which needs 20,000 epochs
MIN_STEPS = 8  # of an epoch: a small catalogue gets smaller batches, not an untrained network
WARM_UP = 0.1  # share of the epochs that the autoencoder learns alone: k-means then starts from latents that mean something

logger = logging.getLogger(__name__)


class RQVAE:
    """n_levels codebooks of [K, H] in the latent space of an autoencoder. `decode` inverts `encode` up to the reconstruction error.

    Args:
        n_levels: L, at least 1. codebook_size: K, or fewer where there are fewer vectors. n_epochs: passes over the vectors.
        device: where to train. The same seed gives the same codes on the same machine; the global random state is left alone.
    """

    def __init__(self, n_levels, codebook_size, n_epochs=200, seed=0, device="cpu"):
        for name, value in (("n_levels", n_levels), ("n_epochs", n_epochs)):
            if value < 1:
                raise InputError(f"{name} of the RQ-VAE is {value}; expected 1 or more.")
        self.n_levels, self.codebook_size, self.n_epochs, self.seed, self.device = n_levels, codebook_size, n_epochs, seed, device
        self.network = None

    @property
    def codebooks(self):
        """[L, K, H]."""
        return self.network.codebooks.detach().cpu().numpy()

    def fit(self, x):
        """Learn from x [n, D] and return self."""
        x = self._tensor(x)
        self.mean = x.mean(0)
        self.scale = (x - self.mean).square().sum(1).mean().sqrt().clamp(min=1e-12)
        x = (x - self.mean) / self.scale  # total variance 1: the losses have one scale, whatever the embedding's
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.network = _Network(x.shape[1], self.n_levels, min(self.codebook_size, len(x))).to(self.device)
            self._train(x)
        self.network.eval()
        return self

    @torch.no_grad()
    def encode(self, x):
        """x [n, D] -> codes [n, L]."""
        parts = ((self._tensor(x) - self.mean) / self.scale).split(BATCH_SIZE)
        return np.concatenate([self.network.quantize(self.network.encoder(part))[1].cpu().numpy() for part in parts])

    @torch.no_grad()
    def decode(self, codes, n_levels=None):
        """codes [n, L] -> [n, D] from the sum of their codebook vectors, of the first n_levels levels if told so."""
        levels = range(self.n_levels if n_levels is None else n_levels)
        codes = torch.as_tensor(codes, device=self.device)
        latent = sum(self.network.codebooks[level][codes[:, level]] for level in levels)
        return (self.network.decoder(latent) * self.scale + self.mean).cpu().numpy()

    def _tensor(self, x):
        return torch.as_tensor(np.ascontiguousarray(x, dtype=np.float32), device=self.device)

    def _train(self, x):
        network, n_warm = self.network, min(math.ceil(WARM_UP * self.n_epochs), self.n_epochs - 1)
        n_steps = min(max(MIN_STEPS, math.ceil(len(x) / BATCH_SIZE)), len(x))
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        for epoch in range(self.n_epochs):
            if epoch == n_warm:
                with torch.no_grad():
                    network.start_from_kmeans(network.encoder(x), self.seed)
            used = torch.zeros(network.codebooks.shape[:2], dtype=torch.bool, device=x.device)
            total = 0.0
            for batch in torch.randperm(len(x)).to(x.device).tensor_split(n_steps):
                error, loss, codes, residuals = network.losses(x[batch], quantized=epoch >= n_warm)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += float(error.detach()) * len(batch)
                if codes is not None:
                    used[torch.arange(self.n_levels, device=x.device), codes] = True
            if epoch >= n_warm:
                restarted = network.restart(used, residuals, optimizer)
                logger.info("RQ-VAE epoch %d: share of variance left %.4f, codes used %s of %d, %d dead codes restarted", epoch,
                            total / len(x), used.sum(1).tolist(), used.shape[1], restarted)


class _Network(nn.Module):
    """Encoder, codebooks and decoder."""

    def __init__(self, width, n_levels, codebook_size):
        super().__init__()
        sizes = (width, *HIDDEN_SIZES, LATENT_SIZE)
        self.encoder, self.decoder = _mlp(sizes), _mlp(sizes[::-1])
        self.codebooks = nn.Parameter(torch.zeros(n_levels, codebook_size, LATENT_SIZE))

    def quantize(self, latent):
        """latent [n, H] -> quantized [n, H], codes [n, L], the residual before each level [L, n, H]."""
        residual, codes, residuals = latent, [], []
        for codebook in self.codebooks:
            residuals.append(residual)
            codes.append((codebook.square().sum(1) - 2 * residual @ codebook.T).argmin(1))
            residual = residual - codebook[codes[-1]]
        return latent - residual, torch.stack(codes, dim=1), torch.stack(residuals)

    def losses(self, x, quantized):
        """x [n, D] -> reconstruction error, loss, codes [n, L], residuals [L, n, H]; the last two None where nothing is quantized."""
        latent = self.encoder(x)
        if not quantized:
            error = (self.decoder(latent) - x).square().sum(1).mean()
            return error, error, None, None
        with torch.no_grad():
            rounded, codes, residuals = self.quantize(latent)
        error = (self.decoder(latent + (rounded - latent).detach()) - x).square().sum(1).mean()  # straight-through
        distance = commitment = 0
        before = torch.zeros_like(rounded)  # sum of the codebook vectors of the levels before
        for codebook, code, residual in zip(self.codebooks, codes.T, residuals):
            distance = distance + (residual - codebook[code]).square().sum(1).mean()
            after = before + codebook[code].detach()
            commitment = commitment + (latent - after).square().sum(1).mean()
            before = after
        return error, error + distance + COMMITMENT * commitment, codes, residuals

    def start_from_kmeans(self, latent, seed):
        codebooks = ResidualKMeans(*self.codebooks.shape[:2], seed=seed).fit(latent.cpu().numpy()).codebooks
        self.codebooks.data.copy_(torch.from_numpy(codebooks))

    @torch.no_grad()
    def restart(self, used, residuals, optimizer):
        """Move every code that nobody chose in an epoch onto a residual of the last batch [L, n, H] and forget its momentum; how many."""
        level, code = (~used).nonzero(as_tuple=True)
        row = torch.randint(residuals.shape[1], (len(level),)).to(level.device)
        self.codebooks[level, code] = residuals[level, row]
        for name in ("exp_avg", "exp_avg_sq"):
            optimizer.state[self.codebooks][name][level, code] = 0
        return len(level)


def _mlp(sizes):
    layers = [layer for size, following in zip(sizes, sizes[1:]) for layer in (nn.Linear(size, following), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
