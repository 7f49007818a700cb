"""A small catalogue that there is something to learn from, as atomic files."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from recbole_prorec.registry import properties_file

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
