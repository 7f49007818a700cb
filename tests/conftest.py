"""One thread, and a small catalogue that there is something to learn from."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and faiss are imported: on a busy machine several threads are slower than one

from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

import recbole_prorec  # noqa: E402, F401 (before any test imports RecBole)
from recbole_prorec.registry import properties_file  # noqa: E402

torch.set_num_threads(1)

UNITS = "zero one two three four five six seven eight nine".split()


@dataclass
class TinyDataset:
    """config: settings for RecBole's Config or quick start; dataset: the name to pass beside them."""

    dataset: str
    folder: Path
    n_items: int
    n_users: int
    config: dict


def write_markov_dataset(folder, name="tiny", n_items=60, n_users=80, length=10):
    """Users who start anywhere and go from each item to the next: item i is followed by item i + 1 mod n_items.

    Sorted by user and time, as RecBole's float32 timestamps need.
    """
    folder = Path(folder, name)
    folder.mkdir(parents=True)
    inter = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(n_users):
        inter += [f"u{user}\ti{(7 * user + step) % n_items}\t{100 * user + step}" for step in range(length)]
    item = ["item_id:token\ttitle:token\tclass:token_seq"]
    for i in range(n_items):
        item.append(f"i{i}\tThe {UNITS[i // 10]}-{UNITS[i % 10]}\t{'even' if i % 2 == 0 else 'odd'} {UNITS[i // 10]}")
    (folder / f"{name}.inter").write_text("\n".join(inter) + "\n", encoding="utf-8")
    (folder / f"{name}.item").write_text("\n".join(item) + "\n", encoding="utf-8")
    config = yaml.safe_load(properties_file("dataset", "ml-100k").read_text(encoding="utf-8"))
    config.update(data_path=str(folder.parent), text_template="{title}. {class}", epochs=1, show_progress=False,
                  checkpoint_dir=str(folder.parent / "saved"))
    return TinyDataset(name, folder, n_items, n_users, config)


@pytest.fixture
def tiny_dataset(tmp_path, monkeypatch):
    """The Markov catalogue as atomic files; RecBole's logs go beside it, and RecBole reads no flags of pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    return write_markov_dataset(tmp_path)
