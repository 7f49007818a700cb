"""What a user can do wrong gets one clear message, and nothing unfinished ever stands under its final name."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dataset_scripts import writing
from dataset_scripts.errors import ConversionError

GOOD = [[f"u{n % 9}", f"i{n % 8}", str(n)] for n in range(400)]


def json_lines(path, rows, extra=()):
    lines = [json.dumps(dict(zip(["user_id", "item_id", "timestamp"], row))) for row in rows]
    path.write_text("\n".join([*lines[:10], *extra, *lines[10:]]) + "\n")
    return path


def test_a_truncated_gzip_is_named(converted, table, tmp_path):
    whole = table(GOOD, name="whole.csv.gz").read_bytes()
    for name, content in {"cut.csv.gz": whole[:-30], "cut.jsonl.gz": gzip.compress(b'{"user_id": "u"}\n' * 99)[:-9]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConversionError, match=f"{name} is a damaged gzip file.*Download it again"):
            converted("general", "--interactions", tmp_path / name)
    assert not (tmp_path / "out" / "tiny").exists()


@pytest.mark.parametrize("share", [0.1, 0.9])  # zlib notices some damage at once, and some only by the sum at the end
def test_a_gzip_with_damage_inside_is_named(converted, table, tmp_path, share):
    content = bytearray(table(GOOD, name="whole.csv.gz").read_bytes())
    start = int(share * len(content))
    content[start : start + 20] = b"\xff" * 20
    (tmp_path / "hit.csv.gz").write_bytes(content)
    with pytest.raises(ConversionError, match="hit.csv.gz is a damaged gzip file"):
        converted("general", "--interactions", tmp_path / "hit.csv.gz")


def test_few_malformed_lines_are_skipped_and_reported_with_their_numbers(converted, tmp_path, capsys):
    path = json_lines(tmp_path / "f.jsonl", GOOD, extra=['{"user_id": "u", ', "", '{"user_id": "u", "item_id": "i"}', "[1]"])
    tiny = converted("general", "--interactions", path)
    report = capsys.readouterr().out
    assert len(tiny.rows()) == 400
    assert "3 of 403 lines malformed" in report
    assert "line 11: SyntaxError" in report and "line 13: no field 'timestamp'" in report and "line 14: ValueError" in report


def test_malformed_rows_of_a_table_are_reported_with_their_numbers(converted, tmp_path, capsys):
    rows = [",".join(row) for row in GOOD]
    rows[5], rows[200] = "u,i", "u,i,1,2"
    rows[300] = "u,i,yesterday"
    (tmp_path / "f.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    assert len(converted("general", "--interactions", tmp_path / "f.csv").rows()) == 397
    report = capsys.readouterr().out
    assert "line 7: expected 3 columns, got 2" in report and "line 202: expected 3 columns, got 4" in report
    assert "line 302: time 'yesterday' is neither a number nor an ISO date" in report


def test_more_than_one_percent_malformed_is_refused(converted, tmp_path):
    path = json_lines(tmp_path / "f.jsonl", GOOD, extra=["oops"] * 5)
    with pytest.raises(ConversionError, match=r"5 of 405 lines malformed \(line 11: .*At most 1% may be malformed"):
        converted("general", "--interactions", path)


def test_a_few_missing_timestamps_are_malformed_lines(converted, table, capsys):
    rows = [*GOOD[:50], ["u1", "i1", ""], *GOOD[50:]]
    assert len(converted("general", "--interactions", table(rows)).rows()) == 400
    assert "line 52: no timestamp" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_missing_column_is_named_with_those_there_are(converted, tmp_path, suffix):
    frame = pd.DataFrame({"user": ["a"], "item_id": ["b"], "timestamp": [1]})
    getattr(frame, f"to_{suffix}")(tmp_path / f"f.{suffix}", index=False)
    with pytest.raises(ConversionError, match="has no column 'user_id'; it has 'user', 'item_id', 'timestamp'"):
        converted("general", "--interactions", tmp_path / f"f.{suffix}")


def test_the_wrong_json_file_is_told_by_its_fields(converted, raw):
    with pytest.raises(ConversionError, match="line 1: no field 'reviewerID' among 'asin', 'title'"):
        converted("amazon2014", "--reviews", raw / "amazon2014" / "meta.json")


def test_an_empty_result_names_the_step_that_emptied_it(converted, table):
    with pytest.raises(ConversionError, match="Nothing is left after --k-core 500 .*read: 400 interactions"):
        converted("general", "--interactions", table(GOOD), k_core=500)
    with pytest.raises(ConversionError, match="Nothing is left after the date range"):
        converted("general", "--interactions", table(GOOD), "--since", "2030-01-01")


def test_an_empty_file_is_named(converted, tmp_path):
    for name, text in {"e.jsonl": "\n", "e.csv": "user_id,item_id,timestamp\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConversionError, match=f"{name} holds no records"):
            converted("general", "--interactions", tmp_path / name)
    (tmp_path / "zero.csv").write_text("")
    with pytest.raises(ConversionError, match="zero.csv has no column 'user_id', 'item_id', 'timestamp'; it has none"):
        converted("general", "--interactions", tmp_path / "zero.csv")


@pytest.mark.parametrize("suffix, delimiter", [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("stray", [['"nice'], ['"nice', '"bad'], ['"nice" one']])
def test_a_quote_that_would_swallow_rows_is_refused_and_one_inside_of_a_value_is_not(converted, tmp_path, suffix, delimiter, stray):
    def written(texts):
        rows = [[*row, text] for row, text in zip(GOOD, [*texts, *[""] * len(GOOD)])]
        file = tmp_path / f"f.{suffix}"
        file.write_text("\n".join(delimiter.join(row) for row in [["user_id", "item_id", "timestamp", "text"], *rows]) + "\n")
        return file

    fine = ['5" pipe', '"said ""no"""', '"two\nlines"', f'"{"long " * 40_000}"']
    assert len(converted("general", "--interactions", written(fine)).rows()) == 400
    with pytest.raises(ConversionError, match="a double quote opens a value and is not closed where the value ends"):
        converted("general", "--interactions", written(["", *stray]), name="other")


