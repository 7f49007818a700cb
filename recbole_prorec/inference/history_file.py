"""Histories out of files, line by line.

A csv file has a column `history`, keys separated by blanks, and may have a column `user`. A jsonl file has on each line an object with
"history", a list of keys (which may hold blanks there), and may have "user". Where no user is named, histories count from 1.
"""

import contextlib
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from recbole_prorec.errors import InputError, check_text

FORMATS = ("csv", "jsonl")
EXAMPLE = 'Expected an object such as {"user": "u1", "history": ["i1", "i2"]}.'


@dataclass
class Line:
    """One history. place: file and line, for errors."""

    place: str
    user: object
    history: list


def format_of(path, asked=None):
    """"csv" or "jsonl": by the end of the name, or as asked where that does not say it; "-" is jsonl unless asked otherwise."""
    suffix = Path(path).suffix.lstrip(".").lower()
    found = suffix if suffix in FORMATS else asked or ("jsonl" if path == "-" else None)
    if found not in FORMATS:
        raise InputError(f"{path} ends in neither .csv nor .jsonl. Rename it, or say which it is by --format.")
    return found


def read_histories(path, form):
    """`Line` after `Line` of a file, or of the standard input for "-"."""
    name = "standard input" if path == "-" else path
    try:
        with contextlib.ExitStack() as stack:
            if path == "-":
                sys.stdin.reconfigure(encoding="utf-8-sig", newline="")
                file = sys.stdin
            else:
                file = stack.enter_context(open(path, encoding="utf-8-sig", newline=""))
            number = 0
            for number, (line, user, history) in enumerate((_csv if form == "csv" else _jsonl)(file, name), start=1):
                yield Line(f"{name}, line {line}", number if user in (None, "") else user, history)
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"{name} cannot be read as {form} in utf-8: {error}. Mend the file.") from error
    if number == 0:
        raise InputError(f"{name} holds no history; expected at least one. Give a file that does.")


def _csv(file, name):
    rows = csv.DictReader(file, strict=True)
    columns = rows.fieldnames or []
    if "history" not in columns or not {"history", "user"}.issuperset(columns):
        raise InputError(f"{name}, line 1: expected the columns history and, if wanted, user; found {', '.join(columns) or 'nothing'}. "
                         "Put history on the first line, or user,history.")
    for row in rows:
        if None in row or None in row.values():
            raise InputError(f"{name}, line {rows.line_num}: expected {len(columns)} columns ({', '.join(columns)}). Item keys are "
                             "separated by blanks.")
        yield rows.line_num, row.get("user"), row["history"].split()


def _jsonl(file, name):
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise InputError(f"{name}, line {number} is not json ({error}). {EXAMPLE}") from error
        if not isinstance(found, dict) or not isinstance(found.get("history"), list) or isinstance(found.get("user"), (dict, list)):
            raise InputError(f"{name}, line {number} is {line.strip()[:80]!r}. {EXAMPLE}")
        check_text(found.get("user"), f"{name}, line {number}: the user")
        yield number, found.get("user"), found["history"]
