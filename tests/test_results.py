"""README's tables of results are those of the finished runs in results/."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "comparisons" / "summary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs(tables):
    return tables.finished()


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_data_set_has_three_seeds_of_what_is_compared(tables, runs):
    compared = {entry for entry, _ in tables.ROWS} | {entry for pair in tables.PAIRS for entry in pair}
    assert {dataset: {entry for entry in compared if len(of_data.get(entry, ())) != 3} for dataset, of_data in runs.items()} == {
        "ml-100k": {"TIGER"}, "Scientific": set(), "Beauty": set(), "Sports": set()}


def test_the_quality_in_the_readme_is_that_of_the_runs(tables, runs, readme):
    assert tables.quality(runs) in readme


def test_the_differences_in_the_readme_are_those_of_the_runs(tables, runs, readme):
    assert tables.differences(runs) in readme
