"""PRORec as RecBole sees it: calculate_loss, predict, full_sort_predict."""

import torch

from recbole_prorec.generation.beam_search import beam_search, score_all
from recbole_prorec.generation.decoder import code_log_probs, code_losses
from recbole_prorec.generation.generator import Generator
from recbole_prorec.model.distillation import DistillationHeads
from recbole_prorec.model.generative import ALIGNMENT, GENERATION, GenerativeRecommender
from recbole_prorec.model.settings import check_settings
from recbole_prorec.tokenizer.alignment import AlignmentModel

SCORED_AT_ONCE = 64  # users of an exact scoring of all items: bounds the decoder's cache


class PRORec(GenerativeRecommender):
    """Progressive collaborative and semantic knowledge fusion for generative recommendation (arXiv 2502.06269).

    Holds the networks of both stages and what stage 1 hands to stage 2 (aligned embeddings and codes, as buffers), so that a
    checkpoint is the whole model. `stage` says which of the two is trained and scored; a trained model is in `generation`.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset, check_settings)
        width, self.ranking, self.fusion_scope = config["hidden_size"], config["ranking"], config["fusion_scope"]
        self.weights = {key: config[key + "_weight"] for key in ("alignment", "distillation", "soft_target")}
        encoder = {"n_layers": config["n_layers"], "n_heads": config["n_heads"], "inner_size": config["inner_size"],
                   "max_length": self.max_seq_length, "attention_dropout": config["attn_dropout_prob"],
                   "hidden_dropout": config["hidden_dropout_prob"]}
        decoder = {"n_layers": config["decoder_layers"], "n_heads": config["decoder_heads"], "inner_size": config["decoder_inner_size"],
                   "attention_dropout": config["decoder_dropout_prob"], "hidden_dropout": config["decoder_dropout_prob"]}
        self.aligner = AlignmentModel(self.n_items, config["text_embedding_size"], width, config["alignment_temperature"],
                                      config["text_dropout_prob"], config["alignment_input"] == "both", encoder)
        self.generator = Generator(self.n_levels, self.codebook_size, width, encoder, config["decoder_size"], decoder)
        self.heads = DistillationHeads(width)
        self.register_buffer("aligned", torch.zeros(self.n_items, 2 * width))
        self.add_codes()
        self.register_buffer("fusion_weight", torch.tensor(1.0))
        self.text = None  # [n_items, D_text], given by the trainer for stage 1 alone
        self._table = None

    # What the stages hand on

    def begin_alignment(self, text):
        """text [n_items, D_text], row 0 zero."""
        self.text, self.stage = text, ALIGNMENT
        self.forget()

    def begin_generation(self, codes, aligned):
        """codes [n_items, L], aligned [n_items, 2 D] = [E_C, E_T]: what stage 1 made. The generator starts from stage 1's encoder."""
        self.codes.copy_(codes)
        self.aligned.copy_(aligned)
        weights = (1.0, 1.0 if self.aligner.text_as_input else 0.0)
        self.generator.start_from(self.aligner.encoder, weights)
        self.heads.start_from(weights)
        self.text, self.stage = None, GENERATION
        self.forget()

    def forget(self):
        super().forget()
        self._table = None

    def train(self, mode=True):
        self._table = None
        return super().train(mode)

    @property
    def decoder(self):
        return self.generator.decoder

    def parts(self):
        """The parameters that the current stage trains, those that come warm from stage 1 apart from the new ones."""
        if self.stage == ALIGNMENT:
            return [], list(self.aligner.parameters())
        warm = [self.generator.encoder, self.generator.project, self.heads]
        new = [self.generator.code_embedding, self.generator.decoder]
        return [p for m in warm for p in m.parameters()], [p for m in new for p in m.parameters()]

    # RecBole's contract

    def calculate_loss(self, batch):
        """batch: inputs and targets [B, T] as `WindowBatches` gives them, or one of RecBole's own interactions.

        Returns:
            Weighted losses, to be summed: (next item, alignment) in stage 1, (hard codes, soft codes, distillation) in stage 2.
        """
        inputs, targets = self._windows(batch)
        if self.stage == ALIGNMENT:
            next_item, align = self.aligner.losses(inputs, targets, self.text)
            return next_item, self.weights["alignment"] * align
        wanted = targets > 0
        states, items = self.generator(inputs, self.item_table())[wanted], targets[wanted]
        distil = self.heads.loss(states, self.aligned, items)
        soft_weight, teacher = self.weights["soft_target"], None
        if soft_weight:
            with torch.no_grad():
                teacher = self.heads.log_probs(states, self.aligned)
        hard, soft = code_losses(self.decoder, self.trie, states, items, teacher)
        return (1 - soft_weight) * hard, soft_weight * soft, self.weights["distillation"] * distil

    def predict(self, interaction):
        """log p of the interaction's item, exact whatever the beam: [B]."""
        states, items = self.states(interaction), interaction[self.ITEM_ID]
        if self.stage == ALIGNMENT:
            return (states * self.item_table()[items]).sum(-1)
        scores = code_log_probs(self.decoder, self.trie, states, items)
        if self.ranking == "fused":
            scores = scores + self.fusion_weight * self.heads.log_probs(states, self.aligned).gather(1, items.unsqueeze(1)).squeeze(1)
        return scores

    def full_sort_predict(self, interaction):
        """Scores of all items, flat [B * n_items]; -inf for items that the beam did not reach."""
        states = self.states(interaction)
        if self.stage == ALIGNMENT:
            return (states @ self.item_table().T).flatten()
        return self.rank(states).flatten()

    # Inference

    def states(self, interaction):
        """The user state behind the last item: [B, D]."""
        inputs, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        inputs = inputs[:, : int(lengths.max())]
        network = self.aligner if self.stage == ALIGNMENT else self.generator
        return self.gather_indexes(network(inputs, self.item_table()), lengths - 1)

    def rank(self, states):
        """Scores [B, n_items] of user states [B, D], by `ranking` and `fusion_scope`."""
        if self.ranking == "generative":
            return self.beam_scores(states)
        if self.fusion_scope == "all":
            return self.code_scores(states) + self.fusion_weight * self.heads.log_probs(states, self.aligned)
        items, log_probs = beam_search(self.decoder, states, self.trie, self.beam_size)
        return self._scatter(items, log_probs + self.fusion_weight * self.beam_head_scores(states, items))

    def beam_head_scores(self, states, items):
        """The heads' scores of the beam's items [B, M], up to a constant per row, at a cost independent of the catalogue."""
        return torch.einsum("bd,bmd->bm", self.heads(states), self.aligned[items])

    def code_scores(self, states):
        """Exact log-probabilities of all items: [B, n_items]."""
        return torch.cat([score_all(self.decoder, some, self.trie) for some in states.split(SCORED_AT_ONCE)])

    def item_table(self):
        """What the current stage's encoder reads [n_items, D]; computed once in evaluation."""
        if self.training or torch.is_grad_enabled():  # a kept table would hold a graph, and no model with one can be copied
            return self._make_table()
        if self._table is None:
            self._table = self._make_table()
        return self._table

    def _make_table(self):
        if self.stage == ALIGNMENT:
            return self.aligner.item_table(self.aligner.adapted(self.text))
        return self.generator.item_table(self.codes, self.aligned)
