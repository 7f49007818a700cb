"""Semantic domination as a number: how much of each modality's structure survives in a representation of the same items.

Two measures of two spaces x [n, D], y [n, D'] whose rows are the same items, both 1 for equal spaces, both blind to rotations and to one
scale for a whole space:

    overlap: the mean over items of |k nearest neighbours in x and in y| / k, by cosine, the item itself left out. Items that tie for
        the last places share them, so that it is the expectation over all orders of tied items. Two unrelated spaces have k / (n - 1).
    cka: linear centred kernel alignment (arXiv 1905.00414), |Y'X|^2 / (|X'X| |Y'Y|) of the centred columns, Frobenius norms: how alike
        the pairwise similarities of all items are. Two unrelated spaces have nearly 0 where n is large beside D.
"""

import numpy as np

from recbole_prorec.tokenizer.alignment import integrated_embedding

N_NEIGHBOURS = 10
MOST_ITEMS = 2000  # that are compared pair by pair
DECIMALS = 10  # cosines that differ by less are tied, not apart by rounding


def spaces_of(aligned, text, kind):
    """{"E_C", "E_T", "E_S", "naive", "integrated": [n_items, D]} of aligned [n_items, 2 D] = [E_C, E_T], text [n_items, D_text] and the
    setting integrated_embedding."""
    collaborative, adapted = aligned.chunk(2, dim=1)
    found = {"E_C": collaborative, "E_T": adapted, "E_S": text,
             "naive": integrated_embedding("naive_concat", collaborative, adapted, text),
             "integrated": integrated_embedding(kind, collaborative, adapted, text)}
    return {name: space.cpu().numpy() for name, space in found.items()}


def domination_numbers(spaces, codes):
    """What survives of each modality, of `spaces` [n_items, D] and codes [n_items, L]; of a large catalogue, over items drawn at random."""
    items = np.arange(1, len(codes))
    if len(items) > MOST_ITEMS:
        items = np.sort(np.random.default_rng(0).choice(items, MOST_ITEMS, replace=False))
    k = min(N_NEIGHBOURS, len(items) - 1)
    chosen = {name: space[items] for name, space in spaces.items()}
    modalities = {name: chosen[name] for name in ("E_C", "E_T", "E_S")}
    compared = {**modalities, "naive": chosen["naive"], "integrated": chosen["integrated"], "codes": code_prefixes(codes[items, :-1])}
    lengths = {name: float(np.linalg.norm(space, axis=1).mean()) for name, space in modalities.items()}
    return {"n_items": len(items), "k": k, "overlap_by_chance": k / (len(items) - 1), "mean_length": lengths,
            "survival": survival(modalities, compared, k)}


def overlap(x, y, k=N_NEIGHBOURS):
    """Mean share of the k nearest neighbours that the spaces have in common."""
    return float((neighbours(x, k) * neighbours(y, k)).sum() / (k * len(x)))


def neighbours(x, k):
    """[n, n] the probability that column j is among the k nearest of row i: 1 and 0 but for ties for the last places."""
    if not 0 < k < len(x):
        raise ValueError(f"k is {k}; expected 1 to {len(x) - 1}, for {len(x)} items")
    cosine = _cosine(x)
    np.fill_diagonal(cosine, -np.inf)
    last = -np.partition(-cosine, k - 1, axis=1)[:, k - 1:k]
    nearer, tied = cosine > last, cosine == last
    left = k - nearer.sum(1, keepdims=True)
    return nearer + tied * (left / tied.sum(1, keepdims=True))


def cka(x, y):
    """Linear CKA; 0 for a space in which all items are one point."""
    x, y = _centred(x), _centred(y)
    own = np.sqrt(_aligned(x, x) * _aligned(y, y))
    return float(_aligned(x, y) / own) if own > 0 else 0.0


def code_prefixes(codes):
    """codes [n, L] -> [n, prefixes] one-hot: a column for every prefix of every length, 1 where an item's codes begin with it. The
    similarity of two items is the number of leading codes that they share."""
    columns = []
    for length in range(1, codes.shape[1] + 1):
        _, prefix = np.unique(codes[:, :length], axis=0, return_inverse=True)
        columns.append(np.eye(prefix.max() + 1, dtype=np.float32)[prefix.ravel()])
    return np.concatenate(columns, axis=1)


def survival(modalities, representations, k=N_NEIGHBOURS):
    """{modality: {representation: {"overlap", "cka"}}} of {name: [n, D]} both."""
    return {name: {other: {"overlap": overlap(x, y, k), "cka": cka(x, y)} for other, y in representations.items()}
            for name, x in modalities.items()}


def _cosine(x):
    x = np.asarray(x, np.float64)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.round(unit @ unit.T, DECIMALS)


def _centred(x):
    x = np.asarray(x, np.float64)
    x = x - x.mean(0)
    size = np.abs(x).max(initial=0)
    return x / size if size > 0 else x  # one scale for a whole space changes nothing


def _aligned(x, y):
    """|Y'X|^2, by way of whichever is smaller: the columns, or the items."""
    if x.shape[1] * y.shape[1] <= len(x) ** 2:
        return (np.square(x.T @ y)).sum()
    return ((x @ x.T) * (y @ y.T)).sum()
