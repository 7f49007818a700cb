"""New items out of files: their keys and their texts."""

import csv
import io
import json
from pathlib import Path

from recbole_prorec.errors import InputError, check_text
from recbole_prorec.inference.recommender import item_key
from recbole_prorec.text.item_text import item_texts, read_item_fields

FORMATS = 'a RecBole .item file, a .csv file with the columns item and text, or a .jsonl file of {"item": "i1", "text": "..."}'


def read_new_items(path, settings, template=None):
    """Keys and texts. settings: the trained model's, which say how a .item file is read; template: of its texts, in the place of theirs."""
    suffix = Path(path).suffix
    if suffix == ".item":
        separator, encoding, id_field = settings["field_separator"], settings["encoding"] or "utf-8", settings["ITEM_ID_FIELD"]
        keys = list(read_item_fields(path, separator, encoding, id_field))
        return keys, item_texts(path, keys, template or settings["text_template"], id_field, separator, encoding)
    if suffix not in (".csv", ".jsonl"):
        raise InputError(f"{path} ends in none of .item, .csv and .jsonl. Give {FORMATS}.")
    rows = (_csv_rows if suffix == ".csv" else _jsonl_rows)(path, _content(path))
    return [key for key, _ in rows], [text for _, text in rows]


def _content(path):
    try:
        return Path(path).read_bytes().decode("utf-8-sig")  # spreadsheets put a mark in front
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text ({error}). Give {FORMATS}.") from error


def _csv_rows(path, content):
    try:
        return list(_rows_of(path, csv.DictReader(io.StringIO(content, newline=""), strict=True)))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as csv: {error}. A quote that opens a text has to end it too, and one inside a text is "
                         "doubled.") from error


def _rows_of(path, reader):
    if not {"item", "text"} <= set(reader.fieldnames or ()):
        raise InputError(f"{path} has the columns {', '.join(reader.fieldnames or ()) or '(none)'}; expected item and text. Name them so.")
    for row in reader:
        if None in row or row["item"] is None or row["text"] is None:
            raise InputError(f"{path}, line {reader.line_num}: expected {len(reader.fieldnames)} columns ({', '.join(reader.fieldnames)}). "
                             'Mend the line; a text with a comma stands in "quotes".')
        yield row["item"], row["text"]


def _jsonl_rows(path, content):
    return [_json_row(f"{path}, line {number}", line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]


def _json_row(place, line):
    try:
        row = json.loads(line)
        key, text = row["item"], row["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{place}: expected {{"item": key, "text": text}}, found {line[:80]!r} ({error}).') from error
    if not isinstance(text, str):
        raise InputError(f"{place}: expected the text of {key!r} in quotes, found {text!r:.80}.")
    try:
        check_text(text, "a text")
        return item_key(key), text
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
