"""What the models that generate codes share as recommenders: the codes, their trie, and scores of all items out of a beam."""

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

from recbole_prorec.data.histories import INPUTS, TARGETS
from recbole_prorec.generation.beam_search import beam_search
from recbole_prorec.generation.trie import Trie
from recbole_prorec.tokenizer.residual_kmeans import fitting_codebook_size

ALIGNMENT, GENERATION = "alignment", "generation"


class GenerativeRecommender(SequentialRecommender):
    """Holds the codes as a buffer, so that a checkpoint is the whole model. A subclass has a `decoder` and adds RecBole's contract.

    `stage` says what is trained and scored; a trained model is in `generation`.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config, dataset, check_settings):
        """check_settings(config, n_items) refuses what cannot work, before anything is built from it."""
        super().__init__(config, dataset)
        check_settings(config, self.n_items)
        self.beam_size = min(config["beam_size"], self.n_items - 1)
        self.codebook_size = fitting_codebook_size(config["codebook_size"], self.n_items - 1)
        self.n_levels = config["n_levels"] + 1  # the last one tells collisions apart
        self.stage, self._trie = GENERATION, None

    def add_codes(self):
        """The buffer of codes, filled with placeholders, so that an untrained model works."""
        self.register_buffer("codes", placeholder_codes(self.n_items, self.n_levels, self.codebook_size))
        self.register_load_state_dict_post_hook(_forget)

    def forget(self):
        """Drop what is derived from parameters and buffers."""
        self._trie = None

    def _apply(self, fn, recurse=True):  # every move to another device or dtype comes through here
        self.forget()
        return super()._apply(fn, recurse)

    @property
    def trie(self):
        if self._trie is None:
            self._trie = Trie(self.codes)
        return self._trie

    def beam_scores(self, states):
        """Log-probabilities of the beam's items, -inf elsewhere: [B, n_items]."""
        return self._scatter(*beam_search(self.decoder, states, self.trie, self.beam_size))

    def _scatter(self, items, scores):
        return scores.new_full((len(items), self.n_items), float("-inf")).scatter_(1, items, scores)

    def _windows(self, batch):
        """inputs, targets [B, T] of what `WindowBatches` gives, or of one of RecBole's own interactions."""
        if INPUTS in batch:
            return batch[INPUTS], batch[TARGETS]
        inputs, lengths = batch[self.ITEM_SEQ], batch[self.ITEM_SEQ_LEN]
        return inputs, torch.zeros_like(inputs).scatter_(1, lengths.unsqueeze(1) - 1, batch[self.POS_ITEM_ID].unsqueeze(1))


def _forget(model, incompatible_keys):
    """A hook of torch's; a function of the module, because a lambda could not be pickled with the model."""
    model.forget()


def placeholder_codes(n_items, n_levels, codebook_size):
    """The digits of the item id, [n_items, L]: unique codes before there are real ones."""
    ids = np.maximum(np.arange(n_items) - 1, 0)
    digits = [ids // codebook_size**power % codebook_size for power in reversed(range(n_levels))]
    return torch.from_numpy(np.stack(digits, axis=1))
