"""A search is fair: as many settings for each entry, judged on validation alone, each in a run of its own."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from recbole_prorec import quick_start, registry
from recbole_prorec.compare import command, results, search, worker
from recbole_prorec.compare.plan import make_comparison, read_yaml
from recbole_prorec.compare.progress import Progress
from recbole_prorec.errors import InputError

CHOICES = {"learning_rate": [0.1, 0.01, 0.001], "loss": ["CE", "BPR"]}
PLAIN = {"name": "x", "datasets": ["ml-100k"], "seeds": [1], "trials": 2,
         "entries": [{"name": "BPR", "search": {"embedding_size": [8, 16]}}]}


@pytest.fixture
def hyperopt():
    pytest.importorskip("hyperopt", reason="needs the extra hyper", exc_type=ImportError)


# Draws

def test_draws_are_different_settings_out_of_the_choices(hyperopt):
    drawn = search.draw(CHOICES, 6, seed=3)
    everything = [dict(zip(CHOICES, values)) for values in itertools.product(*CHOICES.values())]
    assert sorted(drawn, key=str) == sorted(everything, key=str)


def test_draws_depend_on_the_seed_alone(hyperopt, monkeypatch):
    monkeypatch.setenv("HYPEROPT_FMIN_SEED", "9")
    first = [search.draw(CHOICES, 3, seed=seed) for seed in (1, 1, 2, 3)]
    assert first[0] == first[1] and (first[2] != first[0] or first[3] != first[0])
    assert os.environ["HYPEROPT_FMIN_SEED"] == "9"
    assert search.draw(CHOICES, 6, seed=1)[:3] == first[0]  # more trials later go on from the ones that are there


def test_a_search_without_hyperopt_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hyperopt", None)
    with pytest.raises(InputError, match=r"recbole_prorec\[hyper\]"):
        search.draw(CHOICES, 2, seed=1)


# Bad input

@pytest.mark.parametrize("change, message", [
    ({"trials": 0}, "trials is 0"),
    ({"trials": 3}, "2 different settings for 3 trials"),
    ({"trials": "many"}, "expected a int"),
    ({"datasets": ["ml-100k", "ml-1m"]}, "a search is on one data set"),
    ({"entries": ["Pop"]}, "search of Pop is {}; expected"),
    ({"entries": [{"name": "BPR", "search": {"embeding_size": [1, 2]}}]}, "Did you mean embedding_size"),
    ({"entries": [{"name": "BPR", "search": {"embedding_size": 8}}]}, "embedding_size is 8; expected a list"),
    ({"entries": [{"name": "BPR", "search": {"embedding_size": [8, 8]}}]}, "two choices of embedding_size"),
    ({"entries": [{"name": "BPR", "search": {"topk": [8, 9]}}]}, "topk is set .* cannot be searched"),
    ({"entries": [{"name": "BPR", "settings": {"embedding_size": 8}, "search": {"embedding_size": [8, 9]}}]}, "cannot be searched"),
])
def test_bad_input_is_one_clear_error(change, message):
    with pytest.raises(InputError, match=message):
        make_comparison({**PLAIN, **change})


@pytest.mark.parametrize("given, flags, message", [
    (PLAIN, [], "run it with --search"),
    ({"datasets": ["ml-100k"], "seeds": [1], "entries": ["Pop"]}, ["--search"], "needs trials: N"),
])
def test_a_search_is_asked_for_twice(given, flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    assert command.main(["x.yaml", *flags]) == command.USAGE_ERROR
    assert message in capsys.readouterr().err and [file.name for file in tmp_path.iterdir()] == ["x.yaml"]


# A whole search

def validated(run, folder):
    return worker.train_and_validate(run, "pytest", "checkpoints", Progress(folder / "unfinished", run))


@pytest.fixture
def tiny(tiny_dataset, monkeypatch):
    """A search of two entries, three trials each, whose runs are made in this process; "broken" are those of the learning rate -1."""
    monkeypatch.setattr(registry.Protocol, "for_all_models", True)
    monkeypatch.setattr(search, "draw", lambda choices, n, seed: [{"learning_rate": rate} for rate in choices["learning_rate"]][:n])
    made = []

    def run_all(runs, folder, *rest):
        failed = {}
        for run in runs:
            made.append(run.name)
            if run.drawn["learning_rate"] < 0:
                failed[run.name] = "it is broken"
            else:
                results.save(folder, run.name, *validated(run, folder))
        return failed

    monkeypatch.setattr(command, "run_all", run_all)
    settings = {key: value for key, value in tiny_dataset.config.items() if key not in ("metrics", "topk", "seed")}
    rates = {"learning_rate": [0.001, 0.1, 0.01]}
    given = {"datasets": ["tiny"], "seeds": [1, 2], "settings": settings, "trials": 3,
             "entries": [{"name": "BPR", "settings": {"embedding_size": 8}, "search": rates},
                         {"name": "wide", "model": "BPR", "search": rates}]}
    return given, made


def run_search(given):
    Path("tiny.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    return command.main(["tiny.yaml", "--search"])


def test_a_search_ends_with_all_trials_and_a_comparison_of_the_winners(tiny, capsys):
    given, made = tiny
    assert run_search(given) == 0
    assert made == [f"tiny/{name} trial {turn}-1" for turn in (1, 2, 3) for name in ("BPR", "wide")]
    assert run_search(given) == 0 and len(made) == 6
    assert "6 runs, 6 of them finished before" in capsys.readouterr().out

    rows = list(csv.DictReader(Path("results/tiny-search.csv").read_text("utf-8").splitlines()))
    own = [(float(row["score"]), json.loads(row["settings"])) for row in rows if row["entry"] == "BPR"]
    score, settings = max(own, key=lambda pair: pair[0])
    assert len(rows) == 6 and [tried["learning_rate"] for _, tried in own] == [0.001, 0.1, 0.01]
    assert all(float(row["seconds"]) > 0 and float(row["cpu_seconds"]) > 0 for row in rows)
    text = Path("results/tiny-search.md").read_text("utf-8")
    median = sorted(score for score, _ in own)[1]
    assert "no entry was tuned more than another" in text and f"| BPR | 3 of 3 | {score:.4f} | {median:.4f} |" in text
    everything = json.loads(Path("results/tiny-search.json").read_text("utf-8"))
    assert len(everything["trials"]) == len(everything["runs"]) == 6 and everything["best"]["BPR"]["settings"] == settings

    winners = make_comparison(read_yaml("results/tiny-tuned.yaml"))
    assert [entry.settings for entry in winners.entries][0] == {"embedding_size": 8, **settings}
    assert winners.trials == 0 and len(winners.runs()) == 4 and winners.name == "tiny-tuned"
    assert "no entry was tuned more" in " ".join(Path("results/tiny-tuned.yaml").read_text("utf-8").split())


def test_the_cost_of_a_stage_that_was_done_elsewhere_is_said_to_be_unknown(tiny):
    given, _ = tiny
    assert run_search(given) == 0
    assert "or more |" not in Path("results/tiny-search.md").read_text("utf-8")
    for turn, how in ((2, "reused"), (3, "resumed")):
        path = Path(f"results/tiny-search/tiny/BPR trial {turn}-1.json")
        record = json.loads(path.read_text("utf-8"))
        record["stages"].append({"stage": "generation", "key": how, "how": how, "seconds": 0.0, "cpu_seconds": 0.0})
        path.write_text(json.dumps(record), encoding="utf-8")
    assert run_search(given) == 0
    lines = [line for line in Path("results/tiny-search.md").read_text("utf-8").splitlines() if "or more |" in line]
    assert [line.split(" | ")[:2] for line in lines] == [["| BPR", "3 of 3"], ["| BPR", "2"], ["| BPR", "3"]]
    rows = csv.DictReader(Path("results/tiny-search.csv").read_text("utf-8").splitlines())
    assert [row["trial"] for row in rows if row["cost_of_a_stage_unknown"] == "True"] == ["2", "3"]


def test_a_failing_trial_is_told_of_and_the_others_go_on(tiny):
    given, made = tiny
    given["entries"][1]["search"] = {"learning_rate": [-1.0, 0.1, 0.01]}
    assert run_search(given) == command.SOME_FAILED
    assert len(made) == 6
    text = Path("results/tiny-search.md").read_text("utf-8")
    assert "not tuned equally yet**: trials finished are BPR 3, wide 2" in text and "- tiny/wide trial 1-1: it is broken" in text
    winners = Path("results/tiny-tuned.yaml").read_text("utf-8")
    comments = " ".join(line.removeprefix("# ") for line in winners.splitlines() if line.startswith("#"))
    assert "not tuned equally yet: trials finished are BPR 3, wide 2" in comments
    assert run_search(given) == command.SOME_FAILED and made[6:] == ["tiny/wide trial 1-1"]


def test_a_trial_looks_at_validation_alone(tiny, monkeypatch, tmp_path):
    from recbole.trainer import Trainer

    given, _ = tiny
    evaluate, build, seen, built = Trainer.evaluate, worker.build, [], []

    def seeing(trainer, data, *args, **kwargs):
        seen.append(data)
        return evaluate(trainer, data, *args, **kwargs)

    monkeypatch.setattr(Trainer, "evaluate", seeing)
    monkeypatch.setattr(worker, "build", lambda *args: built.append(build(*args)) or built[0])
    run = search.trials_of(make_comparison({"name": "x", **given}))["BPR"][0]
    record, arrays = validated(run, tmp_path)
    assert seen and all(data is built[0][1][1] for data in seen)
    assert "test" not in record and arrays == {} and not any(file.is_file() for file in Path("checkpoints").iterdir())


def test_a_trial_that_is_never_validated_has_no_score_to_win_with(tiny, tmp_path):
    given, _ = tiny
    given["settings"]["eval_step"] = 0
    run = search.trials_of(make_comparison({"name": "x", **given}))["BPR"][0]
    with pytest.raises(InputError, match="never validated.* eval_step is 0 of 1 epochs"):
        validated(run, tmp_path)


@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_trials_that_are_left(hyperopt, tiny_dataset):
    settings = {key: value for key, value in tiny_dataset.config.items() if key not in ("metrics", "topk", "seed")}
    endless = {"name": "endless", "model": "BPR", "settings": {"epochs": 10**6, "stopping_step": 10**6}}
    rates = {"learning_rate": [0.1, 0.01, 0.001]}
    given = {"datasets": ["tiny"], "seeds": [1], "settings": settings, "trials": 2,
             "entries": [{"name": "BPR", "search": rates}, {**endless, "search": rates}]}
    Path("tiny.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    path = os.pathsep.join([str(Path(quick_start.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen([sys.executable, "-m", "recbole_prorec.compare", "tiny.yaml", "--search"], text=True,
                               env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(Path("results/tiny-search/tiny/endless trial 1-1.log"), process)
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == command.INTERRUPTED and "tiny/BPR trial 1-1: done" in said

    kept = Path("results/tiny-search/tiny/BPR trial 1-1.json")
    record = json.loads(kept.read_text("utf-8"))
    assert record["best_valid_score"] >= 0 and record["drawn"]["learning_rate"] in rates["learning_rate"] and "test" not in record
    made = kept.stat().st_mtime_ns
    assert command.main(["tiny.yaml", "--search", "--entries", "BPR"]) == 0
    text = Path("results/tiny-search.md").read_text("utf-8")
    assert kept.stat().st_mtime_ns == made and "trials finished are BPR 2, endless 0" in text


def wait_for(path, process):
    """Until the file is there; a search that ends before is a failure."""
    limit = time.monotonic() + 600
    while not path.exists():
        assert process.poll() is None and time.monotonic() < limit, "the search never came to its second trial"
        time.sleep(0.1)


# RecBole's own tuning, in a process that begins empty

TUNE = """
import sys
from recbole_prorec.quick_start import objective_function
from recbole.trainer import HyperTuning

