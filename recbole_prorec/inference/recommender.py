"""Recommendations by a trained model: item keys of histories in, item keys and scores out."""

from dataclasses import replace
from numbers import Integral
from pathlib import Path

import torch

from recbole_prorec.errors import InputError, check_text
from recbole_prorec.inference.checkpoint import read_checkpoint
from recbole_prorec.inference.export import read_export
from recbole_prorec.inference.network import build
from recbole_prorec.inference.new_items import check_can_grow, check_new_keys, extended
from recbole_prorec.text.encoder import encode_texts

BATCH_SIZE = 256
N_NAMED = 5  # how many unknown keys an error names


def load(path, beam_size=None, device="cpu"):
    """A `Recommender` out of a checkpoint of PRORec's (.pth), or out of the folder that `prorec export` wrote.

    A checkpoint is a pickle, but nothing that it names is run here, so that also a stranger's can be loaded.

    Args:
        beam_size: in the place of the one that the model was trained with. device: as torch calls it.
    """
    stored = read_export(path) if Path(path).is_dir() else read_checkpoint(path)
    if beam_size is not None:
        _check_count("beam_size", beam_size)
        stored = replace(stored, settings={**stored.settings, "beam_size": beam_size})
    return Recommender(stored, path, device)


class Recommender:
    """Ranks items for plain histories.

    Scores of a model with `ranking: generative` are log-probabilities, those of all items together being a distribution. Of one with
    `ranking: fused` they are what it ranks by, log p(codes) + fusion_weight x stage 1's score: comparable within a list alone.

    Attributes:
        model: its name. settings: {name: value}. item_keys: [n_items], row 0 padding. network: the torch module.
    """

    def __init__(self, stored, source, device="cpu"):
        self.stored, self.source = stored, source
        self.model, self.settings, self.item_keys = stored.model, stored.settings, stored.item_keys
        self.network, self.device = _moved(build(stored, source), device)
        self.item_id = {key: item for item, key in enumerate(self.item_keys) if item}

    def add_items(self, keys, texts=None, text_embeddings=None, show_progress=False):
        """A `Recommender` that knows new items too, behind the old ones, whose codes stay as they are. Nothing is trained.

        Args:
            keys: of the new items. texts: one a key, made like the texts of the training (`text_template`); or, in their place,
                text_embeddings [n, D_text] by the encoder of the training.
        """
        if (texts is None) == (text_embeddings is None):
            raise InputError("new items need either texts or text_embeddings; expected one of the two.")
        keys = [item_key(key) for key in _listed(keys)]
        check_can_grow(self.stored, self.source)
        check_new_keys(self.stored, keys)
        if texts is not None:
            text_embeddings = _encoded(self.settings, keys, list(_listed(texts, "texts")), self.device, show_progress)
        return Recommender(extended(self.stored, keys, text_embeddings), self.source, self.device)

    @property
    def max_length(self):
        return self.settings["MAX_ITEM_LIST_LENGTH"]

    @property
    def n_items(self):
        """Without padding."""
        return len(self.item_id)

    def recommend(self, histories, k=10, exclude_seen=None, return_scores=True, drop_unknown=False):
        """The k best next items of every history, best first.

        Args:
            histories: lists of item keys, the latest item last. The model reads the last `max_length` of them.
            exclude_seen: leave out every item of the history, also of the part that the model does not read, for which the beam becomes
                wider, so that lists stay full. False: none. None: as the model was evaluated, which with its setting `exclude_seen` leaves
                out the part that it reads.
            drop_unknown: pass over keys that the model does not know, in the place of an error.

        Returns:
            keys, scores: a list of k for every history; keys alone without return_scores.
        """
        self.check_k(k)
        ids = []
        for number, history in enumerate(histories, start=1):
            try:
                ids.append(self.read_history(history, k, exclude_seen, drop_unknown))
            except InputError as error:
                raise InputError(f"history {number}: {error}") from error
        keys, scores = self.rank(ids, k, exclude_seen)
        return (keys, scores) if return_scores else keys

    def check_k(self, k):
        _check_count("k", k)
        if k > self.n_items:
            raise InputError(f"k is {k}, and the catalogue has {self.n_items} items. Lower k.")
        if k > self.network.beam_size and not self.network.is_exhaustive:
            raise InputError(f"k is {k}, but the beam finds {self.network.beam_size} items. Lower k, or load the model with a "
                             f"beam_size of at least {k} (--beam-size).")

    def read_history(self, history, k=1, exclude_seen=None, drop_unknown=False):
        """A history's item ids, once it is sure that k items can be recommended for it."""
        keys = [item_key(key) for key in _listed(history)]
        unknown = [key for key in dict.fromkeys(keys) if key not in self.item_id]
        if unknown and not drop_unknown:
            more = f" and {len(unknown) - N_NAMED} more" if len(unknown) > N_NAMED else ""
            raise InputError(f"the model does not know the item keys {', '.join(map(repr, unknown[:N_NAMED]))}{more}; expected keys of the "
                             "data that it was trained on. Mend them, or pass over them by drop_unknown (--drop-unknown).")
        ids = [self.item_id[key] for key in keys if key in self.item_id]
        if not ids:
            raise InputError(f"the history is empty{' without its unknown keys' if unknown else ''}; expected at least one item key.")
        n_left = self.n_items - len(set(ids if exclude_seen else ids[-self.max_length:]))
        if self.network.excludes(exclude_seen) and n_left < k:
            raise InputError(f"k is {k}, but only {n_left} of {self.n_items} items are not in the history. Lower k, or allow seen items.")
        return ids

    @torch.inference_mode()
    def rank(self, ids, k, exclude_seen=None):
        """Keys and scores of the k best items of every one of `read_history`'s lists."""
        keys, scores = [None] * len(ids), [None] * len(ids)
        for rows, size in self._batches(ids, k, exclude_seen):
            for row, items, values in zip(rows, *self._best([ids[row] for row in rows], size, exclude_seen)):
                seen = set(ids[row]) if exclude_seen else ()
                kept = [(self.item_keys[item], value) for item, value in zip(items, values)
                        if value > float("-inf") and item not in seen][:k]
                keys[row], scores[row] = map(list, zip(*kept))
        return keys, scores

    def _batches(self, ids, k, exclude_seen):
        """Rows that take beams of the same size: (rows, size)."""
        by_size = {}
        for row, history in enumerate(ids):
            not_read = set(history).difference(history[-self.max_length:]) if exclude_seen else ()  # to the others no beam goes
            by_size.setdefault(self._size(k, len(not_read)), []).append(row)
        for size, rows in by_size.items():
            for first in range(0, len(rows), BATCH_SIZE):
                yield rows[first:first + BATCH_SIZE], size

    def _size(self, k, n_excluded):
        """How many items to look for. Room for those that are excluded afterwards goes up in powers of two: that few sizes occur, and that
        a list depends on its own history alone."""
        room = 1 << (n_excluded - 1).bit_length() if n_excluded else 0
        return min((k if self.network.is_exhaustive else self.network.beam_size) + room, self.n_items)

    def _best(self, ids, size, exclude_seen):
        latest = [history[-self.max_length:] for history in ids]
        lengths = torch.tensor([len(history) for history in latest], device=self.device)
        inputs = torch.nn.utils.rnn.pad_sequence([torch.tensor(history) for history in latest], batch_first=True).to(self.device)
        items, scores = self.network.best(inputs, lengths, size, exclude_seen)
        return items.tolist(), scores.tolist()


