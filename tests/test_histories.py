"""Rows become whole histories again, and every target is asked for exactly once an epoch."""

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from recbole_prorec.data.histories import INPUTS, TARGETS, Histories, WindowBatches

WIDTH = 5


def rows_of(sequences, width=WIDTH):
    """One row for every prefix, as RecBole augments them: users, lists, lengths, targets."""
    rows = [(user, sequence[max(0, end - width):end], sequence[end])
            for user, sequence in enumerate(sequences) for end in range(1, len(sequence))]
    lists = np.array([items + [0] * (width - len(items)) for _, items, _ in rows])
    return (np.array([user for user, _, _ in rows]), lists, np.array([len(items) for _, items, _ in rows]),
            np.array([target for _, _, target in rows]))


def random_sequences(seed, n=30, longest=40, n_items=6):
    """Few items, so that lists repeat themselves and one another."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, n_items + 1, rng.integers(2, longest)).tolist() for _ in range(n)]


def split(histories):
    return [items.tolist() for items in np.split(histories.items, histories.first[1:-1])]


@pytest.mark.parametrize("seed", range(5))
def test_the_chains_of_rows_are_the_original_sequences(seed):
    sequences = random_sequences(seed)
    histories = Histories.from_rows(*rows_of(sequences))
    assert split(histories) == sequences
    assert [flags.tolist() for flags in np.split(histories.is_target, histories.first[1:-1])] == [
        [False] + [True] * (len(sequence) - 1) for sequence in sequences]


def test_users_with_the_same_items_stay_apart():
    assert split(Histories.from_rows(*rows_of([[1, 2, 3], [1, 2, 3], [1, 2]]))) == [[1, 2, 3], [1, 2, 3], [1, 2]]


@pytest.mark.parametrize("seed", range(5))
def test_missing_rows_lose_no_other_target(seed):
    users, lists, lengths, targets = rows_of(random_sequences(seed))
    kept = np.random.default_rng(seed).random(len(targets)) < 0.7
    histories = Histories.from_rows(users[kept], lists[kept], lengths[kept], targets[kept])
    assert histories.items[histories.is_target].tolist() == targets[kept].tolist()
    for sequence in np.split(np.arange(len(histories.items)), histories.first[1:-1]):
        assert histories.is_target[sequence[-1]]  # a history ends with what it is asked for


@pytest.mark.parametrize("length, stride", [(5, 5), (5, 1), (5, 3), (1, 1), (7, 2), (50, 50), (50, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_windows_ask_for_every_target_exactly_once(length, stride, seed):
    histories = Histories.from_rows(*rows_of(random_sequences(seed)))
    _, end, ask = histories.windows(length, stride, np.random.default_rng(seed))
    asked = np.zeros(len(histories.items), int)
    for last, since in zip(end, ask):
        asked[since + 1:last + 1] += 1
    assert (asked[histories.is_target] == 1).all()
    assert (asked[histories.first[:-1]] == 0).all()  # nothing is asked for across two histories


@pytest.mark.parametrize("length, stride", [(5, 3), (7, 2), (4, 4)])
def test_windows_stay_inside_a_history_with_the_context_they_promise(length, stride):
    histories = Histories.from_rows(*rows_of(random_sequences(0)))
    begin, end, ask = histories.windows(length, stride, np.random.default_rng(0))
    sequence = np.searchsorted(histories.first, begin, side="right") - 1
    assert ((end - begin >= 1) & (end - begin <= length) & (ask >= begin) & (ask < end)).all()
    assert (end < histories.first[sequence + 1]).all()
    assert ((begin == histories.first[sequence]) | (ask - begin >= length - stride)).all()


def test_a_long_history_is_cut_at_other_places_in_another_epoch():
    histories = Histories.from_rows(*rows_of([list(range(1, 40))]))
    cuts = {tuple(histories.windows(5, 3, np.random.default_rng(seed))[1]) for seed in range(10)}
    assert len(cuts) > 1


def batches(histories, seed=0, batch_size=4):
    return WindowBatches(histories, 5, 3, batch_size, "cpu", seed)


def test_batches_ask_for_every_target_once_with_the_item_before_it_as_last_input():
    histories = Histories.from_rows(*rows_of([[10, 11, 12], list(range(20, 55)), [60, 61]]))
    asked = []
    for batch in batches(histories):
        inputs, targets = batch[INPUTS], batch[TARGETS]
        assert inputs.shape == targets.shape and  inputs.shape[1] <= 5
        assert (inputs[targets > 0] == targets[targets > 0] - 1).all()  # every item here follows the number before it
        asked += targets[targets > 0].tolist()
    assert sorted(asked) == sorted(histories.items[histories.is_target].tolist())


def test_a_batch_asks_for_about_as_many_targets_as_it_is_told_however_long_the_histories_are():
    histories = Histories.from_rows(*rows_of([*([1, 2, 3] for _ in range(40)), *(list(range(1, 60)) for _ in range(5))]))
    asked = [int((batch[TARGETS] > 0).sum()) for batch in batches(histories, batch_size=16)]
    assert sum(asked) == histories.n_targets
    assert sum(16 - 5 < number < 16 + 5 for number in asked) >= len(asked) - 1  # within a window of it, but for what is left at the end


def test_padding_stands_behind_the_items():
    for batch in batches(Histories.from_rows(*rows_of(random_sequences(1)))):
        real = (batch[INPUTS] > 0).int()
        assert (real.diff(dim=1) <= 0).all() and (real[:, 0] == 1).all()


def test_an_epoch_depends_on_its_seed_alone():
    histories = Histories.from_rows(*rows_of(random_sequences(2)))
    first, again, other = ([batch[INPUTS].tolist() for batch in batches(histories, seed)] for seed in (7, 7, 8))
    assert first == again != other
    assert len(first) == len(batches(histories, 7))


def test_recboles_train_rows_give_every_history_without_its_last_two_items(tiny_dataset):
    config = Config(model="PRORec", dataset=tiny_dataset.dataset, config_dict=tiny_dataset.config)
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    found = [dataset.id2token("item_id", sequence).tolist() for sequence in split(Histories.from_dataset(train_data._dataset))]
    lines = [line.split("\t") for line in (tiny_dataset.folder / "tiny.inter").read_text().splitlines()[1:]]
    original = {}
    for user, item, _ in lines:
        original.setdefault(user, []).append(item)
    assert sorted(found) == sorted(items[:-2] for items in original.values())
