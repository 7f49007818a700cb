"""A comparison is honest: ranks are RecBole's, costs are whole, failures and other settings are told; finished runs are kept."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pipeline import settings as small_settings
from recbole.trainer import Trainer

from recbole_prorec import registry
from recbole_prorec.artifacts import ArtifactStore
from recbole_prorec.compare import command, observer, progress, ranks, results, worker
from recbole_prorec.compare.checks import EQUAL_FOR_ALL
from recbole_prorec.compare.plan import PROTOCOL, make_comparison, read_yaml
from recbole_prorec.compare.progress import Progress
from recbole_prorec.compare.report import write_report
from recbole_prorec.compare.stage_times import full_seconds, seconds_of_stages, watch_stages
from recbole_prorec.compare.summary import summarize
from recbole_prorec.errors import InputError
from recbole_prorec.known_settings import settings_of
from recbole_prorec.trainer.stages import VERSIONS

COMPARISONS = Path(__file__).parents[1] / "comparisons"


# Costs

def test_the_time_of_a_stage_found_done_is_added_once():
    def stage(key, how, seconds):
        return {"key": key, "how": how, "seconds": seconds, "cpu_seconds": seconds / 2}

    first = {"training_seconds": 30.0, "training_cpu_seconds": 15.0, "stages": [stage("a", "computed", 10.0), stage("a", "computed", 0.5),
                                                                                stage("b", "computed", 19.0), stage("b", "reused", 0.1)]}
    second = {"training_seconds": 20.0, "training_cpu_seconds": 9.0, "stages": [stage("a", "reused", 0.1), stage("c", "computed", 19.0)]}
    third = {"training_seconds": 5.0, "training_cpu_seconds": 5.0, "stages": [stage("d", "resumed", 0.1), stage("d", "computed", 4.0)]}
    computed = seconds_of_stages([first, second, third])
    assert computed == {"a": (10.5, 5.25), "b": (19.0, 9.5), "c": (19.0, 9.5)}
    assert full_seconds(first, computed) == ((30.0, 15.0), False)
    assert full_seconds(second, computed) == ((30.5, 14.25), False)
    assert full_seconds(third, computed) == ((5.0, 5.0), True)


def test_stages_are_told_apart_by_what_the_store_answers(tmp_path):
    store = ArtifactStore(tmp_path)
    with watch_stages() as stages:
        assert store.load("codes", "k") is None
        store.save("codes", "k", {"codes": np.zeros(2)})
        store.load("codes", "k")
        store.save_state("generation", "g", {"finished": False})
        store.load_state("generation", "g")
        store.save_state("generation", "g", {"finished": True})
        store.load_state("generation", "g")
    assert [(stage["stage"], stage["how"]) for stage in stages] == [
        ("codes", "computed"), ("codes", "reused"), ("generation", "resumed"), ("generation", "computed"), ("generation", "reused")]
    store.save("codes", "k", {"codes": np.zeros(2)})
    assert len(stages) == 5  # the store is as before


# Bad input

PLAIN = {"name": "x", "datasets": ["ml-100k"], "entries": ["Pop", "BPR"], "seeds": [1]}


@pytest.mark.parametrize("change, message", [
    ({"entries": ["pop"]}, "'pop'.*Did you mean Pop"),
    ({"entries": ["Pop", {"name": "Pop", "model": "BPR"}]}, "two entries .* called Pop"),
    ({"seeds": [1, 1]}, "two seeds"),
    ({"seeds": ["one"]}, "expected a list of integers"),
    ({"seeds": []}, "no seeds"),
    ({"seeds": [5000000000]}, "seeds are .5000000000.; expected a list of integers from 0 to 4294967295"),
    ({"metrics": []}, "metrics is .*; expected some of .*NDCG"),
    ({"entries": [{"name": "A", "model": ["Pop"]}], "reference": "A"}, "the model of the entry A is .'Pop'.; expected the name of one"),
    ({"datasets": [{"name": "x", "settings": {"data_path": None}}]}, "data_path is None; expected the folder"),
    ({"metrics": ["Recall", "Quality"]}, "'Quality'.*expected some of.*NDCG"),
    ({"metrics": ["RMSE"]}, "no metric of ranked lists called 'RMSE'"),
    ({"topk": [0]}, "topk"),
    ({"entries": ["Pop", {"name": "BPR", "seeds": 3}]}, "seeds are 3; expected a list"),
    ({"reference": "SASRec"}, "'SASRec' is no entry; expected one of Pop, BPR"),
    ({"entrys": []}, "no key 'entrys'"),
    ({"datasets": "ml-100k"}, "expected a list"),
    ({"entries": [{"model": "Pop"}]}, "expected name, model, settings, seeds and search"),
    ({"entries": [{"name": "a/b", "model": "Pop"}]}, "'a/b' cannot be the name of a file"),
    ({"entries": [{"name": "BPR", "settings": {"embeding_size": 8}}]}, "'embeding_size' is no setting of BPR.*Did you mean embedding_size"),
    ({"settings": {"seed": 3}}, "seed .* at the top .*as seeds"),
    ({"entries": [{"name": "BPR", "settings": {"topk": [1]}}]}, "topk stands among the settings"),
])
def test_bad_input_is_one_clear_error(change, message):
    with pytest.raises(InputError, match=message):
        make_comparison({**PLAIN, **change})


def test_a_default_that_a_run_sets_otherwise_may_change():
    def parts(default, **settings):
        return {"settings": settings, "defaults": {"PRORec.yaml": {"codebook_size": default, "epochs": 10}}}

    assert results._changes(parts(256, codebook_size=64), parts(4096, codebook_size=64)) == ""
    assert results._changes(parts(256), parts(4096)) == "defaults.PRORec.yaml.codebook_size: 256 then, 4096 now"
    assert "settings.codebook_size: 64 then, 32 now" in results._changes(parts(256, codebook_size=64), parts(4096, codebook_size=32))


def test_what_recbole_sets_itself_for_sequential_models_may_change_among_the_defaults():
    for model, said in (("SASRec", ""), ("BPR", "defaults.tiny.yaml.repeatable: True then, absent now")):
        before, now = ({"model": model, "settings": {}, "defaults": {"tiny.yaml": default}} for default in ({"repeatable": True}, {}))
        assert results._changes(before, now) == said


def test_files_beside_the_data_that_no_comparison_reads_may_change():
    for file, said in (("tiny.yaml", ""), ("tiny.stats.json", ""), ("tiny.inter", "data.tiny.inter: a then, b now")):
        assert results._changes({"settings": {}, "data": {file: "a"}}, {"settings": {}, "data": {file: "b"}}) == said


@pytest.mark.parametrize("model, settings, read", [
    ("PRORec", {}, ["alignment", "quantization", "generation"]), ("PRORec", {"ranking": "stage1"}, ["alignment"]),
    ("TIGER", {}, ["quantization", "generation"])])
def test_the_version_of_a_stage_that_a_run_does_not_have_may_change(model, settings, read):
    for stage in VERSIONS:
        before, now = ({"model": model, "stages": {**VERSIONS, stage: version}, "settings": settings} for version in (1, 2))
        assert results._changes(before, now) == (f"stages.{stage}: 1 then, 2 now" if stage in read else "")


def test_an_entry_may_have_seeds_of_its_own():
    runs = make_comparison({**PLAIN, "seeds": [1, 2], "entries": ["Pop", {"name": "BPR", "seeds": [7]}]}).runs()
    assert [(run.entry, run.seed, run.settings["seed"]) for run in runs] == [("Pop", 1, 1), ("BPR", 7, 7), ("Pop", 2, 2)]


def test_the_command_prints_the_error_and_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("entries: [", encoding="utf-8")
    for arguments, message in [(["broken.yaml"], "broken.yaml cannot be read"), (["nowhere.yaml"], "nowhere.yaml"),
                               (["--datasets", "nowhere", "--models", "Pop", "--seeds", "1"], "no dataset/nowhere/nowhere.inter"),
                               (["--datasets", "ml-100k", "--models", "Pop", "--seeds", "1", "--jobs", "0"], "--jobs is 0")]:
        assert command.main(arguments) == command.USAGE_ERROR
        assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["broken.yaml"]


@pytest.mark.parametrize("file", sorted(COMPARISONS.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_comparisons_that_come_with_the_package_can_be_run(file):
    comparison = make_comparison(read_yaml(file))
    assert comparison.name == file.stem
    assert len(comparison.runs()) == sum(len(entry.seeds or comparison.seeds) for entry in comparison.entries)


# A whole comparison

@pytest.fixture
def tiny(tiny_dataset, monkeypatch):
    """The dict of a comparison on the tiny data set, and what trains its runs in this process."""
    monkeypatch.setattr(registry.Protocol, "for_all_models", True)
    settings = {key: value for key, value in tiny_dataset.config.items() if key not in ("metrics", "topk", "seed")}
    return {"name": "tiny", "datasets": [tiny_dataset.dataset], "seeds": [1, 2], "settings": settings,
            "entries": ["Pop", {"name": "BPR", "settings": {"embedding_size": 8}}]}


def train(comparison, tmp_path):
    for run in comparison.runs():
        (comparison.folder / run.dataset).mkdir(parents=True, exist_ok=True)
        results.save(comparison.folder, run.name, *trained_and_tested(run, tmp_path))


def trained_and_tested(run, tmp_path):
    return worker.train_and_test(run, "pytest", str(tmp_path / "checkpoints"), Progress(tmp_path / "unfinished", run))


def compare(given, *flags):
    Path("tiny.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    return command.main(["tiny.yaml", *flags])


def test_sampled_candidates_are_refused_before_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(worker.Progress, "fit", None)
    settings = {**tiny["settings"], "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni10"}}
    with pytest.raises(InputError, match="eval_args ask for the mode .*uni10.*Set mode: full"):
        trained_and_tested(make_comparison({**tiny, "settings": settings}).runs()[0], tmp_path)


@pytest.mark.parametrize("model", ["Pop", "GRU4Rec"])
def test_users_with_several_test_items_are_refused_before_training(tiny, tmp_path, monkeypatch, model):
    monkeypatch.setattr(worker.Progress, "fit", None)
    settings = {**tiny["settings"], "eval_args": {"split": {"RS": [.2, .4, .4]}, "order": "TO", "group_by": "user", "mode": "full"}}
    with pytest.raises(InputError, match="users have several test items.*Use leave-one-out"):
        trained_and_tested(make_comparison({**tiny, "entries": [model], "settings": settings}).runs()[0], tmp_path)


@pytest.mark.parametrize("model", ["Pop", "PRORec"])
def test_a_metric_of_validation_that_is_not_computed_is_refused_before_training(tiny, tmp_path, model):
    run = make_comparison({**tiny, "entries": [model], "topk": [3, 5]}).runs()[0]
    with pytest.raises(InputError, match="valid_metric is '.*@10', which is not computed; expected one of Recall@3, Recall@5"):
        worker.build(run, str(tmp_path))


def test_without_validation_there_is_no_score_of_it_in_the_tables(tiny, tmp_path):
    comparison = make_comparison({**tiny, "entries": ["Pop"], "settings": {**tiny["settings"], "eval_step": 0}})
    train(comparison, tmp_path)
    write_report(comparison, {}, {})
    assert "Infinity" not in Path("results/tiny.json").read_text("utf-8") and "valid ndcg" not in Path("results/tiny.md").read_text("utf-8")


def test_tables_are_written_where_the_data_are_not(tiny, tiny_dataset, tmp_path, capsys):
    train(make_comparison(tiny), tmp_path)
    assert compare(tiny, "--tables") == 0
    before = Path("results/tiny.md").read_text("utf-8")
    tiny_dataset.folder.rename(tmp_path / "elsewhere")
    assert compare(tiny) == command.USAGE_ERROR
    capsys.readouterr()
    assert compare({**tiny, "seeds": [1, 2, 3]}, "--tables") == 0
    assert "data set tiny is not here; it is not checked" in capsys.readouterr().out
    assert compare(tiny, "--tables") == 0 and Path("results/tiny.md").read_text("utf-8") == before


def test_a_run_depends_on_all_files_that_its_settings_name(tiny, tmp_path):
    (tmp_path / "encoder").mkdir()
    files = [tmp_path / name for name in ("e.npy", "e.keys.txt", "encoder/model.safetensors")]
    settings = {"text_embedding_file": str(files[0]), "text_encoder": str(tmp_path / "encoder")}
    run = make_comparison({**tiny, "entries": [{"name": "PRORec", "settings": settings}]}).runs()[0]
    found = []
    for changed in (None, *files):
        for file in files:
            file.write_text("changed" if file == changed else "as it was", encoding="utf-8")
        found.append(json.dumps(results.conditions(run)))
    assert len(set(found)) == 4


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recbole_prorec.artifacts.os.fsync", disk_full)
    with pytest.raises(InputError, match="No space left on device.*--output"):
        results.save(tmp_path, "run", {}, {"above": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_all_models_read_histories_of_one_length_where_nothing_says_it(tiny, tmp_path):
    settings = {name: value for name, value in tiny["settings"].items() if name != "MAX_ITEM_LIST_LENGTH"}
    entries = [{"name": "SASRec", "settings": {"loss_type": "CE"}}, "GRU4Rec", {"name": "PRORec", "settings": {"ranking": "stage1"}}]
    runs = make_comparison({**tiny, "settings": settings, "entries": entries, "seeds": [1]}).runs()
    assert [worker.build(run, str(tmp_path))[0]["MAX_ITEM_LIST_LENGTH"] for run in runs] == [20] * 3


@pytest.mark.parametrize("name, plain", [("MultiVAE", False), ("DiffRec", False), ("BPR", True)])
def test_models_with_counters_that_nobody_keeps_begin_again(name, plain):
    trainer = object.__new__(Trainer)
    trainer.model = type(name, (), {"other_parameter": staticmethod(dict)})()
    assert progress._is_plain(trainer) is plain


def test_finished_runs_become_tables_are_not_run_again_and_survive_other_settings(tiny, tmp_path, monkeypatch, capsys):
    comparison = make_comparison(tiny)
    train(comparison, tmp_path)
    monkeypatch.setattr(command, "run_all", lambda runs, *rest: {run.name: "run again" for run in runs})
    assert compare(tiny) == 0
    assert "4 runs, 4 of them finished" in capsys.readouterr().out

    records = [json.loads((comparison.folder / f"tiny/BPR-{seed}.json").read_text("utf-8")) for seed in (1, 2)]
    values = [record["test"]["recall@10"] for record in records]
    bpr = next(row for row in csv.DictReader(Path("results/tiny.csv").read_text("utf-8").splitlines()) if row["entry"] == "BPR")
    assert (float(bpr["recall@10 mean"]), float(bpr["recall@10 std"])) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    text = Path("results/tiny.md").read_text("utf-8")
    assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in text and "Not in the tables" not in text
    assert re.search(r"\| BPR \| recall@10 \| [+-]0\.\d+ \| .* to .* \| (better|worse|not significant) \|", text)
    assert re.search(r"NDCG@10 by training interactions of the user, mean over the seeds:\n\n\| entry \| 8 \(80 users\) \|", text)
    everything = json.loads(Path("results/tiny.json").read_text("utf-8"))
    assert len(everything["runs"]) == 4 and len(everything["tests"]) == 4 and everything["runs"][0]["settings"]["epochs"] == 1

    kept = {file: file.read_bytes() for file in Path("results").rglob("*.*")}
    assert compare({**tiny, "settings": {**tiny["settings"], "epochs": 2}}) == command.USAGE_ERROR
    assert "settings.epochs: 1 then, 2 now" in capsys.readouterr().err
    assert kept == {file: file.read_bytes() for file in Path("results").rglob("*.*")}
    assert compare({**tiny, "settings": {**tiny["settings"], "epochs": 2}}, "--tables") == 0
    text = Path("results/tiny.md").read_text("utf-8")
    assert "other conditions than those of now" in text and "- tiny/Pop-1: settings.epochs: 1 then, 2 now" in text

    wider = {**tiny, "entries": ["Pop", {"name": "BPR", "settings": {"embedding_size": 9}}]}
    assert compare(wider, "--entries", "BPR") == command.USAGE_ERROR
    assert compare(wider, "--entries", "Pop") == 0  # nothing is asked of the others
    text = Path("results/tiny.md").read_text("utf-8")
    assert "- tiny/BPR-1: settings.embedding_size: 8 then, 9 now" in text

    assert "different machines" not in text and "resumed" not in text
    record = json.loads((comparison.folder / "tiny/Pop-1.json").read_text("utf-8"))
    record["machine"].update(cpu="another", gpu="fast one")
    record["resumed"] = True
    (comparison.folder / "tiny/Pop-1.json").write_text(json.dumps(record), encoding="utf-8")
    assert compare(tiny, "--tables") == 0
    text = Path("results/tiny.md").read_text("utf-8")
    assert re.search(r"of different machines \(.*another and fast one.*\): their seconds do not compare", text)
    assert re.search(r"\n\| Pop \((partly )?on a GPU\) \| \d", text)
    assert re.search(r"Killed and resumed, without the seconds .*: Pop \(1\)\.", text)

    (comparison.folder / "tiny/Pop-1.npz").write_bytes(b"half")
    assert compare(tiny) == command.USAGE_ERROR
    assert "Pop-1.json is damaged" in capsys.readouterr().err


def test_a_run_ends_with_the_metrics_of_run_recbole_and_of_its_own_ranks(tiny, tmp_path):
    from recbole.quick_start import run_recbole

    run = next(run for run in make_comparison(tiny).runs() if run.entry == "BPR")
    record, arrays = trained_and_tested(run, tmp_path)
    stock = run_recbole(model="BPR", dataset="tiny", config_dict={**run.settings, "checkpoint_dir": str(tmp_path / "stock")})
    assert record["test"] == stock["test_result"] and record["valid"] == stock["best_valid_result"]
    assert len(arrays["above"]) == record["n_users"] == 80
    assert record["unseen"] == pytest.approx({name: value for name, value in record["test"].items() if name in record["unseen"]}, abs=1e-4)
    assert record["seen"] == 0  # RecBole leaves out what the user has, for general models
    own = ranks.metric_per_user("ndcg", 10, arrays["above"], arrays["tied"]).mean()
    assert own == pytest.approx(record["test"]["ndcg@10"], abs=1e-3)


@pytest.mark.parametrize("model", ["Pop", "BPR"])
def test_lists_of_general_models_are_without_what_the_user_has(tiny, tmp_path, model):
    run = next(run for run in make_comparison(tiny).runs() if run.entry == model)
    arrays = trained_and_tested(run, tmp_path)[1]
    dataset = worker.build(run, str(tmp_path))[1][0]._dataset
    for user, listed in zip(arrays["user_keys"], arrays["top_items"]):
        has = {f"i{(7 * int(user[1:]) + step) % 60}" for step in range(9)}  # the tenth is the answer
        assert not has & set(dataset.field2id_token["item_id"][listed])


def test_general_models_that_would_rank_what_the_user_has_are_refused(tiny, tmp_path):
    run, = make_comparison({**tiny, "settings": {**tiny["settings"], "repeatable": True}, "entries": ["BPR"], "seeds": [1]}).runs()
    with pytest.raises(InputError, match="repeatable is True, so that RecBole would rank what a user has for BPR.*Leave the setting out"):
        worker.build(run, str(tmp_path))


def test_where_nothing_says_it_models_of_all_types_have_one_protocol(tiny, tmp_path):
    settings = {name: value for name, value in tiny["settings"].items() if name not in PROTOCOL}
    entries = [{"name": "GRU4Rec", "settings": {"eval_args": {"split": {"LS": "valid_and_test"}}}}, "BPR"]
    runs = make_comparison({**tiny, "settings": settings, "entries": entries, "seeds": [1]}).runs()
    built = [worker.build(run, str(tmp_path)) for run in runs]
    tests = [dict(zip(*(loaders[2]._dataset.inter_feat[name].tolist() for name in ("user_id", "item_id")))) for _, loaders, *_ in built]
    assert len(tests[0]) == 80 and tests[0] == tests[1]


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "SASRec", "BERT4Rec"])
@pytest.mark.parametrize("killed", [1, 4])  # before an epoch that is better, and where only the test is left
def test_a_killed_training_of_recboles_ends_as_one_that_was_not(tiny, tmp_path, monkeypatch, model, killed):
    monkeypatch.setattr(progress, "KEEP_SECONDS", 0)
    settings = {"loss_type": "CE"} if model == "SASRec" else {}
    run = make_comparison({**tiny, "entries": [{"name": model, "settings": {**settings, "epochs": 5}}], "seeds": [1],
                           "metrics": ["Recall", "NDCG", "ItemCoverage"]}).runs()[0]  # the last one is of numbers of the training data
    whole = trained_and_tested(run, tmp_path)
    Progress(tmp_path / "unfinished", run).forget()

    save_state, kept = ArtifactStore.save_state, []

    def save_and_die(store, stage, key, state):
        save_state(store, stage, key, state)
        kept.append(state["epoch"])
        if state["epoch"] == killed:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ArtifactStore, "save_state", save_and_die)
        trained_and_tested(run, tmp_path)
    assert kept == list(range(killed + 1))
    torch.manual_seed(99), np.random.seed(99)
    resumed = trained_and_tested(run, tmp_path)
    for name in ("test", "valid", "best_valid_score", "unseen"):
        assert resumed[0][name] == whole[0][name]
    assert resumed[0]["stages"] == [] and resumed[0]["training_seconds"] > 0
    assert resumed[0]["resumed"] and not whole[0]["resumed"]
    for name, array in whole[1].items():
        np.testing.assert_array_equal(resumed[1][name], array)


def test_pages_are_kept_for_stock_models_too(tiny, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(worker, "keep_pages", kept.append)
    config = worker.build(make_comparison({**tiny, "entries": ["BPR"]}).runs()[0], str(tmp_path / "checkpoints"))[0]
    assert kept == [config["device"]]


def test_training_interactions_are_counted_alike_for_sequential_and_general_models(tiny, tmp_path):
    tiny["entries"] = ["BPR", {"name": "SASRec", "settings": {"loss_type": "CE"}}]
    counts, users = [], []
    for run in make_comparison({**tiny, "seeds": [1]}).runs():
        dataset = worker.build(run, str(tmp_path / "checkpoints"))[1][0]._dataset
        of_items, of_users = observer.training_counts(dataset)
        named = zip(dataset.field2id_token[dataset.iid_field], of_items.tolist())
        counts.append(dict(named))
        users.append(dict(zip(dataset.field2id_token[dataset.uid_field], of_users.tolist())))
    assert counts[0] == counts[1] and sum(counts[0].values()) == 80 * 8
    assert users[0] == users[1] and sorted(users[0].values()) == [0] + [8] * 80  # padding has none


@pytest.mark.parametrize("model, changes", [("PRORec", {"ranking": "generative"}), ("PRORec", {"ranking": "stage1"}),
                                            ("TIGER", {"backbone": "causal", "head_size": 8, "quantizer": "residual_kmeans"})])
def test_models_with_codes_are_corrected_and_others_left_blank(tiny, tiny_dataset, tmp_path, model, changes):
    small = {key: value for key, value in small_settings(tiny_dataset, epochs=1, alignment_epochs=1).items()
             if key in settings_of(model) and key not in EQUAL_FOR_ALL}
    entry = {"name": "ours", "model": model, "settings": {**small, **changes}}
    exact = {**tiny["settings"], "metric_decimal_place": 6}
    comparison = make_comparison({**tiny, "entries": [entry, "Pop"], "seeds": [1], "settings": exact})
    train(comparison, tmp_path)
    record = json.loads((comparison.folder / "tiny/ours-1.json").read_text("utf-8"))
    write_report(comparison, {}, {})
    rows = {row["entry"]: row for row in csv.DictReader(Path("results/tiny.csv").read_text("utf-8").splitlines())}
    of_both = changes.get("ranking") == "generative"  # TIGER's codes are of the text alone
    assert ("domination" in record) == of_both == ("what survives of each modality" in Path("results/tiny.md").read_text("utf-8"))
    if of_both:
        survival = record["domination"]["survival"]
        assert survival["E_C"]["E_C"]["overlap"] == 1 and 0 < survival["E_C"]["codes"]["overlap"] < 1
        assert f"| ours | 1 | {survival['E_C']['naive']['overlap']:.3f} | " in Path("results/tiny.md").read_text("utf-8")
    if changes.get("ranking") == "stage1":
        assert "corrected" not in record and "corrected ndcg@10 mean" not in rows["ours"]
    else:
        assert record["items_in_collisions"] > 0 and record["corrected"] != record["test"]
        assert float(rows["ours"]["corrected ndcg@10 mean"]) == pytest.approx(record["corrected"]["ndcg@10"])
        assert rows["Pop"]["corrected ndcg@10 mean"] == ""
        header = next(line for line in Path("results/tiny.md").read_text("utf-8").splitlines() if line.startswith("| entry"))
        assert "corrected ndcg@10" in header and "corrected ndcg@5" not in header


@pytest.mark.parametrize("model", ["LightGCN", "NGCF", "GRU4Rec", "BERT4Rec"])
def test_recboles_models_take_part_by_name(tiny, tmp_path, model):
    run = make_comparison({**tiny, "entries": [model], "seeds": [1]}).runs()[0]
    record, _ = trained_and_tested(run, tmp_path)
    assert record["n_users"] == 80 and 0 <= record["test"]["ndcg@10"] <= record["unseen"]["ndcg@10"] + 1e-4 <= 1
    assert (record["seen"] > 0) == (model in ("GRU4Rec", "BERT4Rec"))


def test_entries_tested_on_different_items_are_not_compared():
    comparison = make_comparison({**PLAIN, "topk": [5]})
    record = {"model": "Pop", "seed": 1, "stages": [], "test": {}, "depth": 5, "coverage": 1, "popularity": 1, "valid_metric": "ndcg@10",
              "best_valid_score": 1, "training_seconds": 1, "training_cpu_seconds": 1, "evaluation_seconds": 1, "n_users": 2,
              "n_items": 9, "n_parameters": 1, "peak_memory_bytes": 1, "machine": {"cpu": "x"}}
    arrays = {"user_keys": np.array(["a", "b"]), "above": np.array([0, 1]), "tied": np.array([0, 0])}
    runs = {("ml-100k", name): {1: (record, {**arrays, "target_keys": np.array(["x", target])})} for name, target in
            (("Pop", "y"), ("BPR", "z"))}
    assert all("not tested on the same items" in test["refused"] for test in summarize(comparison, runs)[1])


@pytest.mark.parametrize("before, ends", [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_ends_a_comparison_that_was_not_told_to_outlive_it(monkeypatch, before, ends):
    monkeypatch.setattr(command.signal, "getsignal", {signal.SIGHUP: before}.get)
    assert (signal.SIGHUP in command._endings()) is ends


def test_a_failing_entry_is_told_of_and_a_killed_comparison_keeps_what_is_finished(tiny, tmp_path):
    tiny["entries"] = [{"name": "broken", "model": "BPR", "settings": {"embedding_size": -1}}, "Pop",
                       {"name": "endless", "model": "BPR", "settings": {"epochs": 10**6, "eval_step": 0}}]
    Path("tiny.yaml").write_text(yaml.safe_dump({**tiny, "seeds": [1]}), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(COMPARISONS.parent)}
    process = subprocess.Popen([sys.executable, "-m", "recbole_prorec.compare", "tiny.yaml"], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(tmp_path / "results/tiny/tiny/endless-1.log", process)
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == command.INTERRUPTED and "interrupted. Finished runs are kept" in said
    assert re.search(r"\[1/3\] tiny/broken-1: FAILED after \d+ s: .*negative.*broken-1.log", said)
    assert "[2/3] tiny/Pop-1: done" in said
    assert not list(Path("results").rglob(".checkpoints-*"))
    assert command.main(["tiny.yaml", "--tables"]) == 0
    text = Path("results/tiny.md").read_text("utf-8")
    assert "- tiny/endless-1: not finished" in text and "| Pop | 1 |" in text


def wait_for(path, process):
    """Until the file is there and its process had time to begin; a comparison that ends before is a failure."""
    limit = time.monotonic() + 600
    while not path.exists():
        assert process.poll() is None and time.monotonic() < limit, "the comparison never came to its last run"
        time.sleep(0.1)
