"""What is measured: data of Beauty's shape, the models of this package, and RecBole's SASRec, on the same histories and codes.

Axes: B users, T history, L levels, D width."""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

from recbole_prorec.data.histories import INPUTS, TARGET_ROWS, TARGETS, Histories
from recbole_prorec.model.generative import ALIGNMENT, GENERATION
from recbole_prorec.nn.memory import keep_pages
from recbole_prorec.registry import Protocol, properties_file
from recbole_prorec.tokenizer.quantizer import make_quantizer, quantize

N_ITEMS, T = 12_101, 20  # Beauty's items; the history
N_CODED, K = 3, 256  # levels before the one that tells collisions apart; codes of a level, as TIGER's
MANY = 4096  # codes of a level that PRORec has by default where the catalogue fills them: 3,025 here
TEXT_SIZE, SEED, SYNTHETIC = 384, 2024, "synthetic"


def parser(description, rounds, seconds):
    """With the flags that the scripts share."""
    flags = argparse.ArgumentParser(description=description.splitlines()[0])
    flags.add_argument("--dataset", default=SYNTHETIC, help="a data set of RecBole's; by default a synthetic one of Beauty's shape")
    flags.add_argument("--data_path", type=os.path.abspath, help="its folder")
    flags.add_argument("--config_files", default=[], type=absolute_paths, help="yaml files, separated by blanks")
    flags.add_argument("--users", type=int, default=4000, help="users of the synthetic data")
    flags.add_argument("--rounds", type=int, default=rounds, help="how often every variant is measured")
    flags.add_argument("--seconds", type=float, default=seconds, help="CPU seconds of each measurement")
    return flags


def parse(flags):
    """The flags' values. RecBole would read the command line too: it finds none."""
    values = flags.parse_args()
    values.command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    sys.argv[1:] = []
    return values


def absolute_paths(text):
    return [os.path.abspath(path) for path in text.split()]


@contextlib.contextmanager
def scratch():
    """RecBole writes logs and checkpoints where it runs: not here."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


class Workload:
    """A data set of RecBole's, codes of its items, and batches of full histories.

    Embeddings are made up, but their codes shared by items as those of real texts are: of 12,101 items 13 % need the last level.
    """

    def __init__(self, flags, folder):
        Protocol.for_all_models = True
        self.flags, self.folder, self.rng = flags, folder, np.random.default_rng(SEED)
        if flags.dataset == SYNTHETIC:
            write_synthetic(folder / SYNTHETIC, flags.users, self.rng)
        config = self.config("PRORec")
        self.dataset = create_dataset(config)
        self.train_data, self.valid_data, self.test_data = data_preparation(config, self.dataset)
        self.n_items = int(self.dataset.item_num)
        self.text, pair = (padded(vectors(self.n_items - 1, width, self.rng)) for width in (TEXT_SIZE, 2 * config["hidden_size"]))
        self.aligned, self._codes = torch.from_numpy(pair), {}

    def codes(self, codebook_size):
        """[n_items, L]"""
        if codebook_size not in self._codes:
            codes, _ = quantize(self.aligned[1:].numpy(), make_quantizer("residual_kmeans", N_CODED, codebook_size, SEED))
            self._codes[codebook_size] = torch.from_numpy(padded(codes))
        return self._codes[codebook_size]

    def config(self, model, **changes):
        settings = {"show_progress": False, "state": "ERROR", "use_gpu": False, "seed": SEED, **changes}
        if self.flags.dataset == SYNTHETIC:
            protocol = yaml.safe_load(properties_file("dataset", "Beauty").read_text(encoding="utf-8"))
            unfiltered = {"user_inter_num_interval": None, "item_inter_num_interval": None}
            settings = {**protocol, **unfiltered, "data_path": str(self.folder), **settings}
        elif self.flags.data_path:
            settings["data_path"] = self.flags.data_path
        return Config(model=model, dataset=self.flags.dataset, config_file_list=self.flags.config_files, config_dict=settings)

    def trainer(self, model, **changes):
        """(model, trainer) of a name of RecBole's or ours, ready for one more epoch; with the codes and embeddings of this workload."""
        if model == "PRORec":
            changes = {"exclude_seen": True, "codebook_size": K, **changes}  # as on real data: synthetic users take items again
        config = self.config(model, **changes)
        init_seed(config["seed"], config["reproducibility"])
        network = get_model(model)(config, self.train_data._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
        if model in ("PRORec", "TIGER"):
            codes = self.codes(network.codebook_size)
            network.begin_generation(*((codes, self.aligned) if model == "PRORec" else (codes,)))
            self.begin_stage(trainer, GENERATION)
        return network, trainer

    def aligner(self):
        """PRORec in its first stage."""
        network, trainer = self.trainer("PRORec")
        network.begin_alignment(torch.from_numpy(self.text))
        self.begin_stage(trainer, ALIGNMENT)
        return network, trainer

    def begin_stage(self, trainer, stage):
        """As fit() does it, which also keeps the process's pages: the peers of the same process have that too."""
        keep_pages(trainer.device)
        trainer.run = {"train_data": self.train_data, "valid_data": None, "verbose": False, "show_progress": False}
        trainer.begin_stage(stage, fresh=True)

    def histories(self):
        return Histories.from_dataset(self.train_data._dataset)

    def items(self, *shape):
        """Some popular, most not."""
        return torch.from_numpy(self.rng.zipf(1.2, shape) % (self.n_items - 1) + 1)

    def windows(self, batch, number):
        """Batches of full histories for causal networks, every position asked for."""
        rows = torch.arange(number * batch * T).view(number, batch, T)
        return [Interaction({INPUTS: self.items(batch, T), TARGETS: self.items(batch, T), TARGET_ROWS: rows[i]}) for i in range(number)]

    def prefixes(self, batch, number):
        """Batches of full histories with one target each, as RecBole names them."""
        rows, length = self.train_data._dataset, torch.full((batch,), T)
        return [Interaction({rows.item_id_list_field: self.items(batch, T), rows.item_list_length_field: length,
                             rows.iid_field: self.items(batch)}) for _ in range(number)]


def vectors(n, width, rng, n_groups=3000):
    """Unit vectors [n, width] in groups of like ones, most of their variance in few directions."""
    scale = (np.arange(width) + 1.0) ** -0.5
    x = (rng.normal(size=(n_groups, width))[rng.integers(n_groups, size=n)] + 0.5 * rng.normal(size=(n, width))) * scale
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def padded(rows):
    return np.concatenate([np.zeros_like(rows[:1]), rows])


def write_synthetic(folder, n_users, rng):
    """Atomic files of N_ITEMS items and histories as long as Beauty's: 5 at least, 6 in the middle, 8 in the mean (Beauty: 9)."""
    folder.mkdir()
    lengths = 5 + np.minimum(rng.lognormal(np.log(1.6), 1.35, n_users).astype(int), 200)
    rare, n = np.arange(N_ITEMS), int(lengths.sum())
    items = rng.permutation(np.concatenate([rare, rng.zipf(1.2, max(n - N_ITEMS, 0)) % N_ITEMS])[:n])
    users = np.repeat(np.arange(n_users), lengths)
    lines = [f"u{user}\ti{item}\t{moment}" for moment, (user, item) in enumerate(zip(users, items))]
    text = "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines])
    (folder / f"{SYNTHETIC}.inter").write_text(text + "\n", encoding="utf-8")
