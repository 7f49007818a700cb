"""PRORec as RecBole sees it: calculate_loss, predict, full_sort_predict."""

from recbole_prorec.errors import InputError
from recbole_prorec.generation.decoder import code_log_probs, code_losses
from recbole_prorec.generation.distillation import Teacher
from recbole_prorec.model.generative import ALIGNMENT, GENERATION, GenerativeRecommender
from recbole_prorec.model.ranking import PRORecRanking, encoder_arguments, last
from recbole_prorec.model.settings import as_list, check_settings
from recbole_prorec.nn.seen import each_once
from recbole_prorec.tokenizer.alignment import AlignmentModel
from recbole_prorec.tokenizer.whitening import Whitening


class PRORec(PRORecRanking, GenerativeRecommender):
    """Progressive collaborative and semantic knowledge fusion for generative recommendation (arXiv 2502.06269).

    Holds the networks of both stages and what stage 1 hands to stage 2 (aligned embeddings and codes, as buffers), so that a
    checkpoint is the whole model. `stage` says which of the two is trained and scored; a trained model is in `generation`, or, of
    `ranking: stage1`, in `alignment`.
    """

    _teacher = None

    def __init__(self, config, dataset):
        super().__init__(config, dataset, check_settings)
        self.alignment_weight, self.distillation_weight = config["alignment_weight"], config["distillation_weight"]
        self.aligner = AlignmentModel(self.n_items, config["text_embedding_size"], config["hidden_size"], config["alignment_temperature"],
                                      config["text_dropout_prob"], config["collaborative_dropout_prob"],
                                      config["alignment_input"] == "both", encoder_arguments(config))
        self.add_ranking(config, _excludes_seen(config, dataset))
        if self.ranking == "stage1":
            self.stage = ALIGNMENT  # and it stays there
        self.longest_list = max(as_list(config["topk"]))
        self.text_whitening = config["text_whitening"]
        self.text = self.whitening = None  # [n_items, D_text], given by the trainer for stage 1 alone, and what was done to them

    # What the stages hand on

    def begin_alignment(self, text):
        """text [n_items, D_text], row 0 zero. While stage 1 is trained its adaptation layer reads it as `text_whitening` says."""
        self.whitening = Whitening(text[1:], self.text_whitening) if self.text_whitening else None
        self.text, self.stage = self.whitening(text) if self.whitening else text, ALIGNMENT
        self.forget()

    def end_alignment(self, aligned):
        """aligned [n_items, 2 D] = [E_C, E_T]: what stage 1 made, in the place of the text, which the adaptation layer
        reads as it is from now on."""
        self.aligned.copy_(aligned)
        if self.whitening:
            self.whitening.fold_into(self.aligner.adapter.project)
        self.text = self.whitening = None
        self.forget()

    def begin_generation(self, codes, aligned):
        """codes [n_items, L], aligned [n_items, 2 D] = [E_C, E_T]: what stage 1 made. The generator starts from stage 1's encoder."""
        self.codes.copy_(codes)
        self.end_alignment(aligned)
        self.generator.start_from(self.aligner.encoder, (1.0, 1.0 if self.text_as_input else 0.0), self.codes, self.aligned)
        self.stage = GENERATION
        self.forget()

    @property
    def teacher(self):
        """Stage 1, frozen, for the distillation in stage 2."""
        if self._teacher is None:
            self._teacher = Teacher(self.aligner.encoder, self.integrated, self.trie, bool(self.exclude_seen))
        return self._teacher

    def forget(self):
        super().forget()
        self._teacher = None

    def parts(self):
        """The parameters that the current stage trains, those that come warm from stage 1 apart from the new ones."""
        if self.stage == ALIGNMENT:
            return [], list(self.aligner.parameters())
        warm = [self.generator.encoder, self.generator.project]
        new = [self.generator.code_embedding, self.generator.decoder]
        return [p for m in warm for p in m.parameters()], [p for m in new for p in m.parameters()]

    # RecBole's contract

    def calculate_loss(self, batch):
        """batch: inputs and targets [B, T] as `WindowBatches` gives them, or one of RecBole's own interactions.

        Returns:
            Weighted losses, to be summed: (next item, alignment) in stage 1, (generation, distillation) in stage 2.
        """
        inputs, targets = self._windows(batch)
        if self.stage == ALIGNMENT:
            next_item, align = self.aligner.losses(inputs, targets, self.text, bool(self.exclude_seen))
            return next_item, self.alignment_weight * align
        wanted = targets > 0
        embedded = self.generator.item_table(self.codes[inputs], self.aligned[inputs])
        states, items = self.generator(embedded)[wanted], targets[wanted]
        weight = self.distillation_weight
        soft_targets = self.teacher.soft_targets(batch, inputs, targets) if weight else None
        hard, soft = code_losses(self.decoder, self.trie, states, items, soft_targets)
        return (1 - weight) * hard, weight * soft

    def predict(self, interaction):
        """log p of the interaction's item, exact whatever the beam: [B]; -inf where it is excluded."""
        history, items = self._history(interaction), interaction[self.ITEM_ID]
        states = self.user_states(*history)
        if self.stage == ALIGNMENT:
            scores = (states * self.item_table()[items]).sum(-1)
        else:
            scores = code_log_probs(self.decoder, self.trie, states, items)
            if self.ranking == "fused":
                scores = scores + self.fusion_weight * self.stage1_log_probs(*history).gather(1, items.unsqueeze(1)).squeeze(1)
        is_excluded = (history[0] == items.unsqueeze(1)).any(1) & self.exclude_seen
        return scores.masked_fill(is_excluded, float("-inf"))

    def full_sort_predict(self, interaction):
        """Scores of all items, flat [B * n_items]; -inf for items that are excluded or not among the beam_size that are found."""
        history = self._history(interaction)
        self._check_open_items(history[0])
        if self.stage == ALIGNMENT:
            return self.without_seen(self.user_states(*history) @ self.item_table().T, history[0]).flatten()
        return self.rank(*history).flatten()

    def _check_open_items(self, inputs):
        """Refuse a list that would have to be filled with items of the history: RecBole takes them, at -inf, and counts them as found."""
        if self.n_items - 1 - inputs.shape[1] >= self.longest_list or not self.exclude_seen:
            return
        n_open = self.n_items - 1 - int((each_once(inputs) > 0).sum(1).max())
        if n_open < self.longest_list:
            raise InputError(f"topk asks for {self.longest_list} items, but exclude_seen leaves out those of the history, and one history "
                             f"leaves {n_open} of {self.n_items - 1}. Lower topk, or set exclude_seen to False.")

    # Inference, as far as it is not PRORecRanking's

    def states(self, interaction):
        """The user state behind the last item: [B, D]."""
        return self.user_states(*self._history(interaction))

    def _history(self, interaction):
        return interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]

    def user_states(self, inputs, lengths):
        if self.stage == ALIGNMENT:
            return last(self.aligner(inputs[:, : int(lengths.max())], self.item_table()), lengths)
        return super().user_states(inputs, lengths)

    def make_table(self):
        if self.stage == ALIGNMENT:
            return self.aligner.item_table(self.aligned.chunk(2, dim=1)[1] if self.text is None else self.aligner.adapted(self.text))
        return super().make_table()


def _excludes_seen(config, dataset):
    """`exclude_seen` of the settings; of `auto`, whether no item is ever chosen again in the training data."""
    return bool(repeated_targets(dataset) == 0 if config["exclude_seen"] == "auto" else config["exclude_seen"])


def repeated_targets(dataset):
    """How many targets of the training data are items of their history."""
    rows = dataset.inter_feat
    return int((rows[dataset.item_id_list_field] == rows[dataset.iid_field].unsqueeze(1)).any(1).sum())
