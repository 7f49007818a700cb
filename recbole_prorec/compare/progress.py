"""A training of RecBole's own, kept epoch by epoch: killed and started again, it ends with the metrics of one that was not.

RecBole itself keeps the best epoch alone, and nothing of the random numbers; the models of this project keep their stages on their own.
"""

import random
import time

import numpy as np
import torch
from recbole.trainer import Trainer

from recbole_prorec.artifacts import ArtifactStore, fingerprint
from recbole_prorec.compare import results
from recbole_prorec.trainer.stages import finished

STAGE = "training"
COUNTING = {"MultiVAE", "MacridVAE", "DiffRec", "LDiffRec"}  # of RecBole, with counters of their training outside of what torch keeps
KEEP_SECONDS = 60  # between two states that are kept; an epoch of a small data set is over sooner than its state is written


class Progress:
    """How far one run's training has come, in a folder, under a fingerprint of all that the run depends on."""

    def __init__(self, folder, run):
        self.conditions = results.conditions(run)  # taken here: the files may have changed since the comparison began
        self.store, self.key = ArtifactStore(folder, setting="--output"), fingerprint(self.conditions)
        self.state = self.store.load_state(STAGE, self.key)
        self.seconds = self.cpu_seconds = 0.0  # spent by the processes before
        self.best = None

    def fit(self, trainer, train_data, valid_data, saved):
        """As trainer.fit, from the last epoch that was kept."""
        if not _is_plain(trainer):
            return trainer.fit(train_data, valid_data, saved=saved, show_progress=False)
        self.started = time.perf_counter(), time.process_time()
        self.kept = self.started[0]
        if self.state is not None:
            self._restore(self.state, trainer, train_data, saved)
            trainer.logger.info(f"Resumed after epoch {self.state['epoch']}, from {self.store.folder}.")
            if self.state["ended"]:
                trainer.eval_collector.data_collect(train_data)  # RecBole's fit does it, which is not called
                return trainer.best_valid_score, trainer.best_valid_result

        def after_epoch(epoch, _):
            if saved and trainer.cur_step == 0:
                self.best = [epoch, _weights(trainer.model)]
            ended = finished(trainer, epoch)
            if ended or time.perf_counter() - self.kept >= KEEP_SECONDS:
                self.store.save_state(STAGE, self.key, self._state(trainer, train_data, epoch, ended))
                self.kept = time.perf_counter()

        return trainer.fit(train_data, valid_data, saved=saved, show_progress=False, callback_fn=after_epoch)

    def forget(self):
        """The run's result is kept: nobody will go on from here."""
        self.store.drop_state(STAGE, self.key)

    def _state(self, trainer, train_data, epoch, ended):
        """All that the remaining epochs depend on."""
        spent = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        return {"epoch": epoch, "ended": ended, "cur_step": int(trainer.cur_step), "best_valid_score": float(trainer.best_valid_score),
                "best_valid_result": {name: float(value) for name, value in (trainer.best_valid_result or {}).items()},
                "model": _weights(trainer.model), "optimizer": trainer.optimizer.state_dict(), "best": self.best,
                "random": _random_state(train_data), "seconds": self.seconds + spent[0], "cpu_seconds": self.cpu_seconds + spent[1]}

    def _restore(self, state, trainer, train_data, saved):
        self.seconds, self.cpu_seconds = state["seconds"], state["cpu_seconds"]
        self.best = state["best"]
        if saved and self.best:  # RecBole tests the weights of its checkpoint, which went with the process
            _load_weights(trainer.model, self.best[1])
            trainer._save_checkpoint(self.best[0], verbose=False)
        _load_weights(trainer.model, state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        for name in ("cur_step", "best_valid_score", "best_valid_result"):
            setattr(trainer, name, state[name])
        trainer.start_epoch = state["epoch"] + 1
        _set_random_state(state["random"], train_data)


def _is_plain(trainer):
    """Whether RecBole's plain loop over the epochs trains it, whose whole state is known here."""
    own = [getattr(type(trainer), name) is getattr(Trainer, name) for name in ("fit", "_train_epoch", "_valid_epoch")]
    known = all(own) and type(trainer.model).__name__ not in COUNTING
    return known and all(other is None or isinstance(other, torch.Tensor) for other in trainer.model.other_parameter().values())


def _weights(model):
    """A copy of them, and of what RecBole calls a model's other parameters, such as LightGCN's last embeddings."""
    copies = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return {"weights": copies, "others": model.other_parameter()}


def _load_weights(model, kept):
    model.load_state_dict(kept["weights"])
    device = next(model.parameters()).device
    model.load_other_parameter({name: other if other is None else other.to(device) for name, other in kept["others"].items()})


def _random_state(train_data):
    name, words, *rest = np.random.get_state()
    version, python_words, gauss = random.getstate()
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [name, torch.from_numpy(words.astype(np.int64)), *rest], "python": [version, list(python_words), gauss],
            "batches": train_data.generator.get_state()}


def _set_random_state(state, train_data):
    name, words, *rest = state["numpy"]
    version, python_words, gauss = state["python"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    random.setstate((version, tuple(python_words), gauss))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    train_data.generator.set_state(state["batches"])