if __name__ == "__main__":
    settings = {settings!r}
    def objective(tried, files):
        return objective_function({{**settings, **tried}}, files, saved=False)
    tuning = HyperTuning(objective, params_dict={{"choice": {{"decoder_dropout_prob": [0.1, 0.2]}}}}, algo="exhaustive", early_stop=9)
    tuning.run()
    print("best of", len(tuning.params2result), tuning.best_params)
"""
RAY = """
from recbole_prorec.quick_start import objective_function
import recbole.quick_start  # before ray, which needs what is mended here
import ray
from ray import tune

def mend():
    import recbole_prorec, recbole

if __name__ == "__main__":
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env={{"worker_process_setup_hook": mend}})
    found = tune.run(tune.with_parameters(objective_function, config_file_list=None, saved=False),
                     config={{**{settings!r}, "decoder_dropout_prob": tune.grid_search([0.1, 0.2])}}, verbose=0)
    print("best of", len(found.trials), found.get_best_config(metric="ndcg@10", mode="max")["decoder_dropout_prob"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("model, changes", [("PRORec", {}), ("TIGER", {"backbone": "causal", "head_size": 8})])
@pytest.mark.parametrize("code", [TUNE, RAY], ids=["HyperTuning", "Ray"])
def test_recboles_own_tuning_works_with_our_models(hyperopt, tiny_dataset, code, model, changes):
    from pipeline import settings

    if code is RAY:
        pytest.importorskip("pkg_resources", reason="ray needs setuptools<82, of the extra hyper")
    small = settings(tiny_dataset, model=model, dataset="tiny", epochs=1, alignment_epochs=1, rqvae_epochs=2, show_progress=False,
                     **changes)
    small["data_path"] = str(Path(small["data_path"]).resolve())
    Path("tune.py").write_text(code.format(settings=small), encoding="utf-8")
    path = os.pathsep.join([str(Path(quick_start.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "tune.py"], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert "best of 2" in done.stdout, done.stderr[-2000:]
