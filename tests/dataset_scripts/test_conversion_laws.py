"""What holds for any data set."""

import csv
import html
import random

import numpy as np
import pandas as pd
import pytest

from dataset_scripts import filters
from dataset_scripts.items import clean, number_of, text_of

NASTY = ['"', '""', "'", "&quot;", "&amp;quot;", "&amp;amp;", "&nbsp;", "&#9;", "&#10;", "&", "AT&T", "&copy"]
NASTY += ["\t", "\n", "\r\n", "\x00", "\u2028", "\x85", "\ud83d", " ", "5", "é", "李", "a"]


def nasty_texts(n=300):
    draw = random.Random(0)
    return ["".join(draw.choices(NASTY, k=draw.randint(0, 8))) for _ in range(n)]


def test_cleaning_twice_changes_nothing_more():
    assert all(clean(clean(text)) == clean(text) for text in nasty_texts())


def test_clean_text_is_the_same_read_with_quoting_and_without(tmp_path):
    texts = [clean(text) for text in nasty_texts()]
    file = tmp_path / "texts.tsv"
    file.write_text("".join(f"{n}\t{text}\tend\n" for n, text in enumerate(texts)), encoding="utf-8")
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        for engine in ("python", "c"):
            frame = pd.read_csv(file, sep="\t", header=None, quoting=quoting, engine=engine, keep_default_na=False, dtype=str)
            assert frame[1].tolist() == texts and set(frame[2]) == {"end"}


def test_escaping_any_number_of_times_is_undone():
    text = "<b> R&D l'été"
    escaped = text
    for _ in range(4):
        escaped = html.escape(escaped)
        assert clean(escaped) == text


def test_unfinished_entities_stay_as_they_are():
    assert clean("AT&T; Q&not &copyright") == "AT&T; Q&not &copyright"


@pytest.mark.parametrize("value, text", [
    (None, ""), (float("nan"), ""), ([], ""), (["x", None, "y"], "x y"), (7, "7"),
    ([["A", "B b"], ["A", "C", "D"], ["E", "F", "G"]], "A C D"),
])
def test_text_of_whatever_a_record_may_hold(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize("value, number", [
    (12.0, "12"), ("$1,234.50", "1234.50"), (".99", ".99"), ("from $5", ""), ("12,99", ""), (10**400, ""), ("$5 - $9", ""), (None, ""),
    (float("nan"), ""), (float("inf"), ""), (True, ""), (1234567.89, "1234567.89"),
])
def test_prices_are_plain_numbers_or_nothing(value, number):
    assert number_of(value) == number


def random_frame(seed, n=400, users=40, items=40, days=6):
    draw = np.random.default_rng(seed)
    skewed = (draw.random(n) ** 2 * users).astype(np.int32)
    return pd.DataFrame({"user": skewed, "item": draw.integers(0, items, n), "time": draw.integers(0, days, n).astype(float)})


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [2, 5, 9])
def test_k_core_keeps_all_that_can_stay_whatever_the_order_of_removal(seed, k):
    frame = random_frame(seed)
    kept = filters.k_core(frame, k)
    assert len(kept) == 0 or min(kept.groupby("user").size().min(), kept.groupby("item").size().min()) >= k
    one_at_a_time = frame
    while True:  # remove the rows of a single offender until there is none
        counts = [(side, one_at_a_time[side].value_counts()) for side in ("item", "user")]
        offender = next(((side, count.index[count < k][0]) for side, count in counts if (count < k).any()), None)
        if offender is None:
            break
        one_at_a_time = one_at_a_time[one_at_a_time[offender[0]] != offender[1]]
    pd.testing.assert_frame_equal(kept, one_at_a_time)


def test_sorting_is_by_user_key_and_time_and_keeps_the_files_order_in_ties():
    frame = random_frame(1).assign(row=lambda f: range(len(f)))
    keys = np.array([f"u{code * 7 % 40:02d}" for code in range(40)], dtype=object)
    ordered = filters.by_user_and_time(frame, keys)
    expected = sorted(frame.itertuples(index=False), key=lambda r: (keys[r.user], r.time))  # Python's sort is stable
    assert ordered["row"].tolist() == [r.row for r in expected]


