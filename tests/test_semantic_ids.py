"""SemanticIds round-trips, stays as it was born, and refuses every violation."""

import dataclasses
import json

import numpy as np
import pytest

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer.semantic_ids import SemanticIds, code_statistics

KEYS = ("[PAD]", "a", 'b "quoted", ü', "3")
CODES = np.array([[0, 0], [0, 1], [1, 0], [2, 2]])


@pytest.fixture
def ids():
    return SemanticIds(KEYS, CODES, 3)


def test_codes_survive_the_file(ids, tmp_path):
    ids.save(tmp_path / "ids.json")
    loaded = SemanticIds.load(tmp_path / "ids.json", KEYS)
    assert loaded.item_keys == KEYS and loaded.codebook_size == 3 and loaded.n_levels == 2
    assert np.array_equal(loaded.codes, CODES)


def test_a_file_is_read_by_item_key_in_any_order(ids, tmp_path):
    ids.save(tmp_path / "ids.json")
    keys = (KEYS[0], *KEYS[:0:-1])
    assert np.array_equal(SemanticIds.load(tmp_path / "ids.json", keys).codes[1:], CODES[:0:-1])


def test_the_file_is_plain_json(ids, tmp_path):
    ids.save(tmp_path / "ids.json")
    assert json.loads((tmp_path / "ids.json").read_text("utf-8")) == {"codebook_size": 3, "codes": dict(zip(KEYS[1:], CODES[1:].tolist()))}


def test_it_is_frozen(ids):
    with pytest.raises(dataclasses.FrozenInstanceError):
        ids.codes = CODES
    with pytest.raises(ValueError, match="read-only"):
        ids.codes[1, 0] = 2
    given = CODES.copy()
    kept = SemanticIds(KEYS, given, 3)
    given[1] = 9
    assert np.array_equal(kept.codes, CODES)


@pytest.mark.parametrize("keys, codes, codebook_size, message", [
    (KEYS, CODES[:3], 3, "one row of codes"), (KEYS, CODES[:, 0], 3, "one row of codes"), (KEYS[:1], CODES[:1], 3, "one row of codes"),
    (KEYS, CODES, 2, "run from 0 to 2; expected 0 to 1"), (KEYS, CODES - [[0], [1], [0], [0]], 3, "run from -1"),
    (KEYS, CODES[[0, 1, 1, 2]], 3, "3 items have only 2 different"), ((*KEYS[:3], "a"), CODES, 3, "occurs twice"),
])
def test_every_violation_is_refused(keys, codes, codebook_size, message):
    with pytest.raises(InputError, match=message):
        SemanticIds(keys, codes, codebook_size)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"codes": {}}', '{"codes": null, "codebook_size": 3}',
                                     '{"codes": {"a": [0, 1], "b \\"quoted\\", ü": [0], "3": [1, 1]}, "codebook_size": 3}'])
def test_a_damaged_file_is_one_clear_error(tmp_path, content):
    (tmp_path / "ids.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="ids.json"):
        SemanticIds.load(tmp_path / "ids.json", KEYS)


def test_a_missing_file_and_a_missing_item_are_named(ids, tmp_path):
    with pytest.raises(InputError, match="none.json"):
        SemanticIds.load(tmp_path / "none.json", KEYS)
    ids.save(tmp_path / "ids.json")
    with pytest.raises(InputError, match="no codes for 1 of 4 items, the first is 'new'"):
        SemanticIds.load(tmp_path / "ids.json", (*KEYS, "new"))


def test_statistics_of_codes():
    codes = np.array([[0, 0], [0, 1], [0, 2], [0, 3]])
    assert code_statistics(codes, 4) == {"used": [1, 4], "entropy": [0.0, 2.0]}
