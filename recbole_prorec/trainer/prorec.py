"""PRORec's stages in order inside one RecBole fit(), each kept as an artifact, so that a run goes on where the last one stopped."""

import os

import faiss
import numpy as np
import torch
from recbole.trainer import Trainer
from torch.utils.tensorboard import SummaryWriter

from recbole_prorec.artifacts import ArtifactStore, fingerprint
from recbole_prorec.data.histories import Histories, WindowBatches
from recbole_prorec.errors import InputError
from recbole_prorec.model.prorec import ALIGNMENT, GENERATION
from recbole_prorec.nn.matmul import fast_matmul
from recbole_prorec.text.encoder import text_embeddings
from recbole_prorec.tokenizer.alignment import integrated_embedding
from recbole_prorec.tokenizer.collisions import count_collisions, resolve_collisions
from recbole_prorec.tokenizer.residual_kmeans import ResidualKMeans
from recbole_prorec.tokenizer.semantic_ids import SemanticIds, code_statistics
from recbole_prorec.trainer.stages import SETTINGS, finished, progress_of, restore

VERSION = 1  # raised when a change makes the artifacts of before wrong
FUSION_WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


class PRORecTrainer(Trainer):
    """Text -> alignment -> codes -> generation -> fusion weight. `fit` returns what RecBole's does, for the last stage.

    Every stage's artifact lies in `cache_dir` under a fingerprint of the settings, data, seed and versions that it depends on. Randomness
    is drawn anew from (seed, stage, epoch) at every epoch, so that a run that was killed and started again ends as one that was not.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        self.fit_settings = {"epochs": self.epochs, "learning_rate": self.learning_rate, "stopping_step": self.stopping_step}
        self.tensorboard_folder = getattr(self.tensorboard, "log_dir", None)
        self.resumed_from = None

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        self.run = {"train_data": train_data, "valid_data": valid_data, "verbose": verbose, "show_progress": show_progress}
        dataset = train_data._dataset
        self.histories = Histories.from_dataset(dataset)
        if self.histories.n_targets == 0:
            raise InputError("no user has a training target: leave-one-out needs at least 3 interactions of a user. Loosen the filters, or "
                             "use a larger data set.")
        with fast_matmul(self.device):
            if self.resumed_from is None:
                self.store = ArtifactStore(self.config["cache_dir"])
                data_key = fingerprint({"train": vars(self.histories), "valid": _rows(valid_data)})
                aligned, alignment_key = self._alignment(dataset, data_key)
                codes, codes_key = self._quantization(dataset, aligned, alignment_key)
                self.model.begin_generation(codes.to(self.device), aligned["pair"])
                self._generation(codes_key, saved, callback_fn)
            else:  # the checkpoint holds what the stages before made
                self._heading(f"Stage 2, generation, resumed from {self.resumed_from}")
                self._begin_stage(GENERATION, fresh=False)
                self._train_stage(saved, callback_fn, None, None)
            self._choose_fusion_weight(valid_data, show_progress)
        if saved:
            self._save_checkpoint(self.best_epoch, verbose=verbose)
        return self.best_valid_score, self.best_valid_result

    def resume_checkpoint(self, resume_file):
        super().resume_checkpoint(resume_file)
        self.resumed_from = resume_file

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        with fast_matmul(self.device):
            return super().evaluate(eval_data, load_best_model, model_file, show_progress)

    # The stages

    def _alignment(self, dataset, data_key):
        """Stage 1 -> {"pair": [E_C, E_T] [n_items, 2 D], "text": [n_items, D_text]} and its key."""
        config = self.config
        item_file = os.path.join(dataset.dataset_path, f"{dataset.dataset_name}.item")
        text, text_key = text_embeddings(
            self.store, dataset.field2id_token[dataset.iid_field].tolist(), item_file, config["text_template"], config["text_encoder"],
            config["text_embedding_file"], config["text_batch_size"], self.device, self.run["show_progress"], dataset.iid_field,
            config["field_separator"], config["encoding"] or "utf-8")
        text = torch.from_numpy(text).to(self.device)
        if text.shape[1] != config["text_embedding_size"]:
            config["text_embedding_size"] = text.shape[1]  # kept in the checkpoint, so that the model is built in this shape again
            self.model.aligner.set_text_size(text.shape[1])
        self.model.begin_alignment(text)
        key = self._key(ALIGNMENT, data=data_key, text=text_key)
        self._heading(f"Stage 1, alignment: {self.histories.n_targets} targets in {len(self.histories.first) - 1} histories")
        self._begin_stage(ALIGNMENT, fresh=True)
        self._train_stage(False, None, ALIGNMENT, key)
        self.model.eval()
        pair = torch.cat(self.model.aligner.embeddings(text), dim=1)
        return {"pair": pair, "text": text}, key

    def _quantization(self, dataset, aligned, alignment_key):
        """Stage 1b -> codes [n_items, L], their key."""
        config, model = self.config, self.model
        key = self._key("quantization", alignment=alignment_key)
        kept = self.store.load("codes", key)
        if kept is None:
            collaborative, adapted = aligned["pair"].chunk(2, dim=1)
            vectors = integrated_embedding(config["integrated_embedding"], collaborative, adapted, aligned["text"])[1:].cpu().numpy()
            quantizer = ResidualKMeans(config["n_levels"], model.codebook_size, seed=config["seed"]).fit(vectors)
            raw = quantizer.encode(vectors)
            variance = ((vectors - vectors.mean(0)) ** 2).sum()
            errors = [float(((vectors - quantizer.decode(raw, level + 1)) ** 2).sum() / variance) for level in range(config["n_levels"])]
            report = {**code_statistics(raw, model.codebook_size), "collisions": count_collisions(raw), "error": errors}
            codes = np.concatenate([np.zeros((1, model.n_levels), np.int64), resolve_collisions(raw, model.codebook_size)])
            kept = {"codes": codes, "codebooks": quantizer.codebooks}, report
            self.store.save("codes", key, *kept)
        arrays, report = kept
        self.semantic_ids = SemanticIds(dataset.field2id_token[dataset.iid_field], arrays["codes"], model.codebook_size)
        self.semantic_ids.save(self.store.folder / f"semantic-ids-{key}.json")
        self._heading(f"Stage 1b, quantization of the {config['integrated_embedding']} embedding: {config['n_levels']} levels x "
                      f"{model.codebook_size} codes" + self._fewer_codes() + f"; used {report['used']}, entropy {report['entropy']} bits, share of "
                      f"variance left {[round(error, 3) for error in report['error']]}, {report['collisions']} items in collisions, resolved")
        return torch.from_numpy(arrays["codes"]), key

    def _fewer_codes(self):
        asked = self.config["codebook_size"]
        return f" (not {asked}: too many for {self.model.n_items - 1} items)" if self.model.codebook_size < asked else ""

    def _generation(self, codes_key, saved, callback_fn):
        self._heading("Stage 2, generation with distillation")
        self._begin_stage(GENERATION, fresh=True)
        self._train_stage(saved, callback_fn, GENERATION, self._key(GENERATION, codes=codes_key))

    def _choose_fusion_weight(self, valid_data, show_progress):
        """Of a few weights, the one with the best validation metric."""
        if self.model.ranking != "fused" or not valid_data:
            return
        scores = {}
        for weight in FUSION_WEIGHTS:
            self.model.fusion_weight.fill_(weight)
            scores[weight] = self._valid_epoch(valid_data, show_progress=show_progress)
        best = (max if self.valid_metric_bigger else min)(scores, key=lambda weight: scores[weight][0])
        self.model.fusion_weight.fill_(best)
        self.best_valid_score, self.best_valid_result = scores[best]
        self._heading(f"Fused ranking, {self.valid_metric} on validation by fusion weight: "
                      + ", ".join(f"{weight}: {score:.4f}" for weight, (score, _) in scores.items()) + f"; {best} is kept")

    # One stage

    def _begin_stage(self, stage, fresh):
        """Set what RecBole's fit reads to the stage's own."""
        prefix = "alignment_" if stage == ALIGNMENT else ""
        for name in ("epochs", "learning_rate", "stopping_step"):
            setattr(self, name, self.config[prefix + name] if prefix else self.fit_settings[name])
        self.eval_step = min(self.config["eval_step"], self.epochs)
        if self.tensorboard_folder is not None:
            self.tensorboard = SummaryWriter(os.path.join(self.tensorboard_folder, stage))
        if fresh:
            self.start_epoch, self.cur_step, self.best_valid_result = 0, 0, None
            self.best_valid_score = -np.inf if self.valid_metric_bigger else np.inf
            self.optimizer = self._build_optimizer()
        self.best_epoch, self.best_state = self.start_epoch - 1, None if fresh else self._stage_state()

    def _train_stage(self, saved, callback_fn, stage, key):
        """RecBole's own fit over the stage's epochs, from where `key`'s artifact left off, to the best epoch's weights."""
        state = self.store.load_state(stage, key) if key else None
        if state is not None:
            restore(self, state)
            self._heading("finished in an earlier run" if state["finished"] else f"resumed after epoch {state['epoch']} of an earlier run")
        if state is None or not state["finished"]:
            def after_epoch(epoch, valid_score):
                if self.cur_step == 0:
                    self.best_epoch, self.best_state = epoch, self._stage_state()
                if key:
                    self.store.save_state(stage, key, progress_of(self, epoch, finished(self, epoch)))
                if callback_fn:
                    callback_fn(epoch, valid_score)

            super().fit(**self.run, saved=saved, callback_fn=after_epoch)
            if self.best_state is None:  # without validation the last epoch is the best
                self.best_epoch, self.best_state = self.epochs - 1, self._stage_state()
            if key:
                self.store.save_state(stage, key, progress_of(self, self.epochs - 1, True))
        self.model.load_state_dict(self.best_state, strict=False)

    def _stage_state(self):
        """A copy of the weights that the stage trains."""
        prefixes = ("aligner.",) if self.model.stage == ALIGNMENT else ("generator.", "heads.")
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items() if name.startswith(prefixes)}

    def _build_optimizer(self, **kwargs):
        """RecBole's, with a learning rate of their own for the parts that come warm from stage 1."""
        warm, new = self.model.parts()
        groups = [{"params": warm, "lr": self.config["warm_learning_rate"]}, {"params": new}]
        return super()._build_optimizer(params=[group for group in groups if group["params"]], **kwargs)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        config = self.config
        seed = int(fingerprint({"seed": config["seed"], "stage": self.model.stage, "epoch": epoch_idx})[:8], 16)
        torch.manual_seed(seed)
        batches = WindowBatches(self.histories, config["MAX_ITEM_LIST_LENGTH"], config["window_stride"], config["histories_per_batch"],
                                self.device, seed)
        return super()._train_epoch(batches, epoch_idx, loss_func, show_progress)

    def _key(self, stage, **inputs):
        settings = {name: self.config[name] for name in SETTINGS[stage]}
        versions = {"recbole_prorec": VERSION, "torch": torch.__version__, "faiss": faiss.__version__, "device": self.device.type}
        return fingerprint({"settings": settings, "versions": versions, **inputs})

    def _heading(self, text):
        if self.run["verbose"]:
            self.logger.info(text)


def _rows(loader):
    """The evaluation rows of a loader, as a fingerprint takes them."""
    return None if loader is None else {name: values for name, values in loader._dataset.inter_feat.interaction.items()}
