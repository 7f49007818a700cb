"""The four files of a data set. They are written aside and moved to their names when all are complete, `.inter` last."""

import csv
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import ConversionError

SUFFIXES = (".item", ".yaml", ".stats.json", ".inter")  # .inter last: a folder that has one is complete
OTHERS = (".user", ".link", ".kg")  # which RecBole would read beside them, and which are of another data set
ROWS_AT_ONCE = 100_000


def refuse_occupied(folder, overwrite):
    held = sorted(path.name for path in Path(folder).glob("*") if path.name.endswith(SUFFIXES + OTHERS))
    if held and not overwrite:
        raise ConversionError(
            f"{folder} already holds a data set ({', '.join(held)}). "
            "Choose another --output or --name, or say --overwrite to replace it."
        )


@contextmanager
def staged(folder, name):
    """A function that names the file to write for a suffix; after the block all files stand in `folder`, or none does."""
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-unfinished-", dir=folder.parent) as aside:
            yield lambda suffix: Path(aside) / f"{name}{suffix}"
            folder.mkdir(exist_ok=True)
            for suffix in (*reversed(SUFFIXES), *OTHERS):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
            for suffix in SUFFIXES:
                if (Path(aside) / f"{name}{suffix}").exists():
                    os.replace(Path(aside) / f"{name}{suffix}", folder / f"{name}{suffix}")
    except OSError as error:
        reason = error.strerror or error
        raise ConversionError(f"Cannot write to {folder}: {reason}. Mend that or choose another --output.") from error


def write_inter(path, interactions):
    """In parts, so that the ids stand in memory as text for a part of the rows only."""
    frame = interactions.frame
    for start in range(0, len(frame), ROWS_AT_ONCE):
        part = _readable(frame.iloc[start : start + ROWS_AT_ONCE], interactions)
        part.to_csv(path, sep="\t", index=False, header=start == 0, mode="a", quoting=csv.QUOTE_NONE, encoding="utf-8")


def _readable(part, interactions):
    columns = {
        "user_id:token": interactions.user_keys[part["user"]],
        "item_id:token": interactions.item_keys[part["item"]],
        **({"rating:float": part["rating"]} if "rating" in part else {}),
        "timestamp:float": _plain(part["time"]),
    }
    return part.iloc[:, :0].assign(**columns)


def _plain(times):
    """Whole seconds without a decimal point."""
    return times.astype(np.int64) if (times == np.floor(times)).all() else times


def write_item(path, table):
    """All columns, even one that no item fills: what a converter writes has always the same form."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(["item_id:token", *table.columns]) + "\n")
        for key, row in table.rows.items():
            file.write("\t".join([key, *(row.get(column, "") for column in table.columns)]) + "\n")


def write_stats(path, stats):
    path.write_text(json.dumps(stats, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
