"""Small raw files in each public format stand in fixtures/; `converted` runs a converter on them as its command would."""

import csv
import gzip
import importlib
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # the converters are not part of the installed package
    sys.path.insert(0, str(ROOT))

collect_ignore = [] if os.environ.get("PRORec_DATA") else ["test_public_data.py"]


@pytest.fixture
def raw():
    return Path(__file__).with_name("fixtures")


class Converted:
    """The files of one data set, read with RecBole's reader settings or (`lines`) as they are."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, suffix):
        return self.folder / f"{self.folder.name}{suffix}"

    def lines(self, suffix=".inter"):
        return self.path(suffix).read_text(encoding="utf-8").split("\n")[:-1]

    def rows(self, suffix=".inter"):
        header, *rows = [line.split("\t") for line in self.lines(suffix)]
        return [dict(zip([name.split(":")[0] for name in header], row)) for row in rows]

    def frame(self, suffix=".inter"):
        return pd.read_csv(self.path(suffix), delimiter="\t", dtype=str, engine="python", keep_default_na=False)

    def sequences(self):
        histories = {}
        for row in self.rows():
            histories.setdefault(row["user_id"], []).append(row["item_id"])
        return histories


@pytest.fixture
def converted(tmp_path):
    def convert(converter, *arguments, name="tiny", k_core=0):
        main = importlib.import_module(f"dataset_scripts.{converter}").main
        main(["--name", name, "--output", str(tmp_path / "out"), "--k-core", str(k_core), *map(str, arguments)])
        return Converted(tmp_path / "out" / name)

    return convert


@pytest.fixture
def table(tmp_path):
    """Write rows as a CSV and give its path."""

    def write(rows, header="user_id,item_id,timestamp", name="interactions.csv"):
        path = tmp_path / name
        with (gzip.open if name.endswith(".gz") else open)(path, "wt", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header.split(","), *rows])
        return path

    return write
