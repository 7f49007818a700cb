"""Each public format, from a small raw file to the atomic files."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

CONVERTERS = ["amazon2014", "amazon2023", "movielens", "yelp", "steam", "general"]


def gzipped(path, folder):
    target = folder / f"{path.name}.gz"
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


def test_amazon_2014_keeps_the_files_order_within_a_day(converted, raw, tmp_path):
    folder = raw / "amazon2014"
    reviews, meta = (gzipped(folder / f"{name}.json", tmp_path) for name in ("reviews", "meta"))
    tiny = converted("amazon2014", "--reviews", reviews, "--meta", meta)
    assert tiny.sequences() == {"A1": ["B0001", "0000031852", "B0002"], "A2": ["0000031852", "B0001", "B0002"]}
    assert tiny.lines()[:2] == ["user_id:token\titem_id:token\trating:float\ttimestamp:float", "A1\tB0001\t5.0\t777600"]


def test_amazon_2014_metadata_are_python_literals_with_quotes_entities_and_gaps(converted, raw):
    folder = raw / "amazon2014"
    tiny = converted("amazon2014", "--reviews", folder / "reviews.json", "--meta", folder / "meta.json")
    assert tiny.lines(".item") == [
        "item_id:token\ttitle:token\tbrand:token\tprice:float\tcategories:token_seq\tdescription:token",
        "0000031852\tGirls Ballet Tutu 12'' ''Pink'' (new)\tL'Oreal\t3.17\tClothing Girls Dance Skirts\t",
        "B0001\t''Quoted'' from the start\t\t\tBeauty Skin Care\tCrème brûlée, it's 5'",
        "B0002\t\t\t1234.50\tBeauty\t",
    ]


def test_amazon_2023_takes_the_parent_item_and_milliseconds(converted, raw):
    folder = raw / "amazon2023"
    tiny = converted("amazon2023", "--reviews", folder / "reviews.jsonl", "--meta", folder / "meta.jsonl")
    assert tiny.sequences() == {"U1": ["P2", "P1"], "U2": ["P1", "P2"]}
    assert tiny.rows()[0]["timestamp"] == "1588687728.001"
    first, second = tiny.rows(".item")
    assert (first["brand"], first["price"], first["features"]) == ("Howard", "", "One Two & a half")
    assert (second["price"], second["categories"], second["description"]) == ("19.99", "", "First. Second.")


@pytest.mark.parametrize("release, sequences, titles, genres", [
    ("ml-100k", {"186": ["302", "242"], "196": ["302", "242"]},
     ["Kolya (1996)", "L'été: A ''Film'' (1997)"], ["Comedy", "Crime Thriller"]),
    ("ml-1m", {"1": ["1193", "661"], "2": ["1193", "661"]},
     ["Star Wars: Café (1975)", "James and the Giant Peach (1996)"], ["Drama", "Animation Children's Musical"]),
    ("ml-20m", {"1": ["29", "2"], "2": ["29", "2"]},
     ["City of Lost Children, The (1995)", "''Great'' Performances (1995)"], ["Adventure Drama", ""]),
])
def test_movielens_releases_are_told_apart_by_their_files(converted, raw, release, sequences, titles, genres):
    tiny = converted("movielens", "--folder", raw / release)
    assert tiny.sequences() == sequences
    assert [row["title"] for row in tiny.rows(".item")] == titles
    assert [row["genres"] for row in tiny.rows(".item")] == genres


def test_yelp_takes_a_date_range_and_splits_the_categories(converted, raw):
    folder = raw / "yelp"
    tiny = converted("yelp", "--reviews", folder / "review.json", "--businesses", folder / "business.json",
                     "--since", "2019-01-01", "--until", "2019-12-31")
    assert [(row["item_id"], row["timestamp"]) for row in tiny.rows()] == [("b_2", "1546300800"), ("b_1", "1551434405")]
    assert tiny.rows(".item") == [
        {"item_id": "b_1", "title": "Tom's ''Place''", "categories": "Restaurants Ice Cream", "city": "Montréal", "state": "QC"},
        {"item_id": "b_2", "title": "B", "categories": "", "city": "LV", "state": "NV"},
    ]


def test_steam_reads_literals_dates_and_ids_with_leading_zeros(converted, raw):
    folder = raw / "steam"
    tiny = converted("steam", "--reviews", folder / "reviews.json", "--games", folder / "games.json")
    assert tiny.sequences() == {"Chaos Syren": ["725280", "010"], "李": ["725280", "010"]}
    assert [(row["item_id"], row["title"], row["price"]) for row in tiny.rows(".item")] == [
        ("010", "Only App Name", ""), ("725280", "Lost: Summoner", "4.99"),
    ]


def test_csv_tsv_parquet_and_json_lines_give_the_same_files(converted, tmp_path):
    columns = {"user_id": ["007", "007", "b"], "item_id": [10, 9, 9], "timestamp": [5, 4, 3]}
    frame = pd.DataFrame({**columns, "text": ['a,"b"', "c\nd", "e"]})
    frame.to_csv(tmp_path / "f.csv", index=False)
    frame.to_csv(tmp_path / "f.tsv.gz", index=False, sep="\t")
    frame.to_parquet(tmp_path / "f.parquet")
    frame.to_json(tmp_path / "f.jsonl", orient="records", lines=True)
    written = {
        converted("general", "--interactions", tmp_path / file, name=f"set{n}").path(".inter").read_bytes()
        for n, file in enumerate(["f.csv", "f.tsv.gz", "f.parquet", "f.jsonl"])
    }
    assert len(written) == 1
    assert written.pop().decode().split("\n")[1:] == ["007\t9\t4", "007\t10\t5", "b\t9\t3", ""]


def test_a_later_table_of_items_fills_what_the_first_lacks(converted, table, tmp_path):
    interactions = table([["u", "1", "1"], ["u", "2", "2"]])
    first, second = tmp_path / "first.jsonl", tmp_path / "second.csv"
    first.write_text('{"item_id": "1", "title": "one"}\n{"item_id": "2", "title": null}\n')
    second.write_text("item_id,title,colour\n1,uno,red\n2,dos,\n")
    tiny = converted("general", "--interactions", interactions, "--items", first, second, "--item-columns", "title", "colour")
    assert tiny.lines(".item") == ["item_id:token\ttitle:token\tcolour:token", "1\tone\tred", "2\tdos\t"]


def test_statistics_and_protocol_stand_beside_the_data(converted, raw):
    folder = raw / "amazon2014"
    tiny = converted("amazon2014", "--reviews", folder / "reviews.json", "--meta", folder / "meta.json")
    stats = json.loads(tiny.path(".stats.json").read_text())
    assert (stats["users"], stats["items"], stats["interactions"], stats["density"]) == (2, 3, 6, 1.0)
    assert (stats["average_length"], stats["median_length"]) == (3.0, 3.0)
    assert stats["users_whose_last_two_share_a_timestamp"] == 0.5
    assert stats["items_with"] == {"title": 0.6667, "brand": 0.3333, "price": 0.6667, "categories": 1.0, "description": 0.3333}
    protocol = yaml.safe_load(tiny.path(".yaml").read_text())
    assert protocol["text_template"] == "{title}. {brand}. {categories}. {price}. {description}"
    assert protocol["eval_args"]["split"] == {"LS": "valid_and_test"}


@pytest.mark.parametrize("converter", CONVERTERS)
def test_every_converter_is_a_command_by_file_and_by_module(converter):
    root = Path(__file__).resolve().parents[2]
    for command in ([f"dataset_scripts/{converter}.py"], ["-m", f"dataset_scripts.{converter}"]):
        done = subprocess.run([sys.executable, *command, "--help"], cwd=root, capture_output=True, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0 and "--k-core" in done.stdout, done.stderr
