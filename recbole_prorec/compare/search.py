"""Settings drawn at random, as many for each entry, to be tried on validation alone.

RecBole's HyperTuning draws them. It would also run them, one after the other in one process, and end at the first that fails; here each
trial is a run like those of a comparison, in a process of its own, so that it can fail, be resumed and be counted alone.
"""

import contextlib
import io
import os
from dataclasses import replace

from recbole_prorec.errors import InputError


def search_of(comparison):
    """The comparison under the name that a search's files have."""
    return replace(comparison, name=comparison.name.removesuffix("-search") + "-search")


def trials_of(comparison):
    """{name of the entry: its trials as runs, in the order of the draws}"""
    return {entry.name: [_trial(comparison, entry, turn, drawn) for turn, drawn in
                         enumerate(draw(entry.search, comparison.trials, comparison.search_seed), start=1)] for entry in comparison.entries}


def _trial(comparison, entry, turn, drawn):
    tried = replace(entry, name=f"{entry.name} trial {turn}", settings={**entry.settings, **drawn})
    return replace(comparison.run(comparison.datasets[0], tried, (entry.seeds or comparison.seeds)[0]), drawn=drawn)


def draw(choices, n, seed):
    """n different settings of {setting: choices}, by HyperTuning."""
    try:
        import hyperopt  # noqa: F401
    except ImportError as error:
        raise InputError(f"--search draws settings by RecBole's HyperTuning, which needs hyperopt ({error}). pip install "
                         "\"recbole_prorec[hyper]\"") from error
    from recbole.trainer import HyperTuning
    from recbole.trainer.hyper_tuning import exhaustive_search

    drawn = []

    def note(settings, files):
        drawn.append(dict(settings))
        return {"model": None, "best_valid_score": 0.0, "valid_score_bigger": True, "best_valid_result": None, "test_result": None}

    tuning = HyperTuning(note, params_dict={"choice": choices}, algo=exhaustive_search, max_evals=n, early_stop=n + 1)
    with _hyperopt_seed(seed), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tuning.run()
    return drawn


@contextlib.contextmanager
def _hyperopt_seed(seed):
    """HyperTuning has no seed of its own, hyperopt reads one from the environment."""
    before = os.environ.get("HYPEROPT_FMIN_SEED")
    os.environ["HYPEROPT_FMIN_SEED"] = str(seed)
    try:
        yield
    finally:
        os.environ.pop("HYPEROPT_FMIN_SEED")
        if before is not None:
            os.environ["HYPEROPT_FMIN_SEED"] = before
