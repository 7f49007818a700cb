"""A model on a catalogue so small that all its stages take a second."""

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_logger, init_seed

SMALL = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "inner_size": 32, "decoder_size": 16, "decoder_layers": 1, "decoder_heads": 2,
         "decoder_inner_size": 32, "n_levels": 2, "codebook_size": 8, "beam_size": 20, "alignment_epochs": 3, "epochs": 3,
         "train_batch_size": 128, "use_gpu": False, "seed": 7, "state": "ERROR", "metric_decimal_place": 10}


def settings(tiny, **changes):
    """Settings of a small run on a `TinyDataset`; text comes from a file, so that no encoder is loaded."""
    cache, text = tiny.folder.parent / "cache", tiny.folder.parent / "text.npz"
    if not text.exists():
        keys = [line.split("\t")[0] for line in (tiny.folder / f"{tiny.dataset}.item").read_text().splitlines()[1:]]
        np.savez(text, item_keys=keys, embeddings=np.random.default_rng(0).normal(size=(len(keys), 6)).astype(np.float32))
    return {**tiny.config, **SMALL, "cache_dir": str(cache), "text_embedding_file": str(text), **changes}


def texts_by_key(folder):
    """The text embeddings that `settings` wrote, by item key. folder: the one that the data set's folder lies in."""
    with np.load(folder / "text.npz") as file:
        return dict(zip(file["item_keys"].tolist(), file["embeddings"]))


class Run:
    """Everything up to training, as RecBole's quick start makes it."""

    def __init__(self, tiny, model="PRORec", **changes):
        self.config = Config(model=model, dataset=tiny.dataset, config_dict=settings(tiny, **changes))
        init_seed(self.config["seed"], self.config["reproducibility"])
        init_logger(self.config)
        self.dataset = create_dataset(self.config)
        self.train_data, self.valid_data, self.test_data = data_preparation(self.config, self.dataset)
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.model = get_model(model)(self.config, self.train_data._dataset)
        self.trainer = get_trainer(self.config["MODEL_TYPE"], model)(self.config, self.model)
        self.trained = []  # (stage, epoch) of every epoch that was trained
        self._record_epochs()

    def _record_epochs(self):
        train_epoch = self.trainer._train_epoch

        def recorded(train_data, epoch_idx, *args, **kwargs):
            self.trained.append((self.model.stage, epoch_idx))
            return train_epoch(train_data, epoch_idx, *args, **kwargs)

        self.trainer._train_epoch = recorded

    def fit(self, **kwargs):
        self.valid_score, self.valid_result = self.trainer.fit(self.train_data, self.valid_data, **kwargs)
        return self

    def test(self, **kwargs):
        return dict(self.trainer.evaluate(self.test_data, **kwargs))

    def batch(self):
        """The first batch of test users, with the items that they are tested for."""
        interaction, _, _, items = next(iter(self.test_data))
        interaction[self.model.ITEM_ID] = items
        return interaction
