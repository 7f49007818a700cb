"""What a stage hands on is whole, or not there at all."""

import errno
import logging
import os
import random
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_prorec.artifacts import LEFTOVER_SECONDS, ArtifactStore, fingerprint
from recbole_prorec.errors import InputError

ARRAYS = {"codes": np.arange(12).reshape(3, 4), "item_keys": np.array(["[PAD]", "ä", '"b"']), "x": np.float32([0.5, np.nan])}
META = {"epochs": 3, "scores": [0.1, None], "name": "é"}
STATE = {"epoch": 2, "best": 0.25, "net": OrderedDict(w=torch.arange(6.0).reshape(3, 2)),
         "optimizer": {0: (torch.ones(2, dtype=torch.bfloat16), None)}}


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "cache")


def test_a_fingerprint_does_not_depend_on_the_order_of_keys_at_any_depth():
    one = {"a": 1, "b": {"c": [1, 2], "d": Path("x")}}
    other = {"b": {"d": "x", "c": (1, 2)}, "a": 1}
    assert fingerprint(one) == fingerprint(other)
    assert len(fingerprint(one)) == 16 and int(fingerprint(one), 16) >= 0


def test_a_fingerprint_is_the_same_in_every_process():
    assert fingerprint({"seed": 2020, "arrays": np.arange(3, dtype=np.int64)}) == "cdc1aeaf3f622f70"


def test_values_that_differ_in_value_type_shape_or_nesting_have_different_fingerprints():
    values = [0, 0.0, False, None, "", "0", "None", [], {}, [0], [[0]], [0, 0], {"0": 0}, {0: 0}, {"a": 1, "b": 2}, {"a": 2, "b": 1},
              ["ab", "c"], ["a", "bc"], float("nan"), float("inf"), np.zeros(2), np.zeros(3), np.zeros((1, 2)), np.zeros((2, 1)),
              np.zeros(2, np.float32), np.zeros(0), np.array(["a"]), torch.zeros(2), torch.zeros(2, 1), torch.zeros(()),
              torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bool), torch.zeros(0)]
    prints = [fingerprint({"value": value}) for value in values]
    assert len(set(prints)) == len(values)


def test_numpy_scalars_and_memory_layout_do_not_count():
    matrix = np.arange(6).reshape(2, 3)
    assert fingerprint({"k": np.int64(3), "m": matrix}) == fingerprint({"k": 3, "m": np.asfortranarray(matrix)})


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", np.array([object()]), lambda: 0])
def test_what_has_no_canonical_form_gets_no_fingerprint(value):
    with pytest.raises(InputError, match="no fingerprint can be made of"):
        fingerprint({"settings": [value]})


def test_arrays_and_meta_come_back_as_they_were_saved(store):
    path = store.save("alignment", "0a", ARRAYS, META)
    assert path == store.folder / "alignment-0a.npz"
    arrays, meta = store.load("alignment", "0a")
    assert meta == META and list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    with np.load(path, allow_pickle=False) as plain:  # readable without this package
        np.testing.assert_array_equal(plain["codes"], ARRAYS["codes"])


def test_a_state_comes_back_as_it_was_saved_until_it_is_dropped(store):
    store.save_state("alignment", "0a", STATE)
    assert fingerprint(store.load_state("alignment", "0a")) == fingerprint(STATE)
    store.drop_state("alignment", "0a")
    store.drop_state("alignment", "0a")
    assert store.load_state("alignment", "0a") is None


def test_what_was_never_saved_is_none(store):
    store.save("alignment", "0a", ARRAYS)
    assert store.load("alignment", "0b") is None
    assert store.load("codes", "0a") is None
    assert store.load_state("alignment", "0a") is None


