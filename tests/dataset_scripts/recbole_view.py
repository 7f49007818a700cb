"""What RecBole makes of a converted data set: its leave-one-out split, in raw ids."""

import sys
from dataclasses import dataclass

import recbole_prorec  # noqa: F401  mends RecBole for current versions of its dependencies


def load(folder, monkeypatch, **settings):
    from recbole.config import Config
    from recbole.data import create_dataset

    monkeypatch.setattr(sys, "argv", ["test"])  # RecBole reads the command line of whatever process it is in
    settings = {"data_path": str(folder.parent), "train_neg_sample_args": None, **settings}
    written = str(folder / f"{folder.name}.yaml")
    return create_dataset(Config("SASRec", folder.name, config_file_list=[written], config_dict=settings))


@dataclass
class View:
    seen: dict  # user -> the items shown to a model before the test item
    last_three: dict  # user -> [last item trained on, validation item, test item]


def split(dataset):
    train, valid, test = dataset.build()
    # of a user's several training rows the dictionary keeps the last
    targets = [dict(zip(raw(part, "user_id"), raw(part, "item_id"))) for part in (train, valid, test)]
    rows, lengths = raw(test, "item_id_list", "item_id"), test.inter_feat["item_length"].tolist()
    seen = {user: list(row[:n]) for user, row, n in zip(raw(test, "user_id"), rows, lengths)}
    return View(seen, {user: [target.get(user) for target in targets] for user in seen})


def raw(part, field, ids_of=None):
    return part.field2id_token[ids_of or field][part.inter_feat[field].numpy()]