def _encoded(settings, keys, texts, device, show_progress):
    """Text embeddings [n, D_text] by the encoder that the model was trained with."""
    if settings["text_embedding_file"]:
        raise InputError(f"the model was trained with ready-made text embeddings ({settings['text_embedding_file']}), so texts cannot be "
                         "encoded as they were. Give text_embeddings (--text-embeddings) of the same kind.")
    if len(texts) != len(keys):
        raise InputError(f"{len(keys)} new items came with {len(texts)} texts; expected one for each.")
    blank = [key for key, text in zip(keys, texts) if not isinstance(text, str) or not text.strip()]
    if blank:
        more = f" and {len(blank) - N_NAMED} more" if len(blank) > N_NAMED else ""
        raise InputError(f"{len(blank)} of {len(keys)} new items have no text: {', '.join(map(repr, blank[:N_NAMED]))}{more}. Expected a "
                         "word at least for each; nothing else says what they are.")
    return encode_texts(texts, settings["text_encoder"], device=device, show_progress=show_progress)


def _moved(network, device):
    try:
        return network.to(device), torch.device(device)
    except (RuntimeError, AssertionError) as error:  # no device is called so; there is none here
        raise InputError(f"device is {device!r}, which torch cannot use ({str(error).splitlines()[0]}). Give cpu, or one that is "
                         "there.") from error


def _check_count(name, value):
    if not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} is {value!r}; expected a whole number of at least 1.")


def _listed(values, what="item keys"):
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__"):
        raise InputError(f"expected a list of {what}, got {values!r:.100}.")
    return values


def item_key(key):
    """Item keys are text; a whole number stands for its digits."""
    if isinstance(key, bool) or not isinstance(key, (str, Integral)):
        raise InputError(f"expected item keys as text, got {key!r:.100}.")
    check_text(key, "an item key")
    return str(key)
