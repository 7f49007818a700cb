"""Texts -> embeddings by sentence-transformers, once: the result is kept, and so is half of it when the run is killed."""

import contextlib
import importlib.metadata
import logging
import random
import time

import numpy as np
import torch
from tqdm import tqdm

from recbole_prorec.artifacts import fingerprint
from recbole_prorec.errors import InputError
from recbole_prorec.nn.matmul import fast_matmul
from recbole_prorec.text.embedding_file import check_embeddings, load_embedding_file
from recbole_prorec.text.encoder_source import resolve_encoder, unusable_encoder
from recbole_prorec.text.item_text import item_texts

STAGE = "text"
SECONDS_BETWEEN_SAVES = 30
ENCODED_BY = ("sentence-transformers", "transformers", "torch")  # packages

logger = logging.getLogger(__name__)


def text_embeddings_by(config, store, item_keys, item_file, device="cpu", show_progress=False):
    """As `text_embeddings`, by the settings of a RecBole config."""
    return text_embeddings(store, item_keys, item_file, config["text_template"], config["text_encoder"], config["text_embedding_file"],
                           config["text_batch_size"], device, show_progress, config["ITEM_ID_FIELD"], config["field_separator"],
                           config["encoding"] or "utf-8")


def text_embeddings(store, item_keys, item_file, template=None, encoder="all-MiniLM-L6-v2", embedding_file=None, batch_size=32,
                    device="cpu", show_progress=True, item_id_field="item_id", separator="\t", encoding="utf-8"):
    """Embeddings float32 [n_items, D] and their fingerprint. Row 0 is zero, and item_keys[0] is "[PAD]".

    What `store` keeps is itself a file that `embedding_file` takes.
    """
    padding, *keys = map(str, item_keys)
    if padding != "[PAD]":
        raise InputError(f"item_keys begins with {padding!r}; expected '[PAD]', the padding item, which has no text.")
    if embedding_file is not None:
        rows = load_embedding_file(embedding_file, keys)
        logger.info("Text embeddings: %d items, %d numbers each, from %s; no text was encoded.", *rows.shape, embedding_file)
        return _with_padding(rows), fingerprint({"item_keys": keys, "embeddings": rows})
    texts = item_texts(item_file, keys, template, item_id_field, separator, encoding)
    revision = resolve_encoder(encoder)[1]
    versions = {**{name: importlib.metadata.version(name) for name in ENCODED_BY}, "device": torch.device(device).type}
    key = fingerprint({"item_keys": keys, "texts": texts, "template": template, "encoder": revision, "versions": versions})
    kept = store.load(STAGE, key)
    if kept is not None:
        logger.info("Text embeddings: %d items, %d numbers each, kept from an earlier run.", *kept[0]["embeddings"].shape)
        return _with_padding(kept[0]["embeddings"]), key
    logger.info("Text embeddings: encoding %d items with %s (%s), the first as %r.", len(keys), encoder, revision, texts[0])
    rows = encode_texts(texts, encoder, batch_size, device, show_progress, PartialResult(store, key))
    store.save(STAGE, key, {"item_keys": np.array(keys), "embeddings": rows}, {"encoder": revision, "template": template})
    store.drop_state(STAGE, key)
    return _with_padding(rows), key


def encode_texts(texts, encoder, batch_size=32, device="cpu", show_progress=True, partial=None):
    """Embeddings float32 [len(texts), D]. A blank text gets the mean of all others; `partial` is where an interrupted run resumes."""
    unique = sorted({text for text in texts if text.strip()}, key=lambda text: (-len(text), text))  # like lengths pad each other little
    if not unique:
        raise InputError(f"none of the {len(texts)} texts has a word in it, so there is nothing to encode.")
    if batch_size < 1:
        raise InputError(f"text_batch_size is {batch_size}; expected 1 or more texts at a time.")
    encoded = _encode(unique, encoder, batch_size, device, show_progress, partial)
    check_embeddings(encoded, len(unique), f"the encoder {encoder}")
    row_of = {text: row for row, text in enumerate(unique)}
    rows = np.array([row_of.get(text, -1) for text in texts])
    embeddings = encoded[rows]
    embeddings[rows < 0] = embeddings[rows >= 0].mean(axis=0)
    return embeddings


class PartialResult:
    """The first rows of an unfinished encoding, kept now and then."""

    def __init__(self, store, key):
        self.store, self.key, self.saved_at = store, key, time.monotonic()

    def load(self):
        state = self.store.load_state(STAGE, self.key)
        return [] if state is None else [state["rows"].numpy()]

    def save_now_and_then(self, batches):
        if time.monotonic() - self.saved_at >= SECONDS_BETWEEN_SAVES:
            self.store.save_state(STAGE, self.key, {"rows": torch.from_numpy(np.concatenate(batches))})
            self.saved_at = time.monotonic()


def _encode(texts, encoder, batch_size, device, show_progress, partial):
    batches = partial.load() if partial else []
    n_done = sum(map(len, batches))
    with _random_state_kept(), fast_matmul(device):
        model = load_encoder(encoder, device)
        bar = tqdm(total=len(texts), initial=n_done, desc="Encoding texts", unit="text", disable=not show_progress)
        for start in range(n_done, len(texts), batch_size):
            batch = texts[start:start + batch_size]
            batches.append(model.encode(batch, batch_size=batch_size, show_progress_bar=False).astype(np.float32))
            bar.update(len(batch))
            if partial:
                partial.save_now_and_then(batches)
        bar.close()
    return np.concatenate(batches)


def load_encoder(name, device="cpu"):
    """The SentenceTransformer. It is never part of a network of ours: checkpoints would carry it along."""
    source, revision = resolve_encoder(name)
    try:
        from sentence_transformers import SentenceTransformer
        commit = revision.partition("@")[2] or None
        return SentenceTransformer(str(source), device=str(device), revision=commit)
    except Exception as error:  # a wrong folder or a missing file comes as almost any type, from OSError to KeyError
        raise unusable_encoder(name, f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _random_state_kept():
    """Loading an encoder draws random numbers; without this, a run that finds its embeddings kept would go on with other ones."""
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(state)


def _with_padding(rows):
    return np.concatenate([np.zeros((1, rows.shape[1]), np.float32), rows])
