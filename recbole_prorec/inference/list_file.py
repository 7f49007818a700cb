"""Recommendations into files, user by user."""

import contextlib
import csv
import json
import sys

from recbole_prorec.artifacts import whole_file
from recbole_prorec.errors import InputError


@contextlib.contextmanager
def writer(path, form, has_texts):
    """A function write(user, items, scores, texts or None). A file is there when it is whole; the standard output ("-") flows.

    csv has a row for each item: user, rank, item, score and text; jsonl an object for each user: user, items, scores and texts.
    """
    if path == "-":
        sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield _written(sys.stdout, form, has_texts)
        sys.stdout.flush()
        return
    try:
        with whole_file(path, "w", encoding="utf-8", newline="") as file:
            yield _written(file, form, has_texts)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}). Give another --output.") from error


def _written(file, form, has_texts):
    if form == "csv":
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["user", "rank", "item", "score"] + ["text"] * has_texts)

        def write(user, items, scores, texts):
            columns = (items, scores, texts) if has_texts else (items, scores)
            table.writerows((user, rank, *values) for rank, values in enumerate(zip(*columns), start=1))
    else:
        def write(user, items, scores, texts):
            found = {"user": user, "items": items, "scores": scores, **({"texts": texts} if has_texts else {})}
            file.write(json.dumps(found, ensure_ascii=False) + "\n")
    return write
