"""From vectors to unique codes, by any of the quantizers."""

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer.collisions import count_collisions, resolve_collisions
from recbole_prorec.tokenizer.residual_kmeans import ResidualKMeans
from recbole_prorec.tokenizer.rqvae import RQVAE
from recbole_prorec.tokenizer.semantic_ids import code_statistics

QUANTIZERS = ("residual_kmeans", "rqvae")


def make_quantizer(kind, n_levels, codebook_size, seed=0, n_epochs=200, device="cpu"):
    """An unfitted quantizer with the verbs fit(x), encode(x) and decode(codes, n_levels=None), all on NumPy arrays.

    Args:
        kind: one of QUANTIZERS. n_levels: L. codebook_size: K. n_epochs, device: of the RQ-VAE's training; residual k-means needs neither.
    """
    if kind not in QUANTIZERS:
        raise InputError(f"quantizer is {kind!r}; expected one of {', '.join(QUANTIZERS)}.")
    if kind == "residual_kmeans":
        return ResidualKMeans(n_levels, codebook_size, seed=seed)
    return RQVAE(n_levels, codebook_size, n_epochs=n_epochs, seed=seed, device=device)


def quantize(vectors, quantizer):
    """Fit a quantizer to the items' vectors [n, D] and name every item.

    Returns:
        codes [n, L + 1], unique, the last level telling collisions apart; and a report in plain numbers: codes used and entropy of each
        level, items in collisions before the last level, share of the variance left after each level.
    """
    raw = quantizer.fit(vectors).encode(vectors)
    variance = ((vectors - vectors.mean(0)) ** 2).sum()
    errors = [float(((vectors - quantizer.decode(raw, level + 1)) ** 2).sum() / variance) for level in range(quantizer.n_levels)]
    report = {**code_statistics(raw, quantizer.codebook_size), "collisions": count_collisions(raw), "error": errors}
    return resolve_collisions(raw, quantizer.codebook_size), report
