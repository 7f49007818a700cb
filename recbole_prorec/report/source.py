"""What a report is of: the trained network, the data set that it was trained on, and the texts of its items."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import SequentialDataset

from recbole_prorec.artifacts import ArtifactStore
from recbole_prorec.data.histories import Histories
from recbole_prorec.errors import InputError
from recbole_prorec.inference.checkpoint import read_parts
from recbole_prorec.inference.recommender import load
from recbole_prorec.report.domination import spaces_of
from recbole_prorec.text.encoder import text_embeddings_by
from recbole_prorec.text.item_text import item_texts

PLAIN = (bool, int, float, str, type(None))


@dataclass
class TestCases:
    """The test rows, one for each user by leave-one-out.

    Args:
        user_keys: [U]. histories: [U] lists of item ids, as long as the model reads them. n_before: [U] the user's interactions in training
            and validation. targets: [U] item ids.
    """

    user_keys: np.ndarray
    histories: list
    n_before: np.ndarray
    targets: np.ndarray


@dataclass
class Source:
    """Args: recommender: of the checkpoint. settings: all of its training's. curves: {stage: points}. texts: [n_items] of the items.
    popularity: [n_items] interactions in training. cases: `TestCases`. spaces: as `spaces_of` gives them."""

    recommender: object
    settings: dict
    curves: dict
    texts: list
    popularity: np.ndarray
    cases: TestCases
    spaces: dict


def read_source(path):
    """Everything that a report needs, out of a checkpoint and the files of its data set. Nothing that the checkpoint names is run."""
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; a report needs the checkpoint (.pth), which says what the model was trained on.")
    recommender = load(path)
    _, settings, parts = read_parts(path)
    config = _config(settings)
    _check_files(config, path)
    train, valid, test = _splits(config, path)
    if tuple(map(str, train.field2id_token[train.iid_field])) != recommender.item_keys:
        raise InputError(f"the items in {config['data_path']} are not those that {path} was trained on. Give the data set as it was.")
    if not len(test):
        raise InputError(f"the split that {path} was trained with has no test rows (eval_args: {config['eval_args']}), which a report "
                         "is of.")
    texts = _texts(config, recommender.item_keys)
    return Source(recommender, settings, parts["other_parameter"].get("curves") or {}, texts,
                  np.bincount(Histories.from_dataset(train).items, minlength=train.item_num), _cases(train, valid, test),
                  _spaces(recommender, config))


def _config(settings):
    """RecBole's, with every plain setting as the checkpoint has it."""
    arguments, sys.argv[1:] = sys.argv[1:], []  # RecBole's Config reads settings from there
    try:
        config = Config(model=settings["model"], dataset=settings["dataset"], config_dict={"use_gpu": False, "gpu_id": ""})
    finally:
        sys.argv[1:] = arguments
    own = {"use_gpu", "gpu_id", "device", *({"data_path"} if settings["dataset"] == "ml-100k" else ())}  # it lies in RecBole's package
    for name, value in settings.items():
        if name not in own and _is_plain(value):
            config[name] = value
    config["save_dataset"] = config["save_dataloaders"] = False
    return config


def _is_plain(value):
    if isinstance(value, dict):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    return all(map(_is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, PLAIN)


def _check_files(config, path):
    """RecBole would try to download what is missing."""
    parts = config["benchmark_filename"]
    names = [f"{config['dataset']}.{part}.inter" for part in parts] if parts else [f"{config['dataset']}.inter"]
    missing = [name for name in names if not os.path.isfile(os.path.join(config["data_path"], name))]
    if missing:
        raise InputError(f"{', '.join(missing)} is not in {config['data_path']}, where {path} was trained from. Put the data set's files "
                         "there, or run the report in the folder in which the training ran.")


def _splits(config, path):
    try:
        return SequentialDataset(config).build()  # create_dataset would unpickle what the checkpoint's settings name
    except Exception as error:  # RecBole and pandas have a dozen types for a file that is not what it was
        raise InputError(f"the data set in {config['data_path']} cannot be read as it was when {path} was trained ({type(error).__name__}: "
                         f"{error}). Give the data set as it was.") from error


def _cases(train, valid, test):
    rows = test.inter_feat
    users, lengths = rows[test.uid_field].numpy(), rows[test.item_list_length_field].numpy()
    seen = sum(np.bincount(part.inter_feat[part.uid_field].numpy(), minlength=test.user_num) for part in (train, valid))
    histories = [items[:length].tolist() for items, length in zip(rows[test.item_id_list_field].numpy(), lengths)]
    n_before = np.maximum(seen[users] + 1, lengths)  # + 1: the first item is the target of no row
    return TestCases(test.field2id_token[test.uid_field][users].astype(str), histories, n_before, rows[test.iid_field].numpy())


def _item_file(config):
    return os.path.join(config["data_path"], f"{config['dataset']}.item")


def _texts(config, item_keys):
    """Row 0 empty; keys alone where the model was trained without texts."""
    if config["text_embedding_file"] and not os.path.exists(_item_file(config)):
        return ["", *item_keys[1:]]
    return ["", *item_texts(_item_file(config), item_keys[1:], config["text_template"], config["ITEM_ID_FIELD"], config["field_separator"],
                            config["encoding"] or "utf-8")]


def _spaces(recommender, config):
    """The raw text embeddings are found in the cache, or made again."""
    text, _ = text_embeddings_by(config, ArtifactStore(config["cache_dir"]), recommender.item_keys, _item_file(config))
    return spaces_of(recommender.network.aligned, torch.from_numpy(text), config["integrated_embedding"])
