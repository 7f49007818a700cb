"""What RecBole loads is what the files say, although it turns timestamps into 32-bit floats before it sorts."""

import numpy as np
import pytest

pytest.importorskip("recbole")


@pytest.fixture
def close_in_time(converted, table):
    """300 users, 10 seconds between interactions: a 32-bit float cannot tell these apart."""
    rows = [
        [f"u{user:03d}", f"{(user * 7 + step * 11) % 50:04d}", str(1_400_000_000 + 10 * step)]
        for step in range(8) for user in range(300)
    ]
    np.random.default_rng(0).shuffle(rows)
    return converted("general", "--interactions", table(rows))


def test_recbole_splits_off_the_last_items_of_every_user_and_shows_the_rest_in_order(close_in_time, monkeypatch):
    from recbole_view import load, split

    dataset, sequences = load(close_in_time.folder, monkeypatch), close_in_time.sequences()
    assert (dataset.user_num, dataset.item_num, dataset.inter_num) == (301, 51, 2400)
    view = split(dataset)
    assert view.last_three == {user: items[-3:] for user, items in sequences.items()}
    assert view.seen == {user: items[:-1] for user, items in sequences.items()}


def test_an_unsorted_file_would_be_taken_in_the_wrong_order(close_in_time, monkeypatch):
    """Without this the test above could not fail: it is the sorted file that makes it pass."""
    from recbole_view import load, split

    sequences = close_in_time.sequences()
    header, *lines = close_in_time.lines()
    np.random.default_rng(1).shuffle(lines)
    close_in_time.path(".inter").write_text("\n".join([header, *lines]) + "\n")
    assert split(load(close_in_time.folder, monkeypatch)).last_three != {user: items[-3:] for user, items in sequences.items()}


def test_items_do_not_join_the_candidates_even_when_their_file_is_loaded(converted, raw, monkeypatch):
    from recbole_view import load

    folder = raw / "amazon2014"
    tiny = converted("amazon2014", "--reviews", folder / "reviews.json", "--meta", folder / "meta.json")
    assert load(tiny.folder, monkeypatch).item_num == 4
    fields = ["item_id", "title", "brand", "price", "categories", "description"]
    dataset = load(tiny.folder, monkeypatch, load_col={"inter": ["user_id", "item_id", "timestamp"], "item": fields})
    assert dataset.item_num == 4
    titles = dict(zip(dataset.id2token("item_id", dataset.item_feat["item_id"]), dataset.item_feat["title"]))
    assert dataset.id2token("title", int(titles["0000031852"])) == "Girls Ballet Tutu 12'' ''Pink'' (new)"