def test_a_damaged_parquet_is_named_and_columns_not_asked_for_may_hold_anything(converted, table, tmp_path):
    interactions = table([["u", "1", "1"], ["u", "2", "2"]])
    items = {"item_id": ["1", "2"], "title": ["one", None], "brand": [float("nan")] * 2, "picture": [b"\xff", b"\xfe"]}
    pd.DataFrame(items).to_parquet(tmp_path / "items.parquet")
    flags = ["--interactions", interactions, "--items", tmp_path / "items.parquet", "--item-columns", "title", "brand"]
    assert converted("general", *flags).lines(".item")[1:] == ["1\tone\t", "2\t\t"]
    with pytest.raises(ConversionError, match="items.parquet as Parquet of text and numbers"):
        converted("general", *flags, "picture", name="other")
    (tmp_path / "items.parquet").write_bytes(b"PAR1" * 9)
    with pytest.raises(ConversionError, match="items.parquet as Parquet"):
        converted("general", *flags, name="other")


@pytest.mark.parametrize("columns", [["title", "title:token_seq"], ["item_id"], [":token"], ["a{b"], ['a"b']])
def test_names_that_no_atomic_file_can_have_are_refused(converted, table, columns, capsys):
    with pytest.raises(SystemExit):
        converted("general", "--interactions", table(GOOD), "--items", table(GOOD), "--item-columns", *columns)
    assert "--item-columns: expected different names" in capsys.readouterr().err


def test_an_item_column_may_be_called_line_and_a_name_may_not_come_twice(converted, table, tmp_path):
    (tmp_path / "items.csv").write_text("item_id,line\n1,red\n2,blue\n")
    flags = ["--interactions", table([["u", "1", "1"], ["u", "2", "2"]]), "--items", tmp_path / "items.csv", "--item-columns", "line"]
    assert converted("general", *flags).lines(".item")[1:] == ["1\tred", "2\tblue"]
    (tmp_path / "items.csv").write_text("item_id,line,line\n1,red,x\n2,blue,x\n")
    with pytest.raises(ConversionError, match="items.csv, line 1: two columns have one name"):
        converted("general", *flags, name="other")


def test_numbers_and_literals_that_python_cannot_hold_are_malformed_lines(converted, tmp_path, capsys):
    huge = "1" + "0" * 400
    path = json_lines(tmp_path / "f.jsonl", GOOD, extra=["{[]: 1}", f'{{"user_id": "u", "item_id": "i", "timestamp": {huge}}}'])
    assert len(converted("general", "--interactions", path).rows()) == 400
    report = capsys.readouterr().out
    assert "line 11: TypeError" in report and "line 12: time '1000" in report


@pytest.mark.parametrize("key", ["a\tb", "a\nb", '"a', "", "NA", "null", "nan"])
def test_ids_that_would_not_come_back_the_same_are_malformed_lines(converted, table, capsys, key):
    for n, row in enumerate([[key, "i1", "5"], ["u1", key, "5"]]):
        assert len(converted("general", "--interactions", table([*GOOD, row]), name=f"set{n}").rows()) == 400
        assert "cannot be a" in capsys.readouterr().out


def test_odd_ids_come_back_the_same(converted, table):
    keys = ["007", "0", "1e5", "1.0", "True", " a b ", 'a"b"', "#x", "李", "a,b", "-1"]
    tiny = converted("general", "--interactions", table([[key, key, str(n)] for n, key in enumerate(keys)]))
    assert tiny.frame()["user_id:token"].tolist() == tiny.frame()["item_id:token"].tolist() == sorted(keys)


def test_a_column_of_numbers_only_keeps_its_leading_zeros(converted, table):
    tiny = converted("general", "--interactions", table([["007", "010", "1"], ["7", "10", "2"]]))
    assert tiny.sequences() == {"007": ["010"], "7": ["10"]}


