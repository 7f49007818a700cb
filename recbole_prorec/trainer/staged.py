"""Stages in order inside one RecBole fit(), each kept as an artifact, so that a run goes on where the last one stopped."""

import contextlib
import copy
import itertools
import os

import faiss
import numpy as np
import torch
from recbole.trainer import Trainer
from recbole.utils import set_color
from torch.utils.tensorboard import SummaryWriter

from recbole_prorec.artifacts import ArtifactStore, fingerprint, unusable, whole_file, writable_folder, writing_to
from recbole_prorec.data.histories import Histories, WindowBatches
from recbole_prorec.errors import InputError
from recbole_prorec.model.generative import GENERATION
from recbole_prorec.nn.matmul import fast_matmul
from recbole_prorec.nn.memory import keep_pages
from recbole_prorec.text.encoder import text_embeddings_by
from recbole_prorec.tokenizer.quantizer import make_quantizer, quantize
from recbole_prorec.tokenizer.semantic_ids import SemanticIds
from recbole_prorec.trainer.average import WeightAverage
from recbole_prorec.trainer.decay import LearningRateDecay
from recbole_prorec.trainer.one_kernel import in_one_kernel
from recbole_prorec.trainer.stages import VERSIONS, finished, progress_of, restore


class StagedTrainer(Trainer):
    """What the trainers of codes share; a subclass says in `prepare` which stages come before generation.

    Every stage's artifact lies in `cache_dir` under a fingerprint of the settings, data, seed and versions that it depends on. Randomness
    is drawn anew from (seed, stage, epoch) at every epoch, so that a run that was killed and started again ends as one that was not.
    """

    settings = {}  # stage -> names of the settings that it reads itself
    weights = {}  # stage -> prefixes of the weights that it trains
    generation_title = "generation"

    def __init__(self, config, model):
        writable_folder(config["checkpoint_dir"], "checkpoint_dir")  # RecBole would find out when it is trained
        super().__init__(config, model)
        self.fit_settings = {"epochs": self.epochs, "learning_rate": self.learning_rate, "stopping_step": self.stopping_step}
        self.tensorboard_folder = getattr(self.tensorboard, "log_dir", None)
        self.resumed_from = self.step_hook = None
        self.saved_model_file = _unused(self.saved_model_file)  # RecBole names it by the second

    def prepare(self, dataset, data_key):
        """Run the stages before generation and hand the model what they made; returns its keys by name, or None if they are all."""
        raise NotImplementedError

    def finish(self, valid_data, show_progress):
        """What follows generation."""

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """As RecBole's, which it returns for the last stage."""
        self.run = {"train_data": train_data, "valid_data": valid_data, "verbose": verbose, "show_progress": show_progress}
        dataset = train_data._dataset
        self.histories = Histories.from_dataset(dataset)
        if self.histories.n_targets == 0:
            raise InputError("no user has a training target: leave-one-out needs at least 3 interactions of a user. Loosen the filters, or "
                             "use a larger data set.")
        self.eval_collector.data_collect(train_data)  # RecBole's fit does it too, but where every stage is finished nothing calls that
        keep_pages(self.device)
        if self.resumed_from is None:
            self.store = ArtifactStore(self.config["cache_dir"])
            data_key = fingerprint({"train": vars(self.histories), "valid": _rows(valid_data)})
            made_from = self.prepare(dataset, data_key)
            if made_from is not None:
                self.heading(f"Stage 2, {self.generation_title}")
                self.begin_stage(GENERATION, fresh=True)
                self.train_stage(GENERATION, self.key(GENERATION, **made_from), saved, callback_fn)
        else:  # the checkpoint holds what the stages before made
            self.heading(f"Stage 2, generation, resumed from {self.resumed_from}")
            self.begin_stage(GENERATION, fresh=False)
            self.train_stage(GENERATION, None, saved, callback_fn)
        self.finish(valid_data, show_progress)
        if saved:
            self.cur_step = 0  # as at the best epoch, whose weights these are
            self._save_checkpoint(self.best_epoch, verbose=verbose)
        return self.best_valid_score, self.best_valid_result

    def resume_checkpoint(self, resume_file):
        super().resume_checkpoint(resume_file)
        in_one_kernel(self.optimizer, self.device)  # the file's may be of another device
        self.resumed_from = resume_file

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        """RecBole's, whole or not there: one that is killed while it writes leaves the file of before."""
        file = kwargs.pop("saved_model_file", self.saved_model_file)
        try:
            with whole_file(file) as opened:
                super()._save_checkpoint(epoch, verbose=False, saved_model_file=opened, **kwargs)
        except (OSError, RuntimeError) as error:  # RuntimeError: how torch says that the disk is full
            cause = f"{error}, while {file} was written; finished stages are kept in {self.config['cache_dir']}"
            raise unusable(self.checkpoint_dir, "checkpoint_dir", cause) from error
        if verbose:
            self.logger.info(f"{set_color('Saving current', 'blue')}: {file}")

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        with _numpy_seed(self.config["seed"]):  # uniN draws the same items whatever ran before
            return super().evaluate(eval_data, load_best_model, model_file, show_progress)

    def _valid_epoch(self, valid_data, show_progress=False):
        """For RecBole's early stopping, which takes a tie for an improvement, so that, of scores with four digits, a flat curve would
        never end: a tie with the best comes back a hair worse."""
        score, result = self.validate(valid_data, show_progress)
        if score == self.best_valid_score:
            score = np.nextafter(score, -np.inf if self.valid_metric_bigger else np.inf)
        return score, result

    def validate(self, valid_data, show_progress=False):
        """(score, metrics), the score as it is."""
        return super()._valid_epoch(valid_data, show_progress=show_progress)

    # What several subclasses do

    def text(self, dataset):
        """Text embeddings [n_items, D_text], row 0 zero, and their key."""
        item_file = os.path.join(dataset.dataset_path, f"{dataset.dataset_name}.item")
        item_keys = dataset.field2id_token[dataset.iid_field].tolist()
        text, key = text_embeddings_by(self.config, self.store, item_keys, item_file, self.device, self.run["show_progress"])
        return torch.from_numpy(text).to(self.device), key

    def quantization(self, dataset, make_vectors, title, **inputs):
        """make_vectors() [n_items, D], called unless the codes are there already -> codes [n_items, L], their key.

        Args:
            title: what the vectors are. inputs: keys of what they were made from.
        """
        config, model = self.config, self.model
        key = self.key("quantization", **inputs)
        kept = self.store.load("codes", key)
        if kept is None:
            quantizer = make_quantizer(config["quantizer"], config["n_levels"], model.codebook_size, config["seed"], config["rqvae_epochs"],
                                       self.device)
            with fast_matmul(self.device):
                codes, report = quantize(make_vectors()[1:].cpu().numpy(), quantizer)
            codes = np.concatenate([np.zeros((1, model.n_levels), np.int64), codes])
            kept = {"codes": codes, "codebooks": quantizer.codebooks}, report
            self.store.save("codes", key, *kept)
        arrays, report = kept
        model.codebooks = torch.from_numpy(arrays["codebooks"])
        semantic_ids = SemanticIds(dataset.field2id_token[dataset.iid_field], arrays["codes"], model.codebook_size)
        with writing_to(self.store.folder, "cache_dir"):
            semantic_ids.save(self.store.folder / f"semantic-ids-{key}.json")
        self.heading(f"Stage 1b, quantization of the {title} by {config['quantizer']}: {config['n_levels']} levels x {model.codebook_size} "
                     f"codes" + self._fewer_codes() + f"; used {report['used']}, entropy {report['entropy']} bits, share of variance left "
                     f"{[round(error, 3) for error in report['error']]}, {report['collisions']} items in collisions, resolved")
        return torch.from_numpy(arrays["codes"]), key

    def _fewer_codes(self):
        asked = self.config["codebook_size"]
        return f" (not {asked}: too many for {self.model.n_items - 1} items)" if self.model.codebook_size < asked else ""

    # One stage

    def begin_stage(self, stage, fresh):
        """Set what RecBole's fit reads to the stage's own."""
        for name, value in self.fit_settings.items():
            setattr(self, name, value if stage == GENERATION else self.config[f"{stage}_{name}"])
        self.eval_step = min(self.config["eval_step"], self.epochs)
        if self.tensorboard_folder is not None:
            self.tensorboard = SummaryWriter(os.path.join(self.tensorboard_folder, stage))
        self.model.zero_grad()  # of the stage before, which clip_grad_norm would count
        if fresh:
            self.start_epoch, self.cur_step, self.best_valid_result = 0, 0, None
            self.best_valid_score = -np.inf if self.valid_metric_bigger else np.inf
            self.optimizer = self._build_optimizer()
        self._begin_curve(stage, fresh)
        trained = {name: weight for name, weight in self.model.named_parameters() if name.startswith(self.weights[stage])}
        self.average = WeightAverage(trained, self.config["average_decay"])
        if not fresh:
            self.average.step = self.start_epoch * len(self.batches(self.config["seed"]))  # a RecBole checkpoint does not say it
        self.decay = LearningRateDecay(self.optimizer, self.config["learning_rate_decay"])
        if self.step_hook is not None:
            self.step_hook.remove()
        self.step_hook = self.optimizer.register_step_post_hook(self._after_step)
        validated = self.run["valid_data"] and self.eval_step > 0
        self.best_epoch, self.best_state, self.best_optimizer = self.start_epoch - 1, None, None
        if validated and not fresh:
            self._keep_best(self.best_epoch)

    def _build_optimizer(self, **kwargs):
        return in_one_kernel(super()._build_optimizer(**kwargs), self.device)

    def _after_step(self, *_):
        self.average.update()
        self.decay.step()

    def _begin_curve(self, stage, fresh):
        """The stage's epochs, as the model and its checkpoints have them; those behind a resumed checkpoint are trained again."""
        self.curve = [] if fresh else [point for point in self.model.curves.get(stage, []) if point["epoch"] < self.start_epoch]
        if self.curve and self.curve[-1]["valid_score"] is None and np.isfinite(self.best_valid_score):
            self.curve[-1]["valid_score"] = float(self.best_valid_score)  # RecBole writes a checkpoint before it tells us the score
        self.model.curves = {**self.model.curves, stage: self.curve}

    def train_stage(self, stage, key, saved=False, callback_fn=None):
        """RecBole's own fit over the stage's epochs, from where `key`'s artifact left off, to the best epoch's weights."""
        state = self.store.load_state(stage, key) if key else None
        if state is not None:
            restore(self, state)
            self.heading("finished in an earlier run" if state["finished"] else f"resumed after epoch {state['epoch']} of an earlier run")
        if state is None or not state["finished"]:
            def after_epoch(epoch, valid_score):
                self.curve[-1]["valid_score"] = float(valid_score)
                if self.cur_step == 0:
                    self._keep_best(epoch)
                if key:
                    self.store.save_state(stage, key, progress_of(self, epoch, finished(self, epoch)))
                if callback_fn:
                    callback_fn(epoch, valid_score)

            super().fit(**self.run, saved=saved, callback_fn=after_epoch)
            if self.best_state is None:  # without validation the last epoch is the best
                self._keep_best(self.epochs - 1)
            if key:
                self.store.save_state(stage, key, progress_of(self, self.epochs - 1, True))
        self.model.load_state_dict(self.best_state, strict=False)
        if self.best_optimizer is not None:
            self.optimizer.load_state_dict(self.best_optimizer)

    def _keep_best(self, epoch):
        self.best_epoch, self.best_state = epoch, self.stage_state()
        if self.model.stage == GENERATION:  # a checkpoint of the whole model goes on from there
            self.best_optimizer = copy.deepcopy(self.optimizer.state_dict())

    def stage_state(self):
        """A copy of the weights that the stage trains."""
        prefixes = self.weights[self.model.stage]
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items() if name.startswith(prefixes)}

    def batches(self, seed):
        """One epoch's batches: every position of every history."""
        config = self.config
        return WindowBatches(self.histories, config["MAX_ITEM_LIST_LENGTH"], config["window_stride"], config["train_batch_size"],
                             self.device, seed)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        seed = int(fingerprint({"seed": self.config["seed"], "stage": self.model.stage, "epoch": epoch_idx})[:8], 16)
        torch.manual_seed(seed)
        batches = self.batches(seed)
        self.decay.begin_epoch(epoch_idx, len(batches), self.epochs)
        with self.average.training():
            losses = super()._train_epoch(batches, epoch_idx, loss_func, show_progress)
        parts = losses if isinstance(losses, tuple) else (losses,)
        self.curve.append({"epoch": epoch_idx, "losses": [float(part) / len(batches) for part in parts], "valid_score": None})
        return losses

    def key(self, stage, **inputs):
        settings = {name: self.config[name] for name in self.settings[stage]}
        versions = {"recbole_prorec": VERSIONS[stage], "torch": torch.__version__, "faiss": faiss.__version__, "device": self.device.type}
        return fingerprint({"settings": settings, "versions": versions, **inputs})

    def heading(self, text):
        if self.run["verbose"]:
            self.logger.info(text)


def _unused(file):
    """`file`, or where it is there already its name with a number."""
    stem, suffix = os.path.splitext(file)
    names = (file if number == 1 else f"{stem}-{number}{suffix}" for number in itertools.count(1))
    return next(name for name in names if not os.path.exists(name))


@contextlib.contextmanager
def _numpy_seed(seed):
    """NumPy's random numbers begin at `seed` within the block, and go on behind it as if it had not been."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _rows(loader):
    """The evaluation rows of a loader, and what else decides which negatives they get, as a fingerprint takes them."""
    if loader is None:
        return None
    rows, sampler = dict(loader._dataset.inter_feat.interaction), loader._sampler
    if getattr(sampler, "distribution", None) == "popularity":  # which RecBole counts over all data, the test set's too
        rows["popularity"] = [sampler.prob, sampler.alias]
    return rows
