"""New items without retraining: their text through the frozen adaptation layer, their codes out of the frozen codebooks.

What a new item lacks is a collaborative embedding. It gets the mean of those of the NEIGHBOURS trained items whose adapted texts are most
like its own, made as long as they are, so that it starts where its kind of item is. Old items keep their codes, their embeddings and their
order, and items added one after the other end as those added at once."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer.alignment import ModalityAdapter, integrated_embedding

NEIGHBOURS = 10
N_NAMED = 5


def check_can_grow(stored, source):
    """Refuse a model that lacks what new items need. source: what it was loaded from."""
    if not {"codebooks", "n_trained"} <= stored.adaptation.keys() or not len(stored.adaptation["codebooks"]):
        raise InputError(f"{source} can recommend but takes no new items: an earlier version wrote it, and kept no codebooks. Export its "
                         "checkpoint again, or, where that is as old, train again by the same command; what lies in cache_dir is not "
                         "computed twice.")
    if stored.settings["quantizer"] != "residual_kmeans":
        raise InputError(f"{source} was trained with quantizer: {stored.settings['quantizer']}, whose codebooks lie behind a network that "
                         "is not kept. New items need a model with quantizer: residual_kmeans.")


def check_new_keys(stored, keys):
    known, seen = set(stored.item_keys), set()
    if not keys:
        raise InputError("there is no new item; expected at least one.")
    if not all(key.strip() for key in keys):
        raise InputError(f"the new item number {[bool(key.strip()) for key in keys].index(False) + 1} has an empty key. Give it one.")
    for what, wrong in (("already of the catalogue", [key for key in keys if key in known]),
                        ("given twice", [key for key in keys if key in seen or seen.add(key)])):
        if wrong:
            more = f" and {len(wrong) - N_NAMED} more" if len(wrong) > N_NAMED else ""
            raise InputError(f"{len(wrong)} of {len(keys)} new items are {what}: {', '.join(map(repr, wrong[:N_NAMED]))}{more}. Expected "
                             "keys of their own; take these out.")


def extended(stored, keys, text):
    """A `StoredModel` with the new items behind the old ones.

    Args:
        stored: a `StoredModel` that `check_can_grow` let pass. keys: [n] of the new items, that `check_new_keys` let pass.
        text: [n, D_text] their text embeddings, by the encoder of the training.
    """
    adapter, codebooks = _frozen_adapter(stored.adaptation), stored.adaptation["codebooks"]
    text = _checked_text(text, len(keys), adapter.project.in_features, stored.settings["text_encoder"])
    old, codes, n_trained = stored.weights["aligned"], stored.weights["codes"], int(stored.adaptation["n_trained"])
    with torch.no_grad():
        adapted = adapter(text)
    collaborative = mean_of_neighbours(adapted, *old[1:n_trained].chunk(2, dim=1))
    vectors = integrated_embedding(stored.settings["integrated_embedding"], collaborative, adapted, text)
    new_codes = _resolved(codes[1:], nearest_codes(codebooks, vectors), stored.codebook_size, keys)
    weights = {**stored.weights, "codes": torch.cat([codes, torch.from_numpy(new_codes)]),
               "aligned": torch.cat([old, torch.cat([collaborative, adapted], dim=1)])}
    return replace(stored, item_keys=(*stored.item_keys, *keys), weights=weights)


def _frozen_adapter(parts):
    """Stage 1's adaptation layer as it was when training ended."""
    width, text_size = parts["project.weight"].shape
    adapter = ModalityAdapter(text_size, width)
    adapter.load_state_dict({name: parts[name] for name in adapter.state_dict()})
    return adapter


def _checked_text(text, n_items, text_size, encoder):
    try:
        text = torch.as_tensor(np.asarray(text, dtype=np.float32))
    except (ValueError, TypeError) as error:
        raise InputError(f"the text embeddings of the new items are no table of numbers ({error}); expected [{n_items}, "
                         f"{text_size}].") from error
    if text.shape != (n_items, text_size) or not bool(torch.isfinite(text).all()):
        raise InputError(f"the text embeddings of the new items are of shape {list(text.shape)}; expected {n_items} rows of {text_size} "
                         f"finite numbers, as {encoder} gave in training.")
    return text


def nearest_codes(codebooks, vectors):
    """codebooks [L, K, E], vectors [n, E] -> codes [n, L]: what ResidualKMeans.encode finds with faiss, which recommending does without."""
    rest, codes = vectors, []
    for codebook in codebooks:
        codes.append(torch.cdist(rest, codebook, compute_mode="donot_use_mm_for_euclid_dist").argmin(1))
        rest = rest - codebook[codes[-1]]
    return torch.stack(codes, dim=1)


def mean_of_neighbours(adapted, old_collaborative, old_adapted):
    """[n, D]: of the old items nearest by cosine of their adapted texts, the mean collaborative embedding, as long as theirs are in the
    mean: the mean of different directions is short, and a short embedding loses against every trained one."""
    cosine = F.normalize(adapted, dim=1) @ F.normalize(old_adapted, dim=1).T
    nearest = old_collaborative[cosine.topk(min(NEIGHBOURS, len(old_adapted)), dim=1).indices]
    return F.normalize(nearest.mean(1), dim=1) * nearest.norm(dim=2).mean(1, keepdim=True)


def _resolved(old, raw, codebook_size, keys):
    """raw [n, L - 1] -> [n, L]: the last level takes the first code that no item with the same codes before it has."""
    taken = {}
    for *codes, last in old.tolist():
        taken.setdefault(tuple(codes), set()).add(last)
    new = []
    for key, codes in zip(keys, map(tuple, raw.tolist())):
        used = taken.setdefault(codes, set())
        free = next((code for code in range(codebook_size) if code not in used), None)
        if free is None:
            raise InputError(f"the new item {key!r} falls on codes that {len(used)} items have, and the level that tells them apart has "
                             f"{codebook_size}. Train the model again with the new items, or leave this one out.")
        used.add(free)
        new.append((*codes, free))
    return np.array(new, dtype=np.int64)
