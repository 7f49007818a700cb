"""From text embeddings to codes: an epoch of alignment, residual k-means, epochs of the RQ-VAE, the level that resolves collisions.

  python benchmarks/tokenizer.py [--dataset=NAME --data_path=FOLDER --config_files=FILES]

Samples are targets in alignment and items elsewhere. cornac's tokenizers take the same
vectors, its residual k-means as many iterations as ours, its RQ-VAE as many epochs."""

import common
import numpy as np
import torch
from training import TARGETS_A_STEP
from training import ours as epoch
from workload import N_CODED, SEED, TEXT_SIZE, K, T, Workload, parse, parser, scratch, vectors

from recbole_prorec.data.histories import WindowBatches
from recbole_prorec.tokenizer.collisions import resolve_collisions
from recbole_prorec.tokenizer.residual_kmeans import ResidualKMeans
from recbole_prorec.tokenizer.rqvae import RQVAE
from recbole_prorec.tokenizer.semantic_ids import SemanticIds

OF_TORCH = ("Alignment", "RQ-VAE")
EPOCHS, ITERATIONS = 4, 25  # of the RQ-VAE in one call, its k-means start included; of k-means


def alignment(workload):
    histories = workload.histories()
    batches = list(WindowBatches(histories, T, 10, TARGETS_A_STEP, "cpu", SEED))
    return {"alignment, a whole epoch": epoch(workload.aligner(), batches, histories.n_targets)}


def kmeans(points):
    def ours():
        return len(ResidualKMeans(N_CODED, K, ITERATIONS, SEED).fit(points).encode(points))

    found = {"residual k-means (faiss), fit and encode": ours}
    try:
        from cornac.models.tiger.tiger import _kmeans
    except ImportError:
        return found

    def cornac():
        residual = torch.from_numpy(points)
        for _ in range(N_CODED):
            centroids = _kmeans(residual, K, ITERATIONS)
            residual = residual - centroids[torch.cdist(residual, centroids).argmin(1)]
        return len(points)

    return {**found, "cornac 3.0.1, residual k-means": cornac}


def rqvae(points):
    def train():
        RQVAE(N_CODED, K, EPOCHS, SEED).fit(points)
        return EPOCHS * len(points)

    found = {"RQ-VAE, items x epochs": train}
    try:
        from cornac.models import TIGER
    except ImportError:
        return found
    model, tensor = TIGER(rqvae_n_epochs=EPOCHS, device="cpu"), torch.from_numpy(points)
    model.device_ = "cpu"
    return {**found, "cornac 3.0.1, RQ-VAE": lambda: model._fit_rqvae(torch, tensor) or EPOCHS * len(points)}


def collisions(codes):
    def plain():
        """Counting in a dict, item by item."""
        seen = {}
        for row in map(tuple, codes.tolist()):
            seen[row] = seen.get(row, -1) + 1
        return len(codes)

    unique = np.concatenate([np.zeros((1, N_CODED + 1), np.int64), resolve_collisions(codes, K)])
    keys = np.arange(len(unique)).astype(str)
    return {"collisions resolved (NumPy)": lambda: len(resolve_collisions(codes, K)), "the same by a dict": plain,
            "unique codes checked (SemanticIds)": lambda: len(SemanticIds(keys, unique, K).codes)}


def main():
    flags = parse(parser(__doc__, rounds=3, seconds=0.5))
    with scratch() as folder:
        workload = Workload(flags, folder)
        pair, text = workload.aligned[1:].numpy(), vectors(workload.n_items - 1, TEXT_SIZE, np.random.default_rng(SEED))
        stages = {"Alignment": alignment(workload), "Residual k-means": kmeans(pair), "RQ-VAE": rqvae(text),
                  "Collisions": collisions(workload.codes(K)[1:, :-1].numpy())}
        tables = []
        for title, variants in stages.items():
            rows, peak = common.measure(variants, "samples", flags.rounds, flags.seconds, next(iter(variants)), products=title in OF_TORCH)
            tables.append((title, rows))
    common.save("tokenizer", flags.command, "Tokenizer", __doc__, tables, peak=peak)


if __name__ == "__main__":
    main()
