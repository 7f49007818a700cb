"""What is compared: read from yaml and flags, and refused before anything is trained where it cannot work."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from recbole_prorec.compare.known_settings import check_metrics, check_names_of_settings
from recbole_prorec.errors import InputError
from recbole_prorec.registry import check_model

METRICS, TOPK = ("Recall", "NDCG", "MRR"), (5, 10, 20)
KEYS = {"name": str, "datasets": list, "entries": list, "seeds": list, "reference": str, "settings": dict, "metrics": list, "topk": list,
        "output": str}
EQUAL_FOR_ALL = ("seed", "metrics", "topk")  # no entry has these to itself
FILE_NAME = re.compile(r"\w[\w .+-]*")


@dataclass(frozen=True)
class Entry:
    """One line of the tables: a model and its settings, on every data set."""

    name: str
    model: str
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    name: str
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training and its test."""

    dataset: str
    entry: str
    model: str
    seed: int
    settings: dict

    @property
    def name(self):
        """That of its files in the comparison's folder."""
        return f"{self.dataset}/{self.entry}-{self.seed}"


@dataclass(frozen=True)
class Comparison:
    name: str
    datasets: list
    entries: list
    seeds: list
    reference: str
    settings: dict = field(default_factory=dict)  # for all entries; those of the data set go before them, those of the entry first
    metrics: list = field(default_factory=lambda: list(METRICS))
    topk: list = field(default_factory=lambda: list(TOPK))
    output: str = "results"

    @property
    def folder(self):
        return Path(self.output, self.name)

    @property
    def depth(self):
        """The list length of the significance tests, coverage and popularity."""
        return 10 if 10 in self.topk else max(self.topk)

    def runs(self):
        """All entries of a seed before the next seed: a comparison that is stopped early has something of everything."""
        return [Run(data.name, entry.name, entry.model, seed, {**self.settings, **data.settings, **entry.settings, "metrics": self.metrics,
                                                               "topk": self.topk, "seed": seed})
                for data in self.datasets for seed in self.seeds for entry in self.entries]


def read_yaml(file):
    """The dict of a comparison's yaml file."""
    try:
        found = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"the comparison {file} cannot be read ({' '.join(str(error).split())}). Expected a yaml file such as "
                         "comparisons/ml-100k.yaml.") from error
    if not isinstance(found, dict):
        raise InputError(f"the comparison {file} holds {type(found).__name__}; expected the keys {', '.join(KEYS)}.")
    return {"name": Path(file).stem, **found}


def make_comparison(given):
    """A checked Comparison from a dict with the keys of `KEYS`."""
    for key, value in given.items():
        if key not in KEYS:
            raise InputError(f"a comparison has no key {key!r}; expected {', '.join(KEYS)}.")
        if not isinstance(value, KEYS[key]):
            raise InputError(f"{key} of the comparison is {value!r}; expected a {KEYS[key].__name__}.")
    for key in ("datasets", "entries", "seeds"):
        if not given.get(key):
            raise InputError(f"the comparison has no {key}; give at least one, in the yaml file or by a flag.")
    entries = [_entry(entry) for entry in given["entries"]]
    datasets = [_dataset(data) for data in given["datasets"]]
    settings = {**given, "name": given.get("name", "comparison"), "entries": entries, "datasets": datasets,
                "reference": given.get("reference", entries[0].name)}
    comparison = Comparison(**settings)
    _check(comparison)
    return comparison


def _entry(given):
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or given.keys() - {"name", "model", "settings"}:
        raise InputError(f"an entry is {given!r}; expected name, model and settings, or the name of a model alone.")
    return Entry(given["name"], given.get("model", given["name"]), given.get("settings") or {})


def _dataset(given):
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or given.keys() - {"name", "settings"}:
        raise InputError(f"a data set is {given!r}; expected its name, or name and settings.")
    return Dataset(given["name"], given.get("settings") or {})


def _check(comparison):
    named = {"entries": [entry.name for entry in comparison.entries], "data sets": [data.name for data in comparison.datasets],
             "seeds": comparison.seeds}
    for kind, names in named.items():
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"two {kind} of the comparison are called {', '.join(twice)}; each needs a name of its own.")
    for name in [comparison.name, *named["entries"], *named["data sets"]]:
        if not FILE_NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot be the name of a file; use letters, digits, blanks and _ . + - only.")
    if not all(type(seed) is int and seed >= 0 for seed in comparison.seeds):
        raise InputError(f"seeds are {comparison.seeds!r}; expected integers from 0 on.")
    if comparison.reference not in named["entries"]:
        raise InputError(f"the reference {comparison.reference!r} is no entry; expected one of {', '.join(named['entries'])}.")
    for entry in comparison.entries:
        check_model(entry.model)
    check_metrics(comparison.metrics, comparison.topk)
    _check_settings(comparison)


def _check_settings(comparison):
    everywhere = [comparison.settings, *(data.settings for data in comparison.datasets)]
    for settings in [*everywhere, *(entry.settings for entry in comparison.entries)]:
        if not isinstance(settings, dict):
            raise InputError(f"settings are {settings!r}; expected key: value.")
        for key in EQUAL_FOR_ALL:
            if key in settings:
                raise InputError(f"{key} stands among the settings, but is the same for all entries; set it at the top of the comparison"
                                 f"{' (as seeds)' if key == 'seed' else ''}.")
    for settings in everywhere:
        check_names_of_settings(settings, [entry.model for entry in comparison.entries])
    for entry in comparison.entries:
        check_names_of_settings(entry.settings, [entry.model])
