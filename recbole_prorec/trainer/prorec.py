"""PRORec's stages: text, alignment, codes, generation, fusion weight."""

import torch

from recbole_prorec.errors import InputError
from recbole_prorec.model.generative import ALIGNMENT, GENERATION
from recbole_prorec.model.prorec import repeated_targets
from recbole_prorec.tokenizer.alignment import integrated_embedding
from recbole_prorec.trainer.staged import StagedTrainer
from recbole_prorec.trainer.stages import PROREC_SETTINGS

FUSION_WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


class PRORecTrainer(StagedTrainer):
    """Text -> alignment -> codes -> generation -> fusion weight.

    The epochs of generation are chosen by the generative ranking whatever `ranking` is: both rankings are of one training.
    """

    settings = PROREC_SETTINGS
    weights = {ALIGNMENT: ("aligner.",), GENERATION: ("generator.",)}
    generation_title = "generation with distillation"

    def __init__(self, config, model):
        super().__init__(config, model)
        self.ranking = config["ranking"]
        self.built_for = config["text_embedding_size"]  # what is drawn behind the layer of this width depends on it

    def prepare(self, dataset, data_key):
        text, text_key = self.text(dataset)
        pair, alignment_key = self._alignment(dataset, text, text_key, data_key)
        if self.ranking == "stage1":
            self.model.end_alignment(pair)
            return None
        kind = self.config["integrated_embedding"]
        inputs = {"text": text_key} if kind == "semantic" else {"alignment": alignment_key, "integrated_embedding": kind}
        codes, codes_key = self.quantization(dataset, lambda: integrated_embedding(kind, *pair.chunk(2, dim=1), text),
                                             f"{kind} embedding", **inputs)
        self.model.begin_generation(codes.to(self.device), pair)
        return {"codes": codes_key, "alignment": alignment_key}

    def resume_checkpoint(self, resume_file):
        if self.ranking == "stage1":
            raise InputError("with ranking: stage1 there is no stage 2 to be resumed. Train by the settings alone; what is done is found "
                             "in cache_dir.")
        try:
            super().resume_checkpoint(resume_file)
        except ValueError as error:  # torch's: an optimizer of other parts
            raise InputError(f"{resume_file} cannot be resumed ({error}): as of ranking: stage1, it holds no stage 2.") from error

    def begin_stage(self, stage, fresh):
        if stage == GENERATION:
            self.model.ranking = "generative"
        super().begin_stage(stage, fresh)
        if not fresh and self.run["valid_data"]:  # a checkpoint's score is of its own ranking
            self.best_valid_score, self.best_valid_result = self.validate(self.run["valid_data"])

    def _train_epoch(self, *args, **kwargs):
        model = self.model
        if model.stage == GENERATION and model.distillation_weight and model.teacher.kept_states is None:
            self._ask_teacher(model.teacher, self.histories.n_targets)
        return super()._train_epoch(*args, **kwargs)

    def _ask_teacher(self, teacher, n_targets):
        self.model.train()
        torch.manual_seed(self.config["seed"])  # for the teacher's dropout, wherever training goes on
        teacher.keep(self.batches(self.config["seed"]), n_targets)
        if teacher.kept is None:
            self.heading("What stage 1 expects of every target is too much to be kept: each step computes its own, which takes longer")

    def finish(self, valid_data, show_progress):
        """Of a few fusion weights, the one with the best validation metric over the beam's items; weight 0 is the generative ranking."""
        self.model.ranking = self.ranking
        if self.ranking != "fused":
            return
        if not valid_data:
            self.heading(f"Fused ranking: no validation data to choose its weight on, which stays {float(self.model.fusion_weight)}")
            return
        scores, scope = {}, self.model.fusion_scope
        self.model.fusion_scope = "beam"  # all items are scored once, with the weight that is chosen, and not once a weight
        with self.model.kept_beams():  # they are the same whatever the weight is
            for weight in FUSION_WEIGHTS:
                self.model.fusion_weight.fill_(weight)
                scores[weight] = self.validate(valid_data, show_progress)
        best = (max if self.valid_metric_bigger else min)(scores, key=lambda weight: scores[weight][0])
        self.model.fusion_weight.fill_(best)
        self.model.fusion_scope = scope
        self.heading(f"Fused ranking, {self.valid_metric} on validation by fusion weight: "
                     + ", ".join(f"{weight}: {score:.4f}" for weight, (score, _) in scores.items()) + f"; {best} is kept")
        self.best_valid_score, self.best_valid_result = self.validate(valid_data, show_progress) if scope == "all" else scores[best]

    def _alignment(self, dataset, text, text_key, data_key):
        """Stage 1 -> [E_C, E_T] [n_items, 2 D] and its key."""
        if text.shape[1] != self.config["text_embedding_size"]:
            self.config["text_embedding_size"] = text.shape[1]  # kept in the checkpoint, so that the model is built in this shape again
            torch.manual_seed(self.config["seed"])  # the new layer depends on nothing that was drawn before
            self.model.aligner.set_text_size(text.shape[1])
        self.model.begin_alignment(text)
        key = self.key(ALIGNMENT, data=data_key, text=text_key, built_for=self.built_for)
        self.heading(f"Stage 1, alignment: {self.histories.n_targets} targets in {len(self.histories.first) - 1} histories; "
                     f"{repeated_targets(dataset)} targets are items of their history, and by exclude_seen: {self.config['exclude_seen']} "
                     f"such items are {'' if self.model.exclude_seen else 'not '}left out")
        self.begin_stage(ALIGNMENT, fresh=True)
        self.train_stage(ALIGNMENT, key)
        self.model.eval()
        return torch.cat(self.model.aligner.embeddings(self.model.text), dim=1), key

    def _build_optimizer(self, **kwargs):
        """RecBole's, with a learning rate of their own for the parts that come warm from stage 1."""
        warm, new = self.model.parts()
        groups = [{"params": warm, "lr": self.config["warm_learning_rate"]}] if warm else []
        return super()._build_optimizer(params=[*groups, {"params": new}], **kwargs)
