"""What is compared: read from yaml and flags, and refused before anything is trained where it cannot work."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from recbole_prorec.compare.checks import check
from recbole_prorec.compare.ranks import chosen_depth
from recbole_prorec.errors import InputError
from recbole_prorec.registry import properties_file

# Where no file of ours says it, all models have one protocol: RecBole's defaults are other ones for each type of model.
TEST = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
PROTOCOL = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "MAX_ITEM_LIST_LENGTH": 20, "eval_args": TEST}
METRICS, TOPK = ("Recall", "NDCG", "MRR"), (5, 10, 20)
KEYS = {"name": str, "datasets": list, "entries": list, "seeds": list, "reference": str, "settings": dict, "metrics": list, "topk": list,
        "output": str, "trials": int, "search_seed": int}
ENTRY_KEYS = {"name", "model", "settings", "seeds", "search"}


@dataclass(frozen=True)
class Entry:
    """One line of the tables: a model and its settings, on every data set."""

    name: str
    model: str
    settings: dict = field(default_factory=dict)
    seeds: list = None  # those of the comparison
    search: dict = field(default_factory=dict)  # setting: list of choices, for a search


@dataclass(frozen=True)
class Dataset:
    name: str
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training and its test, or a trial of a search: that is validated alone."""

    dataset: str
    entry: str
    model: str
    seed: int
    settings: dict
    drawn: dict = None  # the settings among them that a search tries

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
    trials: int = 0  # of a search, for each entry
    search_seed: int = 0

    @property
    def folder(self):
        return Path(self.output, self.name)

    @property
    def depth(self):
        return chosen_depth(self.topk)

    def runs(self):
        """All entries' first seeds before their second ones: a comparison that is stopped early has something of everything."""
        seeds = {entry.name: entry.seeds or self.seeds for entry in self.entries}
        return [self.run(data, entry, seeds[entry.name][turn]) for data in self.datasets for turn in range(max(map(len, seeds.values())))
                for entry in self.entries if turn < len(seeds[entry.name])]

    def run(self, data, entry, seed):
        unsaid = {} if properties_file("dataset", data.name) else PROTOCOL
        settings = {**unsaid, **self.settings, **data.settings, **entry.settings, "metrics": self.metrics, "topk": self.topk, "seed": seed}
        if isinstance(settings.get("eval_args"), dict):
            settings["eval_args"] = {**TEST, **settings["eval_args"]}
        return Run(data.name, entry.name, entry.model, seed, settings)


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
    check(comparison)
    return comparison


def _entry(given):
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or given.keys() - ENTRY_KEYS:
        raise InputError(f"an entry is {given!r}; expected name, model, settings, seeds and search, or the name of a model alone.")
    if not isinstance(given.get("model", ""), str):
        raise InputError(f"the model of the entry {given['name']} is {given['model']!r}; expected the name of one.")
    return Entry(given["name"], given.get("model", given["name"]), given.get("settings") or {}, given.get("seeds"),
                 given.get("search") or {})


def _dataset(given):
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or given.keys() - {"name", "settings"}:
        raise InputError(f"a data set is {given!r}; expected its name, or name and settings.")
    return Dataset(given["name"], given.get("settings") or {})