def test_fractional_ids_are_refused(converted, tmp_path):
    pd.DataFrame({"user_id": [1.0, None], "item_id": [1, 2], "timestamp": [1, 2]}).to_parquet(tmp_path / "f.parquet")
    with pytest.raises(ConversionError, match="'user_id' holds double numbers"):
        converted("general", "--interactions", tmp_path / "f.parquet")


@pytest.mark.parametrize("times, message", [
    (["1400000000", "1400000000000"], "cannot be one unit"),
    (["1400000000", "2014-05-13"], "some timestamps are numbers and some are dates"),
    (["13/05/2014", "14/05/2014"], "time '13/05/2014' is neither a number nor an ISO date"),
    (["inf", "1"], "time 'inf' is neither"),
])
def test_timestamps_of_no_one_unit_are_refused(converted, table, times, message):
    with pytest.raises(ConversionError, match=message):
        converted("general", "--interactions", table([["u", "i", time] for time in times]))


def test_duplicate_items_are_reported_and_the_first_counts(converted, table, tmp_path, capsys):
    (tmp_path / "items.csv").write_text("item_id,title\ni1,first\ni1,second\n")
    tiny = converted("general", "--interactions", table(GOOD), "--items", tmp_path / "items.csv")
    assert [row["title"] for row in tiny.rows(".item")][:3] == ["", "first", ""]
    assert "1 further record(s) of items already seen; the first one counts" in capsys.readouterr().out


@pytest.mark.parametrize("content, message", [
    ("item_id,title\nx,y\n", "none of its items occurs in the interactions"),
    ("item_id,titel\ni1,y\n", "no item has any of title, brand"),
    ("id,title\ni1,y\n", "line 2: field 'item_id' is 'None'"),
])
def test_items_that_do_not_fit_are_refused(converted, table, tmp_path, content, message):
    (tmp_path / "items.csv").write_text(content)
    with pytest.raises(ConversionError, match=message):
        converted("general", "--interactions", table(GOOD), "--items", tmp_path / "items.csv")


def test_a_folder_that_holds_a_data_set_is_left_alone_unless_told(converted, table):
    first = converted("general", "--interactions", table(GOOD))
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    with pytest.raises(ConversionError, match="already holds a data set .*tiny.inter.*--overwrite"):
        converted("general", "--interactions", table(GOOD[:100]))
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    assert len(converted("general", "--interactions", table(GOOD[:100]), "--overwrite").rows()) == 100


def test_overwriting_leaves_no_file_of_the_former_data_set(converted, table, tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\ni1,first\n")
    former = converted("general", "--interactions", table(GOOD), "--items", tmp_path / "items.csv")
    assert former.path(".item").exists()
    for suffix in (".user", ".link", ".kg"):
        former.path(suffix).touch()
    again = converted("general", "--interactions", table(GOOD), "--overwrite")
    assert sorted(path.name for path in again.folder.iterdir()) == ["tiny.inter", "tiny.stats.json", "tiny.yaml"]


@pytest.mark.parametrize("broken", ["write_inter", "write_stats"])
def test_a_failure_while_writing_leaves_nothing_and_keeps_the_former_data_set(converted, table, tmp_path, monkeypatch, broken):
    def full_disk(path, *_):
        path.write_text("half a fi")
        raise OSError(28, "No space left on device")

    former = converted("general", "--interactions", table(GOOD), name="former").path(".inter").read_bytes()
    monkeypatch.setattr(writing, broken, full_disk)
    with pytest.raises(ConversionError, match="Cannot write to .*No space left on device"):
        converted("general", "--interactions", table(GOOD))
    with pytest.raises(ConversionError):
        converted("general", "--interactions", table(GOOD[:50]), "--overwrite", name="former")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["former"]
    assert (tmp_path / "out" / "former" / "former.inter").read_bytes() == former


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".", ".hidden", "my data"])
def test_a_name_is_a_plain_name(converted, table, name):
    with pytest.raises(ConversionError, match="must be a plain name"):
        converted("general", "--interactions", table(GOOD), name=name)


def test_the_name_that_recbole_keeps_for_itself_is_refused(converted, table):
    with pytest.raises(ConversionError, match="RecBole reads its own copy"):
        converted("general", "--interactions", table(GOOD), name="ml-100k")


def test_ratings_and_dates_are_needed_to_filter_by_them(converted, table):
    with pytest.raises(ConversionError, match="--min-rating needs ratings"):
        converted("general", "--interactions", table(GOOD), "--min-rating", 4)
    with pytest.raises(ConversionError, match="--since and --until need timestamps"):
        converted("general", "--interactions", table(GOOD), "--time-column", "", "--since", "2019-01-01")


def test_a_folder_without_movielens_is_told(converted, tmp_path):
    with pytest.raises(ConversionError, match="holds none of u.data, ratings.dat, ratings.csv"):
        converted("movielens", "--folder", tmp_path)


def test_the_command_tells_it_in_one_line_without_a_traceback(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "dataset_scripts/general.py", "--name", "x", "--interactions", tmp_path / "none.csv"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: Cannot read {tmp_path}/none.csv: No such file or directory. Give the path of the downloaded file.\n"
    )
