"""Every data set is measured alike: the ready settings and those that a converter writes are one protocol."""

from importlib import import_module
from pathlib import Path
from string import Formatter

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
READY = ["Beauty", "Sports", "Toys", "Yelp", "ml-1m", "Steam", "Scientific"]
AMAZON_2014 = dict.fromkeys(["Beauty", "Sports", "Toys"], "amazon2014")
CONVERTER = {**AMAZON_2014, "Yelp": "yelp", "ml-1m": "movielens", "Steam": "steam", "Scientific": "general"}
OF_THE_SET = {"text_template", "user_inter_num_interval", "item_inter_num_interval"}


def ready(name):
    return yaml.safe_load((ROOT / "properties" / "dataset" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", READY)
def test_ready_settings_are_the_protocol_that_converters_write(name):
    written = yaml.safe_load((ROOT / "dataset_scripts" / "protocol.yaml").read_text(encoding="utf-8"))
    assert {key: value for key, value in ready(name).items() if key not in OF_THE_SET} == {
        key: value for key, value in written.items() if key not in OF_THE_SET
    }
    assert ready(name)["user_inter_num_interval"] == ready(name)["item_inter_num_interval"] == "[5,inf)"


@pytest.mark.parametrize("name", READY)
def test_ready_templates_name_fields_that_the_converter_writes(name):
    converter = import_module(f"dataset_scripts.{CONVERTER[name]}")
    columns = converter.ITEM_COLUMNS if CONVERTER[name] == "general" else converter.COLUMNS
    fields = {field for _, field, _, _ in Formatter().parse(ready(name)["text_template"]) if field}
    assert fields and fields <= {column.split(":")[0] for column in columns}


@pytest.mark.parametrize("name", READY)
def test_every_setting_is_explained(name):
    for line in (ROOT / "properties" / "dataset" / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", " ")):
            assert "# (" in line, line