def damaged_copies(content):
    """The file cut short, emptied, replaced by text, and with one bit turned, at many places."""
    draw = random.Random(0)
    yield from (b"", b"no zip", content[:-1], content[: len(content) // 2], content + b"x", content[:100] * 3)
    for position in draw.sample(range(len(content)), 150):
        yield content[:position] + bytes([content[position] ^ 1 << draw.randrange(8)]) + content[position + 1:]


@pytest.mark.parametrize("save, load, saved", [
    ("save", lambda store: store.load("s", "k"), ARRAYS), ("save_state", lambda store: store.load_state("s", "k"), STATE)])
def test_a_damaged_file_is_never_believed(store, save, load, saved):
    path = getattr(store, save)("s", "k", saved)
    content, expected = path.read_bytes(), fingerprint({"loaded": load(store)})
    n_refused = 0
    for damaged in damaged_copies(content):
        path.write_bytes(damaged)
        loaded = load(store)  # a bit that means nothing, such as a time stamp in the zip, may turn
        assert loaded is None or fingerprint({"loaded": loaded}) == expected
        n_refused += loaded is None
    assert n_refused > 50


def test_a_damaged_file_is_reported_by_name_moved_aside_and_can_be_replaced(store, caplog):
    path = store.save("codes", "0a", ARRAYS)
    path.write_bytes(path.read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        assert store.load("codes", "0a") is None
    assert str(path) in caplog.text and "damaged" in caplog.text
    assert not path.exists() and path.with_name("codes-0a.npz.damaged").exists()
    store.save("codes", "0a", ARRAYS)
    assert store.load("codes", "0a") is not None


def test_a_file_under_another_artifacts_name_is_not_taken_for_it(store):
    os.rename(store.save("codes", "0a", ARRAYS), store.folder / "codes-0b.npz")
    assert store.load("codes", "0b") is None


def test_a_file_of_another_format_version_is_not_read(store, monkeypatch):
    monkeypatch.setattr("recbole_prorec.artifacts.FORMAT", 0)
    store.save("codes", "0a", ARRAYS)
    store.save_state("codes", "0a", STATE)
    monkeypatch.undo()
    assert store.load("codes", "0a") is None and store.load_state("codes", "0a") is None


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_half_written(store, monkeypatch, moment):
    store.save("codes", "0a", ARRAYS, {"round": 1})

    def disk_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(f"recbole_prorec.artifacts.os.{moment}", disk_full)
    with pytest.raises(InputError, match="No space left on device.*cache_dir") as caught:
        store.save("codes", "0a", ARRAYS, {"round": 2})
    assert str(store.folder) in str(caught.value)
    assert [path.name for path in store.folder.iterdir()] == ["codes-0a.npz"]
    assert store.load("codes", "0a")[1] == {"round": 1}


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file/cache cannot be used.*cache_dir"):
        ArtifactStore(tmp_path / "file" / "cache")


def test_a_folder_without_write_permission_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_prorec.artifacts.os.access", lambda *_: False)  # a superuser may write anywhere
    with pytest.raises(InputError, match="no permission.*cache_dir"):
        ArtifactStore(tmp_path)


def test_what_killed_processes_left_behind_is_removed_and_what_running_ones_write_is_not(store):
    old, new = store.folder / ".codes-0a.npz.1.unfinished", store.folder / ".codes-0a.npz.2.unfinished"
    old.touch()
    new.touch()
    long_ago = old.stat().st_mtime - 2 * LEFTOVER_SECONDS
    os.utime(old, (long_ago, long_ago))
    ArtifactStore(store.folder)
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("value", [np.zeros(2), np.float64(1), torch.float32, object(), {1}])
def test_a_state_that_safe_loading_would_refuse_is_refused_before_it_is_saved(store, value):
    with pytest.raises(InputError, match="a state cannot hold"):
        store.save_state("alignment", "0a", {"nested": [value]})
    assert list(store.folder.iterdir()) == []


def test_arrays_of_python_objects_are_refused_because_they_would_need_a_pickle(store):
    with pytest.raises(InputError, match="object"):
        store.save("codes", "0a", {"x": np.array([{}, None])})
