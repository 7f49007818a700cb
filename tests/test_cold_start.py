"""Held-out items: the model does not see them in training, all are added, and the numbers are those of the definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from markov_data import write_markov_dataset
from pipeline import settings

from recbole_prorec.cold_start import experiment
from recbole_prorec.cold_start.measure import candidates, measure, metrics_of, metrics_of_chance, ranks_of, text_scores
from recbole_prorec.command import main
from recbole_prorec.errors import InputError
from recbole_prorec.inference.recommender import load


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["prorec"])
    tiny = write_markov_dataset(tmp_path, n_items=40, n_users=60, length=8)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings(tiny, alignment_epochs=1, epochs=1)), encoding="utf-8")
    return ["cold-start", "--dataset", tiny.dataset, "--config_files", str(tmp_path / "small.yaml"), "--share", "0.1", "--output",
            str(tmp_path / "report")]


def test_the_report_has_every_way_and_the_held_out_items_were_not_trained(arguments, tmp_path, monkeypatch):
    seen = {}
    train = experiment._train

    def watched(dataset, folder, config_files):
        seen["keys"] = {line.split("\t")[1] for line in (Path(folder) / dataset / f"{dataset}.inter").read_text().splitlines()[1:]}
        return train(dataset, folder, config_files)

    write = experiment._write_warm

    def caught(folder, dataset, histories, cold, config):
        seen["cold"] = cold
        write(folder, dataset, histories, cold, config)

    monkeypatch.setattr(experiment, "_train", watched)
    monkeypatch.setattr(experiment, "_write_warm", caught)
    assert main(arguments) == 0
    assert seen["cold"] and seen["cold"].isdisjoint(seen["keys"])
    report = json.loads((tmp_path / "report" / "cold_start.json").read_text())
    assert report["held out"] == round(0.1 * report["items"]) and len(seen["keys"]) <= report["items"] - report["held out"]
    for where, n in (("all items", report["items"]), ("held-out items alone", report["held out"])):
        ways = report["results"][where]
        assert set(ways) == {"PRORec", "text neighbours", "random"}
        assert 0 < min(5, n) / n <= ways["random"]["recall@5"]  # items of the history are no candidates
        assert all(0 <= value <= 1 for found in ways.values() for value in found.values())
    assert "| PRORec |" in (tmp_path / "report" / "cold_start.md").read_text()


def test_settings_of_recbole_go_on_to_the_training(arguments, tmp_path, monkeypatch):
    trained = []

    def note(path):
        trained.append(load(path))
        return trained[0]

    monkeypatch.setattr(experiment, "load", note)
    assert main([*arguments, "--hidden_size=8", "--n_heads=1"]) == 0
    assert trained[0].settings["hidden_size"] == 8 and trained[0].network.aligned.shape[1] == 16
    assert "--hidden_size=8" in json.loads((tmp_path / "report" / "cold_start.json").read_text())["settings"]


def test_the_seed_chooses_the_held_out_items_and_no_other_setting_does(arguments, monkeypatch):
    chosen = []

    def note(folder, dataset, histories, cold, config):
        chosen.append(cold)
        raise InputError("no training")

    monkeypatch.setattr(experiment, "_write_warm", note)
    for extra in ("--learning_rate=0.01", "--epochs=2", "--seed=1"):
        assert main([*arguments, extra]) == 2
    assert chosen[0] == chosen[1] != chosen[2]


def test_chance_is_the_mean_over_all_ranks():
    for ranks in ([[before, 0] for before in range(30)], [[0, 29]]):  # every place once; a tie of all
        assert metrics_of(torch.tensor(ranks)) == pytest.approx(metrics_of_chance(torch.tensor([30])))
    assert metrics_of_chance(torch.tensor([3]))["recall@5"] == 1


def test_an_item_of_the_history_is_no_candidate_but_the_target_always_is():
    among = torch.tensor([True, True, True, True, False])
    assert candidates([[1, 2], [3, 1]], [3, 1], among).tolist() == [[False, False, False, True, False], [False, True, True, False, False]]


def test_only_candidates_stand_before_the_target_and_beside_it():
    scores, allowed = torch.tensor([[9.0, 5.0, 4.0, 3.0, 3.0]]), torch.tensor([[False, True, False, True, True]])
    assert ranks_of(scores, torch.tensor([3]), allowed).tolist() == [[1, 1]]


def test_text_neighbours_find_the_item_that_is_like_the_latest_ones():
    text = np.float32([[0, 0], [1, 0], [1, 0.1], [0, 1], [1, 0.05]])
    found = measure({"text": text_scores(text)}, [([3, 3, 3, 1, 1, 1, 1, 2], 4), ([1, 2], 3)], torch.ones(5, dtype=torch.bool))
    scores = text_scores(text)([[3, 3, 3, 1, 1, 1, 1, 2]])
    assert scores[0, 1:].argmax() + 1 in (1, 4) and scores[0, 3] == scores[0, 1:].min()
    assert found["text"]["ndcg@5"] == pytest.approx((1 + 1 / np.log2(3)) / 2)


@pytest.mark.parametrize("share", ["0", "1", "-2"])
def test_an_impossible_share_is_one_clear_error(arguments, capsys, share):
    assert main([*arguments, f"--share={share}"]) == 2
    assert "--share is" in capsys.readouterr().err


def test_other_commands_take_no_settings():
    with pytest.raises(SystemExit):
        main(["export", "--checkpoint", "a.pth", "--output", "b", "--topk=[3]"])


@pytest.mark.parametrize("flag, message", [
    ("--epocs=3", "epochs"), ("--text_template=a={title}", "expected settings as --key=value"), ("--seeed", "as --key=value"),
    ("--config_files=nope.yaml", "nope.yaml cannot be read"), ("--seed=-1", "--seed is -1"),
    ("--load_col={'inter':['user_id','item_id']}", "have no timestamp"),
    ("--ranking=stage1", "new items need codes"), ("--quantizer=rqvae", "residual_kmeans"),
])
def test_what_cannot_work_is_refused_before_any_training(arguments, capsys, monkeypatch, flag, message):
    monkeypatch.setattr(experiment, "_train", None)
    assert main([*arguments, flag]) == 2
    assert message in capsys.readouterr().err