def test_shuffled_ties_change_the_order_inside_a_timestamp_only():
    frame = random_frame(2)
    keys = np.array([f"u{code:02d}" for code in range(40)], dtype=object)
    kept, shuffled = filters.by_user_and_time(frame, keys), filters.by_user_and_time(frame, keys, shuffle_seed=1)
    assert kept[["user", "time"]].values.tolist() == shuffled[["user", "time"]].values.tolist()
    assert kept["item"].tolist() != shuffled["item"].tolist()
    assert sorted(map(tuple, kept.values)) == sorted(map(tuple, shuffled.values))
    pd.testing.assert_frame_equal(shuffled, filters.by_user_and_time(frame, keys, shuffle_seed=1))


def test_repeats_latest_and_range():
    frame = pd.DataFrame({"user": [0, 0, 0, 1], "item": [5, 6, 5, 5], "time": [1.0, 2.0, 3.0, 4.0]})
    assert filters.without_repeats(frame, "first")["time"].tolist() == [1, 2, 4]
    assert filters.without_repeats(frame, "last")["time"].tolist() == [2, 3, 4]
    assert filters.without_repeats(frame, "keep") is frame
    assert filters.latest(frame, 2)["time"].tolist() == [2, 3, 4]
    assert filters.between(frame, since=2, until=4)["time"].tolist() == [2, 3]


def test_the_order_of_the_rows_of_the_source_does_not_matter_beyond_ties(converted, table):
    rows = [[f"u{n % 7}", f"i{n % 5}", str(1000 + n * 13 % 101)] for n in range(100)]  # no ties within a user
    first = converted("general", "--interactions", table(rows, name="a.csv"), name="a").path(".inter").read_bytes()
    second = converted("general", "--interactions", table(rows[::-1], name="b.csv"), name="b").path(".inter").read_bytes()
    assert first == second


@pytest.mark.parametrize("written", [
    ["1400000000", "1400000001"], ["1400000000000", "1400000001000"], ["1400000000000000", "1400000001000000"],
    ["2014-05-13 16:53:20", "2014-05-13 16:53:21"], ["2014-05-13T16:53:20Z", "2014-05-13T18:53:21+02:00"],
])
def test_seconds_milliseconds_microseconds_and_dates_come_out_as_seconds(converted, table, written):
    tiny = converted("general", "--interactions", table([["u", "b", written[1]], ["u", "a", written[0]]]))
    assert [(row["item_id"], row["timestamp"]) for row in tiny.rows()] == [("a", "1400000000"), ("b", "1400000001")]


@pytest.mark.parametrize("arguments, time", [([], ""), (["--time-column", ""], "99")])
def test_without_timestamps_the_order_of_the_rows_is_the_order(converted, table, arguments, time):
    tiny = converted("general", "--interactions", table([["u", "z", time], ["v", "z", time], ["u", "a", time]]), *arguments)
    assert tiny.lines()[1:] == ["u\tz\t0", "u\ta\t1", "v\tz\t0"]


def test_chunk_borders_do_not_show(converted, table, monkeypatch):
    from dataset_scripts import reading, writing

    rows = [[f"u{n % 7}", f"i{n % 5}", str(n // 3)] for n in range(100)]
    path = table(rows)
    jsonl = path.with_suffix(".jsonl")
    jsonl.write_text("".join(f'{{"user_id": "{u}", "item_id": "{i}", "timestamp": {t}}}\n' for u, i, t in rows))
    whole = converted("general", "--interactions", path, name="whole").path(".inter").read_bytes()
    monkeypatch.setattr(reading, "CHUNK_LINES", 7)
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 9)
    assert converted("general", "--interactions", jsonl, name="parts").path(".inter").read_bytes() == whole
