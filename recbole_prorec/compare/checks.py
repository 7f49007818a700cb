"""A comparison that can work: names, seeds, metrics, settings and what is searched."""

import math
import re

from recbole_prorec.errors import InputError
from recbole_prorec.known_settings import check_metrics, check_names_of_settings
from recbole_prorec.registry import LARGEST_SEED, check_model

EQUAL_FOR_ALL = ("seed", "metrics", "topk")  # no entry has these to itself
FILE_NAME = re.compile(r"\w[\w .,+-]*")


def check(comparison):
    """Raise InputError for the first thing that cannot work, before anything is trained."""
    entries, datasets = [entry.name for entry in comparison.entries], [data.name for data in comparison.datasets]
    _check_distinct("entries", entries)
    _check_distinct("data sets", datasets)
    for name in [comparison.name, *entries, *datasets]:
        if not FILE_NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot be the name of a file; use letters, digits, blanks and _ . , + - only.")
    if comparison.reference not in entries:
        raise InputError(f"the reference {comparison.reference!r} is no entry; expected one of {', '.join(entries)}.")
    for seeds in [comparison.seeds, *(entry.seeds for entry in comparison.entries if entry.seeds is not None)]:
        _check_seeds(seeds)
    for entry in comparison.entries:
        check_model(entry.model)
    check_metrics(comparison.metrics, comparison.topk)
    _check_settings(comparison)
    if comparison.trials or any(entry.search for entry in comparison.entries):
        _check_search(comparison)


def _check_distinct(kind, names):
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two {kind} of the comparison are called {', '.join(twice)}; each needs a name of its own.")


def _check_seeds(seeds):
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and 0 <= seed <= LARGEST_SEED for seed in seeds):
        raise InputError(f"seeds are {seeds!r}; expected a list of integers from 0 to {LARGEST_SEED}.")
    _check_distinct("seeds", seeds)


def _check_settings(comparison):
    everywhere = [comparison.settings, *(data.settings for data in comparison.datasets)]
    for settings in [*everywhere, *(entry.settings for entry in comparison.entries)]:
        if not isinstance(settings, dict):
            raise InputError(f"settings are {settings!r}; expected key: value.")
        if not isinstance(settings.get("data_path", ""), str):
            raise InputError(f"data_path is {settings['data_path']!r}; expected the folder of the data sets.")
        for key in EQUAL_FOR_ALL:
            if key in settings:
                raise InputError(f"{key} stands among the settings, but is the same for all entries; set it at the top of the comparison"
                                 f"{' (as seeds)' if key == 'seed' else ''}.")
    for settings in everywhere:
        check_names_of_settings(settings, [entry.model for entry in comparison.entries])
    for entry in comparison.entries:
        check_names_of_settings(entry.settings, [entry.model])


def _check_search(comparison):
    if comparison.trials < 1:
        raise InputError(f"trials is {comparison.trials}; a search needs 1 or more, the same for all entries.")
    _check_seeds([comparison.search_seed])
    if len(comparison.datasets) > 1:
        raise InputError(f"a search is on one data set, this one on {len(comparison.datasets)}; settings that"
                         " win on one may not on another.")
    for entry in comparison.entries:
        _check_choices(entry)
        check_names_of_settings(entry.search, [entry.model])
        n_settings = math.prod(map(len, entry.search.values()))
        if n_settings < comparison.trials:
            raise InputError(f"the search of {entry.name} has {n_settings} different settings for {comparison.trials} trials; "
                             "give it more choices.")


def _check_choices(entry):
    if not isinstance(entry.search, dict) or not entry.search:
        raise InputError(f"search of {entry.name} is {entry.search!r}; expected setting: [choices], for every entry of a search.")
    for name, choices in entry.search.items():
        if not isinstance(choices, list) or not choices or not all(type(choice) in (int, float, str, bool) for choice in choices):
            raise InputError(f"search of {entry.name}: {name} is {choices!r}; expected a list of numbers or words.")
        _check_distinct(f"choices of {name}", choices)
        if name in (*EQUAL_FOR_ALL, *entry.settings):
            raise InputError(f"search of {entry.name}: {name} is set for the entry, or for all of them, and cannot be searched as well.")
