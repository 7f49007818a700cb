"""The report of a trained model: its numbers are the model's, its page needs nothing and runs nothing."""

import json
import os
import pickle
import re
import sys
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from markov_data import write_markov_dataset
from pipeline import Run

from recbole_prorec.command import main
from recbole_prorec.compat import load_trusted
from recbole_prorec.inference.checkpoint import read_parts
from recbole_prorec.report.codes import code_numbers, code_tree
from recbole_prorec.report.figures import LOSSES
from recbole_prorec.report.numbers import all_numbers
from recbole_prorec.report.quality import beam_numbers, beam_survival, by_group, metrics, recall_and_ndcg, recommended
from recbole_prorec.report.source import read_source
from recbole_prorec.report.tree import explorer

HOSTILE = '<script>alert("1")</script> & <img src=http://example.org/x.png>'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run with a hostile title; the tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        yield Run(with_hostile_title(write_markov_dataset(folder))).fit()


def with_hostile_title(tiny):
    file = tiny.folder / "tiny.item"
    lines = [line.replace("The zero-three", HOSTILE) for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    return tiny


@pytest.fixture(scope="module")
def checkpoint(run):
    return run.trainer.saved_model_file


@pytest.fixture(scope="module")
def source(checkpoint):
    return read_source(checkpoint)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "report"
    assert main(["report", "--checkpoint", checkpoint, "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def numbers(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


# Curves

def curves(checkpoint):
    return read_parts(checkpoint)[2]["other_parameter"]["curves"]


def test_a_checkpoint_has_the_losses_and_the_score_of_every_epoch(checkpoint):
    found = curves(checkpoint)
    assert {stage: [point["epoch"] for point in points] for stage, points in found.items()} == {name: [0, 1, 2] for name in LOSSES}
    for stage, points in found.items():
        assert all(len(point["losses"]) == len(LOSSES[stage]) and isinstance(point["valid_score"], float) for point in points)


def test_the_best_score_of_generation_is_on_its_curve(tiny_dataset):
    plain = Run(tiny_dataset, ranking="generative").fit()
    assert max(point["valid_score"] for point in plain.model.curves["generation"]) == pytest.approx(plain.valid_score)


class Killed(Exception):
    """In the place of a signal."""


@pytest.mark.parametrize("stage", LOSSES)
def test_a_run_that_was_killed_has_the_whole_curve(tiny_dataset, stage):
    whole = Run(tiny_dataset, cache_dir=str(tiny_dataset.folder.parent / "other")).fit()
    killed = Run(tiny_dataset)
    train_epoch = killed.trainer._train_epoch

    def kill(train_data, epoch_idx, *args, **kwargs):
        losses = train_epoch(train_data, epoch_idx, *args, **kwargs)
        if (killed.model.stage, epoch_idx) == (stage, 1):
            raise Killed
        return losses

    killed.trainer._train_epoch = kill
    with pytest.raises(Killed):
        killed.fit()
    assert curves(Run(tiny_dataset).fit().trainer.saved_model_file) == curves(whole.trainer.saved_model_file)


def test_a_finished_run_that_is_found_in_the_cache_has_its_curves(tiny_dataset):
    first, second = Run(tiny_dataset).fit(), Run(tiny_dataset).fit()
    assert second.trained == [] and second.model.curves == first.model.curves


def test_a_run_resumed_from_a_checkpoint_goes_on_with_its_curve(tiny_dataset):
    first = Run(tiny_dataset, epochs=2).fit()
    best = first.trainer.best_epoch
    second = Run(tiny_dataset, epochs=4)
    second.trainer.resume_checkpoint(first.trainer.saved_model_file)
    second.fit()
    points = second.model.curves["generation"]
    assert [point["epoch"] for point in points] == [0, 1, 2, 3]
    assert points[:best + 1] == first.model.curves["generation"][:best + 1]
    assert second.model.curves["alignment"] == first.model.curves["alignment"]


def test_without_validation_there_are_losses_alone(tiny_dataset):
    run = Run(tiny_dataset)
    run.valid_data = None
    run.fit()
    assert [point["valid_score"] for point in run.model.curves["generation"]] == [None] * 3


# Numbers

def test_quality_is_recboles(run, numbers):
    tested = run.test()
    assert numbers["quality"]["all"]["recall"] == pytest.approx(tested["recall@10"], abs=1e-6)
    assert numbers["quality"]["all"]["ndcg"] == pytest.approx(tested["ndcg@10"], abs=1e-6)


@pytest.mark.parametrize("name", ["by_popularity", "by_history_length"])
def test_groups_hold_every_test_row_once(numbers, name):
    rows, whole = numbers["quality"][name], numbers["quality"]["all"]
    assert sum(row["users"] for row in rows) == whole["users"] == 80
    assert sum(row["users"] * row["recall"] for row in rows) == pytest.approx(80 * whole["recall"])
    assert all(a["to"] < b["from"] for a, b in zip(rows, rows[1:]))


def test_groups_are_of_like_size_where_nothing_ties():
    rows = by_group(np.random.default_rng(0).permutation(100), np.zeros(100), np.zeros(100))
    assert [(row["from"], row["to"]) for row in rows][0][0] == 0 and rows[-1]["to"] == 99
    assert all(abs(row["users"] - 20) <= 1 for row in rows)


def test_equal_values_are_one_group():
    row, = by_group(np.full(7, 3), np.ones(7), np.ones(7))
    assert (row["from"], row["to"], row["users"], row["recall_error"]) == (3, 3, 7, 0)


def test_a_standard_error_is_that_of_a_share():
    recall = np.array([1.0, 0, 0, 0])
    assert metrics(recall, recall)["recall_error"] == pytest.approx(np.sqrt(0.25 * 0.75 / 3))
    assert metrics(recall[:1], recall[:1])["recall_error"] is None


def test_places_give_recall_and_ndcg():
    recall, ndcg = recall_and_ndcg(np.array([[4, 5, 6], [4, 5, 6], [4, 5, 6]]), np.array([4, 6, 9]))
    np.testing.assert_allclose(recall, [1, 1, 0])
    np.testing.assert_allclose(ndcg, [1, 0.5, 0])


def narrow(source, beam_size):
    stored = replace(source.recommender.stored, settings={**source.recommender.settings, "beam_size": beam_size, "ranking": "generative"})
    return type(source.recommender)(stored, "test")


@pytest.mark.parametrize("beam_size", [1, 3, 20])
def test_a_target_that_leaves_the_beam_does_not_come_back_and_is_not_listed(source, beam_size):
    recommender = narrow(source, beam_size)
    survives = beam_survival(recommender, source.cases)
    assert (np.diff(survives.astype(int), axis=1) <= 0).all()
    lists = recommended(recommender, source.cases.histories, beam_size)
    np.testing.assert_array_equal(survives[:, -1], (lists == source.cases.targets[:, None]).any(1))


def test_a_beam_of_all_items_loses_nothing(source):
    rows = beam_numbers(beam_survival(narrow(source, 60), source.cases))
    assert [(row["in_beam"], row["lost_here"]) for row in rows] == [(1, 0)] * 3


def test_collisions_are_counted_with_and_without_the_last_level():
    codes = np.array([[0, 0, 0], [1, 2, 0], [1, 2, 1], [3, 2, 0], [1, 0, 0]])
    found = code_numbers(codes, 4)
    assert found["items_in_collisions"] == {"before": 2, "after": 0}
    assert [row["used"] for row in found["levels"]] == [2, 2, 2]
    assert found["prefixes"][0] == {"length": 1, "n_prefixes": 2, "largest": 3, "median": 2.0, "with_one_item": 1}


def test_popularity_counts_what_is_not_held_out(run, source):
    assert source.popularity[0] == 0 and source.popularity.sum() == 80 * 8  # of ten each, one for validation and one for the test
    assert set(source.cases.n_before) == {9}


# The page

class Attributes(HTMLParser):
    """Every tag of a page, and every address in it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data", "poster")]

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_nothing_from_elsewhere(page):
    addresses = Attributes(page).addresses
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    style = re.search("<style>(.*?)</style>", page, re.S)[1]
    assert "url(" not in style and "@import" not in style


def test_titles_are_text_and_never_tags(page, numbers):
    parsed = Attributes(page)
    assert "script" not in parsed.tags and escape(HOSTILE) in page and HOSTILE in parsed.text
    assert parsed.tags.count("img") == page.count("data:image/png;base64,")


def test_the_page_fits_a_phone(page):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "img { max-width: 100%" in page and page.count("<table") == page.count('<div class="table"><table')


def test_every_tag_that_opens_closes(page):
    tags = Attributes(page).tags
    for tag in set(tags) - {"meta", "link", "img"}:
        assert tags.count(tag) == page.count(f"</{tag}>"), tag


def test_every_section_has_its_place_and_every_picture_its_file(folder, page, numbers):
    for anchor in ("curves", "codes", "tree", "maps", "domination", "quality", "beam", "samples"):
        assert f'<section id="{anchor}">' in page and f'href="#{anchor}"' in page
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == page.count("<img ") == 11
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert len(numbers["codes_of_items"]) == 60 and len(numbers["samples"]) == 6


def test_the_tree_has_every_item_once(source):
    codes = source.recommender.network.codes.numpy()
    found = explorer(code_tree(codes), source.recommender.item_keys, [""] * 61)
    assert sorted(re.findall(r"</code> (i\d+)</div>", found)) == sorted(source.recommender.item_keys[1:])


def test_domination_is_of_each_modality_in_each_representation(numbers):
    for row in numbers["domination"]["survival"].values():
        assert set(row) == {"E_C", "E_T", "E_S", "naive", "integrated", "codes"}
        assert all(0 <= value <= 1 + 1e-6 for pair in row.values() for value in pair.values())


# Bad input

def refused(capsys, *arguments):
    assert main(["report", *map(str, arguments)]) == 2
    message, = [line for line in capsys.readouterr().err.splitlines() if line.startswith("prorec:")]
    return message


def test_a_folder_that_is_not_empty_is_refused(checkpoint, tmp_path, capsys):
    (tmp_path / "mine").touch()
    assert "is not empty" in refused(capsys, "--checkpoint", checkpoint, "--output", tmp_path)
    assert "cannot be made" in refused(capsys, "--checkpoint", checkpoint, "--output", tmp_path / "mine")


def test_a_damaged_checkpoint_is_refused(checkpoint, tmp_path, capsys):
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"not a checkpoint")
    assert "is damaged" in refused(capsys, "--checkpoint", damaged, "--output", tmp_path / "out")
    assert "cannot be read" in refused(capsys, "--checkpoint", tmp_path / "none.pth", "--output", tmp_path / "out")
    assert "is a folder" in refused(capsys, "--checkpoint", tmp_path, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_model_is_refused(tiny_dataset, tmp_path, capsys):
    run = Run(tiny_dataset, model="TIGER", head_size=8)
    run.trainer._save_checkpoint(0)
    assert "holds a trained TIGER" in refused(capsys, "--checkpoint", run.trainer.saved_model_file, "--output", tmp_path / "out")


def test_data_that_is_gone_or_another_is_refused(tiny_dataset, tmp_path, capsys):
    run = Run(tiny_dataset).fit()
    arguments = ("--checkpoint", run.trainer.saved_model_file, "--output", tmp_path / "out")
    inter = tiny_dataset.folder / "tiny.inter"
    lines = inter.read_text().splitlines()
    inter.write_text("\n".join(line.replace("\ti", "\tj") if number else line for number, line in enumerate(lines)) + "\n")
    assert "are not those that" in refused(capsys, *arguments)
    inter.write_text("nothing\n")
    assert "cannot be read as it was" in refused(capsys, *arguments)
    inter.unlink()
    assert "tiny.inter is not in" in refused(capsys, *arguments)


def test_a_split_without_test_rows_is_refused(tiny_dataset, tmp_path, capsys):
    run = Run(tiny_dataset, eval_args={"split": {"LS": "valid_only"}, "order": "TO", "group_by": "user", "mode": "full"}).fit()
    assert "has no test rows" in refused(capsys, "--checkpoint", run.trainer.saved_model_file, "--output", tmp_path / "out")


class Payload:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def test_a_data_set_that_the_checkpoint_names_as_a_pickle_is_not_run(checkpoint, tmp_path, monkeypatch):
    kept = torch.load(checkpoint, weights_only=False)
    kept["config"]["dataset_save_path"] = str(tmp_path / "tiny-SequentialDataset.pth")
    Path(kept["config"]["dataset_save_path"]).write_bytes(pickle.dumps(Payload()))
    torch.save(kept, tmp_path / "hostile.pth")
    assert len(read_source(tmp_path / "hostile.pth").cases.targets)
    assert not Path("was-run").exists()


def test_lists_that_a_small_catalogue_cannot_fill_are_shown_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    run = Run(write_markov_dataset(tmp_path, n_items=14, n_users=60, length=9), exclude_seen=True, valid_metric="NDCG@5", topk=[5],
              beam_size=13).fit()
    numbers = all_numbers(read_source(run.trainer.saved_model_file), "here")
    assert 0 < max(len(sample["recommended"]) for sample in numbers["samples"]) < numbers["quality"]["depth"]


def test_without_the_item_file_keys_stand_for_titles_of_ready_made_embeddings(tiny_dataset, tmp_path):
    run = Run(tiny_dataset).fit()
    (tiny_dataset.folder / "tiny.item").unlink()
    assert read_source(run.trainer.saved_model_file).texts[1:] == list(run.model.item_keys[1:])


def test_without_matplotlib_the_remedy_is_named(checkpoint, tmp_path, capsys, monkeypatch):
    for name in ("pictures", "figures"):  # as if nobody had imported them yet
        monkeypatch.delitem(sys.modules, f"recbole_prorec.report.{name}", raising=False)
        monkeypatch.delattr(f"recbole_prorec.report.{name}", raising=False)
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert 'pip install ".[report]"' in refused(capsys, "--checkpoint", checkpoint, "--output", tmp_path / "out")


def test_a_checkpoint_of_before_has_no_curves_and_says_so(checkpoint, tmp_path):
    kept = load_trusted(checkpoint)
    del kept["other_parameter"]["curves"]
    torch.save(kept, tmp_path / "before.pth")
    assert main(["report", "--checkpoint", str(tmp_path / "before.pth"), "--output", str(tmp_path / "out")]) == 0
    assert "did not keep them" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
