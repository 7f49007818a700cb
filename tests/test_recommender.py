"""Recommendations outside RecBole are those inside it, from a checkpoint as from an export."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from markov_data import write_markov_dataset
from pipeline import Run

import recbole_prorec
from recbole_prorec.command import main
from recbole_prorec.compat import load_trusted
from recbole_prorec.errors import InputError
from recbole_prorec.inference.checkpoint import read_checkpoint
from recbole_prorec.inference.export import write_export
from recbole_prorec.inference.recommender import Recommender, load

RANKINGS = [("generative", "beam"), ("fused", "beam"), ("fused", "all")]
HISTORIES = [["i1", "i2", "i3"], ["i40"], [f"i{i}" for i in range(30)], ["i7", "i7", "i9"]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run of PRORec; the tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("recommender")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        yield Run(write_markov_dataset(folder)).fit()


@pytest.fixture
def checkpoint(run):
    return run.trainer.saved_model_file


@pytest.fixture
def recommender(checkpoint):
    return load(checkpoint)


def loaded(checkpoint, **settings):
    stored = read_checkpoint(checkpoint)
    return Recommender(replace(stored, settings={**stored.settings, **settings}), checkpoint)


# Laws

@pytest.mark.parametrize("ranking, fusion_scope", RANKINGS)
def test_recommendations_are_those_of_recboles_full_sort_topk(run, checkpoint, monkeypatch, ranking, fusion_scope):
    from recbole.utils.case_study import full_sort_topk

    monkeypatch.setattr(run.model, "ranking", ranking)
    monkeypatch.setattr(run.model, "fusion_scope", fusion_scope)
    rows, keys_of = run.test_data.dataset.inter_feat, run.dataset.field2id_token["item_id"]
    values, items = full_sort_topk(rows["user_id"].tolist(), run.model, run.test_data, k=20)
    histories = [keys_of[ids[:length]].tolist() for ids, length in zip(rows["item_id_list"], rows["item_length"])]
    keys, scores = loaded(checkpoint, ranking=ranking, fusion_scope=fusion_scope).recommend(histories, k=20)
    assert len(keys) == 80 and keys == keys_of[items].tolist()
    np.testing.assert_allclose(scores, values, rtol=1e-5)


def test_the_probabilities_of_all_items_sum_to_one(checkpoint):
    keys, scores = loaded(checkpoint, ranking="generative", beam_size=60).recommend(HISTORIES, k=60, exclude_seen=False)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-4)
    assert all(len(set(row)) == 60 for row in keys)


@pytest.mark.parametrize("ranking, fusion_scope", RANKINGS)
@pytest.mark.parametrize("exclude_seen", [None, False, True])
def test_a_batch_equals_its_histories_one_by_one(checkpoint, ranking, fusion_scope, exclude_seen):
    recommender = loaded(checkpoint, ranking=ranking, fusion_scope=fusion_scope)
    keys, scores = recommender.recommend(HISTORIES, 10, exclude_seen)
    for row, history in enumerate(HISTORIES):
        alone, values = recommender.recommend([history], 10, exclude_seen)
        assert alone == [keys[row]]
        np.testing.assert_allclose(values[0], scores[row], rtol=1e-4)


def test_lists_fall_in_score_and_their_beginning_does_not_depend_on_k(recommender):
    keys, scores = recommender.recommend(HISTORIES, k=20)
    assert (np.diff(scores) <= 0).all()
    assert recommender.recommend(HISTORIES, k=5, return_scores=False) == [row[:5] for row in keys]


def test_the_model_reads_the_latest_items_alone(recommender):
    long = HISTORIES[2]
    assert recommender.recommend([long]) == recommender.recommend([long[-20:]])
    assert recommender.recommend([long]) != recommender.recommend([long[-19:]])


@pytest.mark.parametrize("ranking, fusion_scope", RANKINGS)
def test_without_seen_items_lists_are_full_and_keep_their_order(checkpoint, ranking, fusion_scope):
    recommender = loaded(checkpoint, ranking=ranking, fusion_scope=fusion_scope, beam_size=60)
    everything = recommender.recommend(HISTORIES, k=60, exclude_seen=False, return_scores=False)
    read = recommender.recommend(HISTORIES, k=30, return_scores=False)
    assert read == [[key for key in keys if key not in history[-20:]][:30] for keys, history in zip(everything, HISTORIES)]
    unseen = recommender.recommend(HISTORIES, k=30, exclude_seen=True, return_scores=False)
    assert unseen == [[key for key in keys if key not in history][:30] for keys, history in zip(everything, HISTORIES)]
    narrow = loaded(checkpoint, ranking=ranking, fusion_scope=fusion_scope, beam_size=20)
    for keys, history in zip(narrow.recommend(HISTORIES, k=20, exclude_seen=True, return_scores=False), HISTORIES):
        assert len(set(keys)) == 20 and not set(keys) & set(history)
    read_whole = [history for history in HISTORIES if len(history) <= narrow.max_length]
    assert read_whole and narrow.recommend(read_whole, k=20, exclude_seen=True) == narrow.recommend(read_whole, k=20)


def test_unknown_keys_are_passed_over_if_told(recommender):
    assert recommender.recommend([["new", "i1", "newer", "i2"]], drop_unknown=True) == recommender.recommend([["i1", "i2"]])


def test_no_histories_give_no_lists(recommender):
    assert recommender.recommend([]) == ([], [])


def test_load_is_offered_by_the_package(checkpoint):
    assert recbole_prorec.load is load and isinstance(recbole_prorec.load(checkpoint), recbole_prorec.Recommender)


# Files

def test_an_export_recommends_the_same(recommender, tmp_path):
    write_export(recommender, tmp_path / "export")
    again = load(tmp_path / "export")
    assert again.recommend(HISTORIES, k=20) == recommender.recommend(HISTORIES, k=20)
    assert (again.item_keys, again.settings) == (recommender.item_keys, recommender.settings)
    write_export(again, tmp_path / "again")
    for file in (tmp_path / "export").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_neither_recbole_nor_pickle_is_needed_for_an_export_nor_recbole_for_a_checkpoint(recommender, checkpoint, tmp_path):
    write_export(recommender, tmp_path / "export")
    code = ("import json, sys\nfor name in ('recbole', 'faiss', 'pandas'): sys.modules[name] = None\n"
            "import recbole_prorec, recbole_prorec.command\n"
            "found = recbole_prorec.load(sys.argv[1]).recommend(json.loads(sys.argv[2]), k=20)\n"
            "import pickle; pickle.Unpickler = pickle.loads = pickle.load = None\n"
            "assert recbole_prorec.load(sys.argv[3]).recommend(json.loads(sys.argv[2]), k=20) == found\n"
            "print(json.dumps(found))")
    words = [checkpoint, json.dumps(HISTORIES), str(tmp_path / "export")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert json.loads(done.stdout) == list(recommender.recommend(HISTORIES, k=20))


def test_recbole_reads_a_checkpoint_with_its_item_keys_and_resumes_from_it(run, checkpoint):
    from recbole.quick_start import load_data_and_model

    _, model, dataset, *_ = load_data_and_model(checkpoint)
    assert model.item_keys == dataset.field2id_token["item_id"].tolist() == run.model.item_keys
    run.trainer.resume_checkpoint(checkpoint)
    assert run.model.item_keys[0] == "[PAD]" and run.test()["recall@10"] == run.test(model_file=checkpoint)["recall@10"]


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def changed(checkpoint, path, change):
    """A copy of a checkpoint at `path`, after change(its content)."""
    content = load_trusted(checkpoint)
    change(content)
    torch.save(content, path, pickle_protocol=4)
    return path


def test_a_checkpoint_is_read_without_running_it(recommender, checkpoint, tmp_path):
    file = changed(checkpoint, tmp_path / "trap.pth", lambda content: content.update(epoch=Trap(tmp_path / "sprung")))
    assert load(file).recommend(HISTORIES) == recommender.recommend(HISTORIES)
    assert not (tmp_path / "sprung").exists()
    load_trusted(file)
    assert (tmp_path / "sprung").exists()


# Bad input

@pytest.mark.parametrize("histories, arguments, said", [
    ([["i1"], ["i1", "x", "y", "x"]], {}, "history 2: the model does not know the item keys 'x', 'y'; .*drop_unknown"),
    ([["i1"] + [f"x{i}" for i in range(9)]], {}, "'x4' and 4 more"),
    ([[]], {}, "history 1: the history is empty; expected at least one"),
    ([["x"]], {"drop_unknown": True}, "empty without its unknown keys"),
    (["i1", "i2"], {}, "history 1: expected a list of item keys, got 'i1'"),
    ([[None]], {}, "expected item keys as text, got None"),
    ([["i1"]], {"k": 0}, "k is 0; expected a whole number"),
    ([["i1"]], {"k": 2.5}, "k is 2.5; expected a whole number"),
    ([["i1"]], {"k": 61}, "k is 61, and the catalogue has 60 items"),
    ([["i1"]], {"k": 21}, "k is 21, but the beam finds 20 items.*beam_size of at least 21"),
    ([[f"i{i}" for i in range(45)]], {"k": 16, "exclude_seen": True}, "only 15 of 60 items are not in the history"),
])
def test_bad_requests_are_one_clear_error(recommender, histories, arguments, said):
    with pytest.raises(InputError, match=said):
        recommender.recommend(histories, **arguments)


def test_a_wider_beam_or_an_exact_ranking_allows_longer_lists(checkpoint):
    assert len(load(checkpoint, beam_size=30).recommend([["i1"]], k=30, return_scores=False)[0]) == 30
    assert len(loaded(checkpoint, fusion_scope="all").recommend([["i1"]], k=59, return_scores=False)[0]) == 59
    with pytest.raises(InputError, match="k is 60, but only 59 of 60 items are not in the history"):
        loaded(checkpoint, fusion_scope="all").recommend([["i1"]], k=60)
    with pytest.raises(InputError, match="beam_size is 0"):
        load(checkpoint, beam_size=0)


def test_a_device_that_is_not_there_is_one_clear_error(checkpoint):
    with pytest.raises(InputError, match="device is 'quantum', which torch cannot use"):
        load(checkpoint, device="quantum")


def drop_keys(content):
    content["other_parameter"] = {}


def other_model(content):
    content["config"]["model"] = "SASRec"


def lose_weights(content):
    del content["state_dict"]["aligner.encoder.norm_input.bias"]


def break_weights(content):
    content["state_dict"]["aligner.encoder.norm_input.bias"][0] = float("nan")


def repeat_codes(content):
    content["state_dict"]["codes"][1] = content["state_dict"]["codes"][2]


def lose_parts(content):
    del content["state_dict"]


@pytest.mark.parametrize("change, said", [
    (drop_keys, "holds no item keys"), (other_model, "holds a trained SASRec; expected PRORec"),
    (lose_weights, "aligner.encoder.norm_input.bias.*damaged"),
    (break_weights, "no numbers"), (repeat_codes, "different code tuples"), (lose_parts, "damaged, or no checkpoint"),
])
def test_a_checkpoint_that_cannot_be_used_says_why(checkpoint, tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        load(changed(checkpoint, tmp_path / "changed.pth", change))


@pytest.mark.parametrize("keep", [0, 100, 10_000])
def test_a_checkpoint_cut_short_says_so(checkpoint, tmp_path, keep):
    (tmp_path / "cut.pth").write_bytes(Path(checkpoint).read_bytes()[:keep])
    with pytest.raises(InputError, match="cut.pth is damaged, or no checkpoint"):
        load(tmp_path / "cut.pth")


@pytest.mark.parametrize("file", ["weights.safetensors", "codes.json", "item_keys.txt", "settings.json"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])], ids=["lost", "cut"])
def test_a_damaged_export_says_so(recommender, tmp_path, file, damage):
    write_export(recommender, tmp_path / "export")
    damage(tmp_path / "export" / file)
    with pytest.raises(InputError, match="is no export, or a damaged one"):
        load(tmp_path / "export")


def test_an_item_key_that_is_no_line_of_text_is_not_exported(checkpoint, tmp_path):
    stored = read_checkpoint(checkpoint)
    odd = Recommender(replace(stored, item_keys=(*stored.item_keys[:-1], "two\nlines")), checkpoint)
    with pytest.raises(InputError, match="line feed"):
        write_export(odd, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_an_export_does_not_go_where_something_is(recommender, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        write_export(recommender, tmp_path)
    with pytest.raises(InputError, match="cannot be made"):
        write_export(recommender, tmp_path / "notes.txt")


# The command

@pytest.fixture
def prorec(checkpoint, tmp_path, monkeypatch, capsys):
    """prorec(*words) in an empty folder -> exit code, standard output, standard error; CHECKPOINT stands for the run's."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        code = main([checkpoint if word == "CHECKPOINT" else word for word in words])
        return code, *capsys.readouterr()

    return call


