"""Held-out items: the model does not see them in training, all are added, and the numbers are those of the definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from markov_data import write_markov_dataset
from pipeline import settings

from recbole_prorec import cold_start
from recbole_prorec.command import main


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
    train = cold_start._train

    def watched(dataset, folder, config_files):
        seen["keys"] = {line.split("\t")[1] for line in (Path(folder) / dataset / f"{dataset}.inter").read_text().splitlines()[1:]}
        return train(dataset, folder, config_files)

    monkeypatch.setattr(cold_start, "_train", watched)
    assert main(arguments) == 0
    report = json.loads((tmp_path / "report" / "cold_start.json").read_text())
    assert report["held out"] == round(0.1 * report["items"]) and len(seen["keys"]) <= report["items"] - report["held out"]
    for where, n in (("all items", report["items"]), ("held-out items alone", report["held out"])):
        ways = report["results"][where]
        assert set(ways) == {"PRORec", "text neighbours", "random"}
        assert ways["random"]["recall@5"] == pytest.approx(min(5, n) / n)
        assert all(0 <= value <= 1 for found in ways.values() for value in found.values())
    assert "| PRORec |" in (tmp_path / "report" / "cold_start.md").read_text()


def test_settings_of_recbole_go_on_to_the_training(arguments, tmp_path):
    assert main([*arguments, "--topk=[10,3]"]) == 0
    assert "--topk=[10,3]" in json.loads((tmp_path / "report" / "cold_start.json").read_text())["settings"]


def test_metrics_are_those_of_the_ranks_and_random_is_the_mean_over_all_ranks():
    n = 30
    scores, targets = torch.arange(n, 0, -1.0).expand(n, -1), torch.arange(n)  # every rank once
    found = cold_start._metrics({"every rank": scores}, targets, torch.ones(n, dtype=torch.bool))
    assert found["every rank"] == pytest.approx(found["random"])


def test_only_the_allowed_items_count():
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0]]).repeat(2, 1)
    found = cold_start._metrics({"way": scores}, torch.tensor([1, 3]), torch.tensor([False, True, False, True]))
    assert found["way"]["ndcg@5"] == pytest.approx((1 + 1 / np.log2(3)) / 2)


@pytest.mark.parametrize("share", ["0", "1", "-2"])
def test_an_impossible_share_is_one_clear_error(arguments, capsys, share):
    assert main([*arguments, f"--share={share}"]) == 2
    assert "--share is" in capsys.readouterr().err


def test_other_commands_take_no_settings():
    with pytest.raises(SystemExit):
        main(["export", "--checkpoint", "a.pth", "--output", "b", "--topk=[3]"])
