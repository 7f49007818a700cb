"""New items without retraining: their text through the frozen adaptation layer, their codes out of the frozen codebooks.

What a new item lacks is a collaborative embedding. It gets the mean of those of the NEIGHBOURS old items whose adapted texts are most
like its own, so that it starts where its kind of item is. Old items keep their codes, their embeddings and their order."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from recbole_prorec.errors import InputError
from recbole_prorec.text.item_text import item_texts, read_item_fields
from recbole_prorec.tokenizer.alignment import ModalityAdapter, integrated_embedding

NEIGHBOURS = 10
N_NAMED = 5


def extended(stored, keys, text, source):
    """A `StoredModel` with the new items behind the old ones.

    Args:
        stored: a `StoredModel`. keys: [n] of the new items. text: [n, D_text] their text embeddings, by the encoder of the training.
        source: what the model was loaded from, for errors.
    """
    keys = _checked_keys(stored, keys)
    adapter, codebooks = _frozen_parts(stored, source)
    text = torch.as_tensor(np.asarray(text, dtype=np.float32))
    if text.shape != (len(keys), adapter.project.in_features) or not bool(torch.isfinite(text).all()):
        raise InputError(f"the text embeddings of the new items are of shape {list(text.shape)}; expected {len(keys)} rows of "
                         f"{adapter.project.in_features} finite numbers, as {stored.settings['text_encoder']} gave in training.")
    old, codes = stored.weights["aligned"], stored.weights["codes"]
    with torch.no_grad():
        adapted = adapter(text)
    collaborative = _mean_of_neighbours(adapted, *old[1:].chunk(2, dim=1))
    vectors = integrated_embedding(stored.settings["integrated_embedding"], collaborative, adapted, text)
    new_codes = _resolved(codes[1:], nearest_codes(codebooks, vectors), _codebook_size(stored), keys)
    weights = {**stored.weights, "codes": torch.cat([codes, torch.from_numpy(new_codes)]),
               "aligned": torch.cat([old, torch.cat([collaborative, adapted], dim=1)])}
    return replace(stored, item_keys=(*stored.item_keys, *keys), weights=weights)


def _checked_keys(stored, keys):
    keys = [str(key) for key in keys]
    known, seen = set(stored.item_keys), set()
    if not keys:
        raise InputError("there is no new item; expected at least one.")
    for what, wrong in (("already of the catalogue", [key for key in keys if key in known]),
                        ("given twice", [key for key in keys if key in seen or seen.add(key)])):
        if wrong:
            more = f" and {len(wrong) - N_NAMED} more" if len(wrong) > N_NAMED else ""
            raise InputError(f"{len(wrong)} of {len(keys)} new items are {what}: {', '.join(map(repr, wrong[:N_NAMED]))}{more}. Expected keys of "
                             "their own; take these out.")
    return keys


def _frozen_parts(stored, source):
    """The adaptation layer, and the codebooks [L - 1, K, E], as they were when training ended."""
    if stored.settings["quantizer"] != "residual_kmeans":
        raise InputError(f"{source} was trained with quantizer: {stored.settings['quantizer']}, whose codebooks lie behind a network that is not "
                         "kept. New items need a model with quantizer: residual_kmeans.")
    parts = stored.adaptation
    if not parts or not len(parts["codebooks"]):
        raise InputError(f"{source} holds no codebooks or no adaptation layer, so new items can have no codes. Train the model again with this "
                         "version; what lies in cache_dir is not computed twice.")
    adapter = ModalityAdapter(parts["project.weight"].shape[1], parts["project.weight"].shape[0])
    adapter.load_state_dict({name: tensor for name, tensor in parts.items() if name != "codebooks"})
    return adapter, parts["codebooks"]


def nearest_codes(codebooks, vectors):
    """codebooks [L, K, E], vectors [n, E] -> codes [n, L]: what ResidualKMeans.encode finds with faiss, which recommending does without."""
    rest, codes = vectors, []
    for codebook in codebooks:
        codes.append(torch.cdist(rest, codebook, compute_mode="donot_use_mm_for_euclid_dist").argmin(1))
        rest = rest - codebook[codes[-1]]
    return torch.stack(codes, dim=1)


def _mean_of_neighbours(adapted, old_collaborative, old_adapted):
    """[n, D]: of the old items nearest by cosine of their adapted texts, the mean collaborative embedding."""
    cosine = F.normalize(adapted, dim=1) @ F.normalize(old_adapted, dim=1).T
    nearest = cosine.topk(min(NEIGHBOURS, len(old_adapted)), dim=1).indices
    return old_collaborative[nearest].mean(1)


def _codebook_size(stored):
    return stored.weights["generator.decoder.output"].shape[1]


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


def read_new_items(path, template=None, item_id_field="item_id"):
    """Keys and texts of a .item file, by the template of the training, or of a .jsonl file."""
    if Path(path).suffix == ".item":
        keys = list(read_item_fields(path, item_id_field=item_id_field))
        return keys, item_texts(path, keys, template, item_id_field)
    if Path(path).suffix != ".jsonl":
        raise InputError(f"{path} ends in neither .item nor .jsonl. Give a RecBole .item file, or lines of json.")
    pairs = []
    try:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                found = json.loads(line)
                pairs.append((str(found["item"]), str(found["text"])))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). Give a file that can.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}, line {number}: expected {{"item": key, "text": text}}, found {line[:80]!r} ({error}).') from error
    return [key for key, _ in pairs], [text for _, text in pairs]
