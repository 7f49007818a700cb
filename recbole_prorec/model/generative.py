"""What the models that generate codes share as recommenders of RecBole's."""

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

from recbole_prorec.data.histories import INPUTS, TARGETS
from recbole_prorec.model.ranking import CodeRanking
from recbole_prorec.tokenizer.residual_kmeans import fitting_codebook_size

ALIGNMENT, GENERATION = "alignment", "generation"


class GenerativeRecommender(CodeRanking, SequentialRecommender):
    """Holds the codes as a buffer and the item keys beside the weights, so that a checkpoint is the whole model. A subclass has a
    `decoder` and adds RecBole's contract.

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
        self.stage = GENERATION
        self.item_keys = [str(key) for key in dataset.field2id_token[dataset.iid_field]]
        self.codebooks = torch.zeros(0)  # [levels, K, E] of the quantizer; what new items get their codes from
        self.curves = {}  # stage -> [{"epoch", "losses": means over its batches, "valid_score" or None}]
        self.other_parameter_name = ["item_keys", "codebooks", "curves"]  # which RecBole keeps in a checkpoint

    def _windows(self, batch):
        """inputs, targets [B, T] of what `WindowBatches` gives, or of one of RecBole's own interactions."""
        if INPUTS in batch:
            return batch[INPUTS], batch[TARGETS]
        inputs, lengths = batch[self.ITEM_SEQ], batch[self.ITEM_SEQ_LEN]
        return inputs, torch.zeros_like(inputs).scatter_(1, lengths.unsqueeze(1) - 1, batch[self.POS_ITEM_ID].unsqueeze(1))
