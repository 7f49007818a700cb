"""Item records -> the text columns of `.item`, which every reader of tab-separated files gets back as they are."""

import html
import math
import re

from .errors import ConversionError
from .keys import as_key

ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
PRICE = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)")
LARGEST = 1e300  # more is no number: inf, NaN, integers that no float holds


def clean(text):
    """Entities unescaped (twice-escaped ones too), any run of blanks, tabs and line breaks one blank, quotes harmless.

    A double quote becomes two single ones: read with quoting or without, the text is the same, and 5'' stays five inches.
    """
    while (unescaped := ENTITY.sub(lambda entity: html.unescape(entity[0]), text)) != text:
        text = unescaped
    return " ".join(UNPRINTABLE.sub("", text).split()).replace('"', "''")


def text_of(value):
    """One string of what a record may hold: text, a number, a list of texts, or a list of category paths."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        parts = list(value)
        if parts and all(isinstance(part, (list, tuple)) for part in parts):
            parts = max(parts, key=len)  # of several paths through the category tree the most specific, first among equals
        return clean(" ".join(map(text_of, parts)))
    return clean(str(value))


def number_of(value):
    """A price as a plain number, `$1,234.50` too; empty where there is none or where it is a range."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.12g}" if abs(value) < LARGEST else ""
    match = PRICE.fullmatch(value.strip()) if isinstance(value, str) else None
    return match[1].replace(",", "") if match else ""


CONVERT = {"token": text_of, "token_seq": text_of, "float": number_of}


class ItemTable:
    """The text of the items in `wanted`. `columns` says what to take: `title:token` -> a field, or a function of the record."""

    def __init__(self, wanted, columns):
        self.columns, self.duplicates = columns, {}
        self.rows = {key: {} for key in sorted(wanted)}

    def read(self, records, path, key_field, malformed):
        """Where two records speak of one item the first one counts, within a file; a further file fills what is missing."""
        seen = set()
        for line, record in records:
            key = as_key(record.get(key_field))
            if key is None:
                value = str(record.get(key_field))[:60]
                malformed.add(path, line, f"field {key_field!r} is {value!r}, which cannot be an item id")
            elif key in self.rows and key in seen:
                self.duplicates[path] = self.duplicates.get(path, 0) + 1
            elif key in self.rows:
                seen.add(key)
                self._fill(self.rows[key], record)
        malformed.check(path)
        if not seen:
            raise ConversionError(f"{path}: none of its items occurs in the interactions. Do the two files belong together?")

    def _fill(self, row, record):
        for column, source in self.columns.items():
            value = source(record) if callable(source) else record.get(source)
            text = CONVERT[column.split(":")[1]](value)
            if text:
                row.setdefault(column, text)

    def coverage(self):
        """Column -> share of the items that have it."""
        return {column: sum(column in row for row in self.rows.values()) / len(self.rows) for column in self.columns}

    def notes(self):
        text = "further record(s) of items already seen; the first one counts"
        return [f"{path}: {n:,} {text}" for path, n in self.duplicates.items()]
