"""New items without retraining: old codes stay, new ones are found by their text, and everything goes on as before."""

import json

import numpy as np
import pytest
import torch
from markov_data import write_markov_dataset
from pipeline import Run, texts_by_key

from recbole_prorec.command import main
from recbole_prorec.errors import InputError
from recbole_prorec.inference.checkpoint import read_checkpoint
from recbole_prorec.inference.export import write_export
from recbole_prorec.inference.item_file import read_new_items
from recbole_prorec.inference.new_items import NEIGHBOURS, nearest_codes
from recbole_prorec.inference.recommender import load
from recbole_prorec.tokenizer.alignment import integrated_embedding

KINDS = ["concat", "sum", "collaborative", "semantic", "naive_concat"]
N_TEXT = 6
READ = {"ITEM_ID_FIELD": "item_id", "text_template": None, "field_separator": "\t", "encoding": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """integrated_embedding -> the checkpoint of a small run."""
    folder, made = tmp_path_factory.mktemp("new_items"), {}
    tiny = write_markov_dataset(folder, n_items=40, n_users=30, length=8)

    def make(kind="concat", **changes):
        name = (kind, *changes.items())
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                patch.setattr("sys.argv", ["pytest"])
                small = {"alignment_epochs": 1, "epochs": 1, "integrated_embedding": kind, **changes}
                made[name] = str(folder / Run(tiny, **small).fit().trainer.saved_model_file)
        return made[name]

    make.folder = folder
    return make


@pytest.mark.parametrize("kind", KINDS)
def test_old_items_keep_their_codes_their_order_and_their_embeddings(trained, kind):
    old = load(trained(kind))
    new = old.add_items(["new1", "new2"], text_embeddings=np.random.default_rng(1).normal(size=(2, N_TEXT)))
    assert new.item_keys == (*old.item_keys, "new1", "new2")
    assert torch.equal(new.network.codes[:-2], old.network.codes)
    assert torch.equal(new.network.aligned[:-2], old.network.aligned)
    assert len(torch.unique(new.network.codes[1:], dim=0)) == new.n_items == old.n_items + 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_codebooks_give_the_old_items_the_codes_that_they_have(trained, kind):
    stored, text = read_checkpoint(trained(kind)), texts_by_key(trained.folder)
    rows = torch.from_numpy(np.stack([text[key] for key in stored.item_keys[1:]]))
    vectors = integrated_embedding(kind, *stored.weights["aligned"][1:].chunk(2, dim=1), rows)
    assert torch.equal(nearest_codes(stored.adaptation["codebooks"], vectors), stored.weights["codes"][1:, :-1])


@pytest.mark.parametrize("changes", [{}, {"text_whitening": 0.5}], ids=["texts as they are", "whitened"])
def test_an_item_with_the_text_of_an_old_one_has_its_adapted_embedding_and_its_neighbours(trained, changes):
    old = load(trained(**changes))
    key = old.item_keys[5]
    new = old.add_items(["twin"], text_embeddings=texts_by_key(trained.folder)[key][None])
    adapted = new.network.aligned.chunk(2, dim=1)[1]
    torch.testing.assert_close(adapted[-1], adapted[5])
    cosine = torch.nn.functional.cosine_similarity(adapted[-1:], adapted[1:-1])
    assert int(cosine.argmax()) + 1 == 5
    collaborative = new.network.aligned.chunk(2, dim=1)[0]
    nearest = collaborative[1:-1][cosine.topk(NEIGHBOURS).indices]
    torch.testing.assert_close(collaborative[-1] / collaborative[-1].norm(), nearest.mean(0) / nearest.mean(0).norm())
    torch.testing.assert_close(collaborative[-1].norm(), nearest.norm(dim=1).mean())


def test_with_codes_of_the_text_a_twin_differs_from_its_old_item_in_the_last_code_alone(trained):
    old = load(trained("semantic"))
    new = old.add_items(["twin"], text_embeddings=texts_by_key(trained.folder)[old.item_keys[5]][None])
    codes = new.network.codes
    assert torch.equal(codes[-1, :-1], codes[5, :-1]) and codes[-1, -1] != codes[5, -1]


def test_new_items_are_recommended_and_may_stand_in_histories(trained):
    old = load(trained(), beam_size=45)
    new = old.add_items(["new1", "new2"], text_embeddings=np.random.default_rng(1).normal(size=(2, N_TEXT)))
    keys, scores = new.recommend([["i1", "new1"], ["new2"]], k=42, exclude_seen=False)
    assert all(set(row) == set(new.item_keys[1:]) for row in keys)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("through_an_export", [False, True])
def test_items_added_one_by_one_end_as_those_added_at_once(trained, tmp_path, through_an_export):
    old, rows = load(trained()), np.random.default_rng(1).normal(size=(3, N_TEXT))
    rows[1] = rows[0]  # the same codes but for the last
    at_once = old.add_items(["new1", "new2", "new3"], text_embeddings=rows)
    one_by_one = old
    for number, key in enumerate(["new1", "new2", "new3"]):
        one_by_one = one_by_one.add_items([key], text_embeddings=rows[number : number + 1])
        if through_an_export:
            write_export(one_by_one, tmp_path / key)
            one_by_one = load(tmp_path / key)
    assert one_by_one.item_keys == at_once.item_keys
    assert torch.equal(one_by_one.network.codes, at_once.network.codes)
    torch.testing.assert_close(one_by_one.network.aligned, at_once.network.aligned)
    assert torch.equal(at_once.network.codes[-2, :-1], at_once.network.codes[-3, :-1])


def test_old_and_new_items_share_one_distribution(trained):
    old = load(trained(ranking="generative"), beam_size=45)
    new = old.add_items(["new1"], text_embeddings=np.random.default_rng(1).normal(size=(1, N_TEXT)))
    keys, scores = new.recommend([["i1", "i2"]], k=new.n_items, exclude_seen=False)
    assert set(keys[0]) == {*old.item_keys[1:], "new1"}
    assert np.exp(scores[0]).sum() == pytest.approx(1, abs=1e-4)


def test_the_command_writes_an_export_that_recommends_the_same(trained, tmp_path, capsys):
    np.savez(tmp_path / "new.npz", item_keys=["new1"], embeddings=np.ones((1, N_TEXT), np.float32))
    (tmp_path / "new.jsonl").write_text(json.dumps({"item": "new1", "text": "a new one"}) + "\n", encoding="utf-8")
    items = ["--items", str(tmp_path / "new.jsonl"), "--text-embeddings", str(tmp_path / "new.npz")]
    assert main(["add-items", "--checkpoint", trained(), *items, "--output", str(tmp_path / "export")]) == 0
    assert "1 new items beside" in capsys.readouterr().out
    expected = load(trained()).add_items(["new1"], text_embeddings=np.ones((1, N_TEXT)))
    found = load(tmp_path / "export")
    assert found.recommend([["i1", "new1"]], k=10) == expected.recommend([["i1", "new1"]], k=10)
    again = found.add_items(["new2"], text_embeddings=np.ones((1, N_TEXT)))
    assert again.item_keys[-2:] == ("new1", "new2")


def test_texts_are_encoded_as_in_training(trained, monkeypatch):
    recommender = load(trained())
    recommender.settings["text_embedding_file"] = None
    monkeypatch.setattr("recbole_prorec.inference.recommender.encode_texts", lambda texts, *_, **__: np.ones((len(texts), N_TEXT)))
    new = recommender.add_items(["new1"], texts=["some text"])
    assert torch.equal(new.network.aligned, recommender.add_items(["new1"], text_embeddings=np.ones((1, N_TEXT))).network.aligned)


@pytest.mark.parametrize("name, content", [
    ("new.csv", "text,item\n\"a new one, and cheap\",new1\n"),
    ("new.item", "item_id:token\ttitle:token\nnew1\ta new one, and cheap\n"),
    ("new.jsonl", '{"item": "new1", "text": "a new one, and cheap"}\n\n')])
def test_files_of_every_kind_give_the_same_items(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_new_items(tmp_path / name, READ, "{title}") == (["new1"], ["a new one, and cheap"])


def test_a_file_of_items_is_read_as_in_training(tmp_path):
    (tmp_path / "new.item").write_bytes("key:token,title:token\nnew1,café\n".encode("latin-1"))
    settings = {"ITEM_ID_FIELD": "key", "text_template": "a {title}", "field_separator": ",", "encoding": "latin-1"}
    assert read_new_items(tmp_path / "new.item", settings) == (["new1"], ["a café"])


def forget(export, *names):
    """Take settings out of an export, as one of before they existed has none: their values."""
    file = export / "settings.json"
    header = json.loads(file.read_text("utf-8"))
    values = [header["settings"].pop(name) for name in names]
    file.write_text(json.dumps(header), encoding="utf-8")
    return values


def test_an_export_of_before_that_does_not_say_how_files_are_read_has_recboles_defaults(trained, tmp_path):
    write_export(load(trained()), tmp_path / "export")
    assert forget(tmp_path / "export", "field_separator", "encoding") == ["\t", None]
    assert load(tmp_path / "export").settings == load(trained()).settings


def test_an_export_of_before_the_sum_of_the_history_has_none(trained, tmp_path):
    write_export(load(trained(history_sum=False)), tmp_path / "export")
    assert forget(tmp_path / "export", "history_sum") == [False]
    before, now = load(tmp_path / "export"), load(trained(history_sum=False))
    assert before.recommend([["i1", "i2"]], k=10) == now.recommend([["i1", "i2"]], k=10)


def test_a_long_text_is_read_whole(tmp_path):
    (tmp_path / "new.csv").write_text(f"item,text\nnew1,{'long ' * 40_000}\n", encoding="utf-8")
    assert read_new_items(tmp_path / "new.csv", READ) == (["new1"], ["long " * 40_000])


def test_a_whole_number_is_a_key_in_files_too(tmp_path):
    (tmp_path / "new.jsonl").write_text('{"item": 50, "text": "a new one"}', encoding="utf-8")
    assert read_new_items(tmp_path / "new.jsonl", READ) == (["50"], ["a new one"])


# Models of before

def test_a_checkpoint_of_before_recommends_and_says_why_it_takes_no_new_items(trained, tmp_path):
    checkpoint = torch.load(trained(), weights_only=False)
    del checkpoint["other_parameter"]["codebooks"]
    torch.save(checkpoint, tmp_path / "old.pth")
    old = load(tmp_path / "old.pth")
    assert old.recommend([["i1", "i2"]]) == load(trained()).recommend([["i1", "i2"]])
    with pytest.raises(InputError, match="takes no new items"):
        old.add_items(["new1"], text_embeddings=np.ones((1, N_TEXT)))


# Bad input

@pytest.mark.parametrize("keys, message", [
    (["i1"], "already of the catalogue: 'i1'"), (["a", "a"], "given twice: 'a'"), ([], "no new item"),
    (["[PAD]"], "already of the catalogue"), (["a", " "], "number 2 has an empty key"), ("abc", "expected a list of item keys"),
    ([1.5], "expected item keys as text")])
def test_keys_that_are_no_new_ones_are_one_clear_error(trained, keys, message):
    with pytest.raises(InputError, match=message):
        load(trained()).add_items(keys, text_embeddings=np.ones((len(keys), N_TEXT)))


@pytest.mark.parametrize("rows", [np.ones((1, N_TEXT + 1)), np.ones((2, N_TEXT)), np.full((1, N_TEXT), np.nan)])
def test_embeddings_of_another_shape_are_one_clear_error(trained, rows):
    with pytest.raises(InputError, match="expected 1 rows of 6 finite numbers"):
        load(trained()).add_items(["new1"], text_embeddings=rows)


def test_a_model_trained_on_ready_made_embeddings_refuses_texts(trained):
    with pytest.raises(InputError, match="trained with ready-made text embeddings"):
        load(trained()).add_items(["new1"], texts=["some text"])


def test_an_empty_text_is_one_clear_error(trained):
    recommender = load(trained())
    recommender.settings["text_embedding_file"] = None
    with pytest.raises(InputError, match="1 of 2 new items have no text: 'new2'"):
        recommender.add_items(["new1", "new2"], texts=["words", " "])


def test_codes_of_an_rqvae_are_one_clear_error(trained):
    recommender = load(trained())
    recommender.settings["quantizer"] = "rqvae"
    with pytest.raises(InputError, match="quantizer: rqvae"):
        recommender.add_items(["new1"], text_embeddings=np.ones((1, N_TEXT)))


def test_a_last_level_without_a_free_code_is_one_clear_error(trained):
    with pytest.raises(InputError, match="the level that tells them apart has"):
        load(trained()).add_items([f"new{i}" for i in range(300)], text_embeddings=np.ones((300, N_TEXT)))


@pytest.mark.parametrize("name, text, message", [
    ("new.jsonl", '{"item": "a"}', "line 1: expected"), ("new.jsonl", '\n{"item": "a", "text": 7}', "line 2: expected the text of 'a'"),
    ("new.csv", "item,title\na,b", "columns item, title"),
    ("new.csv", "item,text\na,b,c", "line 2: expected 2 columns"), ("new.csv", "", "(none)"),
    ("new.csv", 'item,text\na,"b\nc,d', "cannot be read as csv: unexpected end of data"),
    ("new.jsonl", '{"item": ["a"], "text": "b"}', "line 1: expected item keys as text, got ['a']"),
    ("new.jsonl", '{"item": "a", "text": "\\ud800"}', "line 1: a text is '\\ud800', which holds half of a character"),
    ("new.txt", "a", "none of .item, .csv and .jsonl"),
    ("absent.jsonl", None, "cannot be read")])
def test_files_of_items_that_cannot_be_read_are_one_clear_error(trained, tmp_path, capsys, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["add-items", "--checkpoint", trained(), "--items", str(tmp_path / name), "--output", str(tmp_path / "export")]) == 2
    assert message in capsys.readouterr().err