def test_the_command_writes_what_the_call_gives_from_csv_to_jsonl(prorec, recommender):
    Path("in.csv").write_text("user,history\nann,i1 i2 i3\n,i40\n", encoding="utf-8")
    code, out, _ = prorec("recommend", "--checkpoint", "CHECKPOINT", "--histories", "in.csv", "--k", "5", "--exclude-seen")
    keys, scores = recommender.recommend(HISTORIES[:2], 5, exclude_seen=True)
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [{"user": user, "items": row, "scores": values}
                                                               for user, row, values in zip(("ann", 2), keys, scores)]


def test_the_command_shows_texts_and_writes_csv_from_an_export_whatever_the_number_of_histories(prorec, recommender, run):
    lines = [json.dumps({"user": f"u{i}", "history": HISTORIES[i % 4]}) for i in range(300)]
    Path("in.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    assert prorec("export", "--checkpoint", "CHECKPOINT", "--output", "export")[0] == 0
    item_file = str(Path(run.dataset.dataset_path, "tiny.item"))
    words = ("--checkpoint", "export", "--histories", "in.jsonl", "--k", "2", "--output", "out.csv", "--show-text", item_file)
    assert prorec("recommend", *words, "--text-template", "{title}")[0] == 0
    found = Path("out.csv").read_text(encoding="utf-8").splitlines()
    keys, scores = recommender.recommend(HISTORIES, k=2)
    assert len(found) == 601 and found[0] == "user,rank,item,score,text"
    user, rank, item, score, text = found[-1].split(",")
    assert (user, rank, item, float(score)) == ("u299", "2", keys[3][1], pytest.approx(scores[3][1], rel=1e-4))
    assert text.startswith("The ") and not list(Path().glob(".*.unfinished"))


def test_texts_come_from_several_files_and_a_file_of_another_catalogue_is_refused(run, prorec):
    item_file = str(Path(run.dataset.dataset_path, "tiny.item"))
    Path("in.csv").write_text("history\ni1\n", encoding="utf-8")
    Path("more.jsonl").write_text("".join(json.dumps({"item": f"i{i}", "text": "mine"}) + "\n" for i in range(61)), encoding="utf-8")
    Path("other.jsonl").write_text('{"item": "x", "text": "of another"}\n', encoding="utf-8")
    words = ("--checkpoint", "CHECKPOINT", "--histories", "in.csv", "--k", "2", "--output", "out.jsonl", "--show-text")
    assert prorec("recommend", *words, item_file, "more.jsonl")[0] == 0
    assert json.loads(Path("out.jsonl").read_text(encoding="utf-8").splitlines()[0])["texts"] == ["mine", "mine"]
    Path("some.jsonl").write_text(json.dumps({"item": "i1", "text": "mine"}) + "\n", encoding="utf-8")
    code, _, error = prorec("recommend", *words, "some.jsonl")
    assert code == 0 and "59 of 60 items have no text in some.jsonl, the first of them 'i" in error
    code, _, error = prorec("recommend", *words, "other.jsonl")
    assert code == 2 and "none of the model's 60 items (the first is" in error and "is in other.jsonl" in error


def test_the_format_is_of_names_that_do_not_say_it(prorec):
    Path("in.jsonl").write_text('{"user": "ann", "history": ["i40"]}\n', encoding="utf-8")
    words = ("--checkpoint", "CHECKPOINT", "--histories", "in.jsonl", "--k", "2", "--format", "csv")
    assert prorec("recommend", *words)[1].startswith("user,rank,item,score\nann,1,")
    assert prorec("recommend", *words, "--output", "out.txt")[0] == 0
    assert Path("out.txt").read_text(encoding="utf-8").startswith("user,rank,item,score\nann,1,")


def test_the_command_is_a_filter(prorec, recommender, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"history": ["i40"]}\n')))
    code, out, error = prorec("recommend", "--checkpoint", "CHECKPOINT", "--histories", "-", "--k", "3")
    assert (code, json.loads(out)["items"], error) == (0, recommender.recommend([["i40"]], k=3)[0][0], "")


@pytest.mark.parametrize("name, content, words, said", [
    ("in.csv", "history\ni1\ni1 x\n", [], "in.csv, line 3: the model does not know the item keys 'x'"),
    ("in.csv", "history\n\" \"\n", [], "in.csv, line 2: the history is empty"),
    ("in.csv", "items\ni1\n", [], "expected the columns history and, if wanted, user; found items"),
    ("in.csv", "user,history\nu1\n", [], "line 2: expected 2 columns"),
    ("in.csv", "history\n", [], "holds no history"),
    ("in.jsonl", '{"history": ["i1"]}\n[]\n', [], "in.jsonl, line 2 is '[]'. Expected an object"),
    ("in.jsonl", '{"history": ["i1"]', [], "line 1 is not json"),
    ("in.jsonl", '{"history": "i1"}', [], "Expected an object"),
    ("in.jsonl", '{"history": ["\\ud800"]}', [], "line 1: an item key is '\\ud800', which holds half of a character"),
    ("in.jsonl", '{"user": "\\ud800", "history": ["i1"]}', [], "line 1: the user is '\\ud800'"),
    ("in.txt", "i1\n", [], "ends in neither .csv nor .jsonl"),
    ("in.csv", "history\ni1\n", ["--k", "99"], "k is 99"),
    ("in.csv", "history\ni1\n", ["--output", "no/where.csv"], "cannot be written"),
    ("in.csv", "history\ni1\n", ["--show-text", "none.item"], "none.item"),
    ("in.csv", "history\ni1\n", ["--checkpoint", "in.csv"], "damaged, or no checkpoint"),
    ("in.csv", "history\ni1\n", ["--checkpoint", "gone.pth"], "gone.pth cannot be read"),
    ("other.csv", "history\ni1\n", [], "in.csv cannot be read"),
])
def test_bad_input_is_one_line_and_exit_code_2_and_leaves_no_file(prorec, name, content, words, said):
    Path(name).write_text(content, encoding="utf-8")
    histories = "in.csv" if name == "other.csv" else name
    code, _, error = prorec("recommend", "--checkpoint", "CHECKPOINT", "--histories", histories, "--output", "out.jsonl", *words)
    assert code == 2 and error.startswith("prorec: ") and error.count("\n") == 1 and said in error
    assert [path.name for path in Path().iterdir()] == [name]
