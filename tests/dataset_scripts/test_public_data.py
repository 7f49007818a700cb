"""The literature's data sets, every user checked. Collected only where PRORec_DATA names the folder that holds
<set>/interactions.csv.gz and <set>/items.jsonl.gz for Beauty, Sports and Scientific.
"""

import gzip
import json
import os
from pathlib import Path

import pandas as pd
import pytest

DATA = Path(os.environ.get("PRORec_DATA", "."))
NUMBERS = {"Beauty": (22_363, 12_101, 198_502), "Sports": (35_598, 18_357, 296_337), "Scientific": (8_317, 4_344, 58_492)}


def general(converted, name, *arguments):
    files = ["--interactions", DATA / name / "interactions.csv.gz", "--items", DATA / name / "items.jsonl.gz"]
    columns = ["--item-columns", "brand", "categories:token_seq"] if name == "Sports" else []
    return converted("general", *files, *columns, *arguments, name=name, k_core=5)


def source_sequences(name):
    frame = pd.read_csv(DATA / name / "interactions.csv.gz", dtype=str)
    return frame.groupby("user_id", sort=False)["item_id"].agg(list).to_dict()


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_and_sequences_are_the_literatures(converted, name):
    made = general(converted, name)
    stats = json.loads(made.path(".stats.json").read_text())
    assert (stats["users"], stats["items"], stats["interactions"]) == NUMBERS[name]
    assert made.sequences() == source_sequences(name)
    assert len(made.lines(".item")) == NUMBERS[name][1] + 1


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("interval", ["[0,inf)", "[5,inf)"])
def test_recbole_loads_for_every_user_what_the_file_says(converted, monkeypatch, name, interval):
    from recbole_view import load, split

    made = general(converted, name)
    dataset = load(made.folder, monkeypatch, user_inter_num_interval=interval, item_inter_num_interval=interval)
    n_users, n_items, n_interactions = NUMBERS[name]
    assert (dataset.user_num, dataset.item_num, dataset.inter_num) == (n_users + 1, n_items + 1, n_interactions)
    view, sequences = split(dataset), source_sequences(name)
    assert view.last_three == {user: items[-3:] for user, items in sequences.items()}
    assert view.seen == {user: items[:-1][-20:] for user, items in sequences.items()}


def as_amazon_2014(folder):
    """The original's form: reviews grouped by item in ascending id; metadata as Python literals, not all of them reviewed."""
    frame = pd.read_csv(DATA / "Beauty" / "interactions.csv.gz", dtype=str).sort_values("item_id", kind="stable")
    with gzip.open(folder / "reviews.json.gz", "wt", compresslevel=1) as file:
        for row in frame.itertuples():
            review = {"reviewerID": row.user_id, "asin": row.item_id, "reviewText": 'It\'s "fine"\tré ' * 20, "overall": 5.0}
            file.write(json.dumps({**review, "unixReviewTime": int(row.timestamp)}) + "\n")
    with gzip.open(folder / "meta.json.gz", "wt", encoding="utf-8", compresslevel=1) as file:
        for line in gzip.open(DATA / "Beauty" / "items.jsonl.gz", "rt", encoding="utf-8"):
            item = json.loads(line)
            known = {name: item[name] for name in ("title", "price", "brand", "categories") if item[name] is not None}
            file.write(repr({"asin": item["item_id"], "related": {"also_bought": ["B0"] * 30}, **known}) + "\n")
            file.write(repr({"asin": "X" + item["item_id"], "title": "never reviewed"}) + "\n")
    return folder / "reviews.json.gz", folder / "meta.json.gz"


def test_amazon_2014_raw_files_give_the_same_beauty(converted, tmp_path):
    reviews, meta = as_amazon_2014(tmp_path)
    made = converted("amazon2014", "--reviews", reviews, "--meta", meta, name="raw", k_core=5)
    prepared = general(converted, "Beauty")
    assert made.sequences() == prepared.sequences() == source_sequences("Beauty")
    assert made.lines(".item") == prepared.lines(".item")
