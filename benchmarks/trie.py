"""Building the trie of all codes: as tensors, as a dict of dicts, and as the open TIGERs build theirs. Items per CPU second.

  python benchmarks/trie.py"""

import common
import numpy as np
import peers
import torch
from workload import N_CODED, SEED, K, parse, parser, vectors

from recbole_prorec.generation.trie import Trie
from recbole_prorec.tokenizer.quantizer import make_quantizer, quantize

REFERENCE, SIZES = "tensors (Trie)", (1_000, 12_101, 100_000)


def codes_of(n_items):
    """[n_items + 1, L], row 0 padding; shared by like items."""
    points = vectors(n_items, 64, np.random.default_rng(SEED), n_groups=max(n_items // 4, 1))
    codes, _ = quantize(points, make_quantizer("residual_kmeans", N_CODED, min(K, n_items // 4), SEED))
    return torch.from_numpy(np.concatenate([np.zeros_like(codes[:1]), codes]))


def variants(codes):
    n_items = len(codes) - 1

    def tensors():
        Trie(codes)
        return n_items

    def dicts():
        peers.dict_trie(codes[1:].tolist())
        return n_items

    return {REFERENCE: tensors, "dict of dicts": dicts, **peer_variants(codes)}


def peer_variants(codes):
    found, n_items = {}, len(codes) - 1
    try:
        from torch_rechub.utils.data import Trie as RechubTrie
        found["torch-rechub 0.9.0, Trie"] = lambda: RechubTrie(codes[1:].tolist()).len
    except ImportError:
        pass
    try:
        from cornac.models import TIGER
        model, raw = TIGER(), codes[1:, :-1].numpy()
        found["cornac 3.0.1, allowed codes and last level"] = lambda: model._build_semantic_ids(raw) or n_items
    except ImportError:
        pass
    return found


def main():
    flags = parse(parser(__doc__, rounds=5, seconds=0.3))
    tables = []
    for n_items in SIZES:
        rows, peak = common.measure(variants(codes_of(n_items)), "items", flags.rounds, flags.seconds, REFERENCE, products=False)
        tables.append((f"{n_items:,} items", rows))
    common.save("trie", flags.command, "Building the trie", __doc__, tables, peak=peak)


if __name__ == "__main__":
    main()
