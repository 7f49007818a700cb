"""Raw files as streams: records (dictionaries, for the items) and chunks (data frames of text, for the interactions).

Nothing here holds more than one chunk of a file, and of a record only the fields that are asked for.
"""

import ast
import gzip
import json
import zlib
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from .errors import ConversionError

CHUNK_LINES = 50_000
UNPARSABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)  # what json.loads and ast.literal_eval may raise


@contextmanager
def opened(path):
    """The decompressed byte stream of a file, and a function that brings its progress bar up to date."""
    try:
        raw, size = open(path, "rb"), Path(path).stat().st_size
    except OSError as error:
        raise ConversionError(f"Cannot read {path}: {error.strerror}. Give the path of the downloaded file.") from error
    with raw, tqdm(total=size, unit="B", unit_scale=True, desc=Path(path).name, disable=None) as bar:
        compressed = raw.peek(2)[:2] == b"\x1f\x8b"
        try:
            yield gzip.GzipFile(fileobj=raw) if compressed else raw, lambda: bar.update(raw.tell() - bar.n)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ConversionError(f"{path} is a damaged gzip file ({error}). Download it again.") from error


def parsed_records(path, malformed, parse, wanted_line=None):
    """(line number, record) of every line that is not blank; `wanted_line` spares parsing what will not be used."""
    with opened(path) as (stream, progress):
        for number, line in enumerate(stream, 1):
            if number % CHUNK_LINES == 0:
                progress()
            if line.isspace():
                continue
            malformed.read(path)
            if wanted_line is not None and not wanted_line(line):
                continue
            try:
                record = parse(line)
            except UNPARSABLE as error:
                malformed.add(path, number, f"{error.__class__.__name__}: {str(error)[:120]}")
                continue
            yield number, record
        progress()


def parse_record(line):
    """One line as a dictionary: JSON, or the Python literal that some of the public files hold in its place."""
    try:
        record = json.loads(line)
    except ValueError:
        record = ast.literal_eval(line.decode("utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"expected an object with named fields, got {type(record).__name__}")
    return record


def json_records(path, malformed, wanted_line=None):
    return parsed_records(path, malformed, parse_record, wanted_line)


def split_records(path, malformed, names, separator, encoding="utf-8"):
    """Files without header or quoting, such as MovieLens' `1::1193::5::978300760`."""

    def parse(line):
        values = line.decode(encoding).rstrip("\r\n").split(separator)
        if len(values) != len(names):
            raise ValueError(f"expected {len(names)} fields separated by {separator!r}, got {len(values)}")
        return dict(zip(names, values))

    return parsed_records(path, malformed, parse)


def chunks_of(records, path, fields, malformed):
    """Records as data frames with the columns `line` and those of `fields` (column -> name in the record)."""
    rows = _picked(records, path, fields, malformed)
    while batch := list(islice(rows, CHUNK_LINES)):
        yield pd.DataFrame(batch, columns=["line", *fields], dtype=object)


def _picked(records, path, fields, malformed):
    for number, record in records:
        try:
            yield number, *[record[name] for name in fields.values()]
        except KeyError as error:
            malformed.add(path, number, f"no field {error} among {', '.join(map(repr, record))}"[:200])


def json_chunks(path, fields, malformed):
    return chunks_of(json_records(path, malformed), path, fields, malformed)


def split_chunks(path, fields, malformed, **layout):
    return chunks_of(split_records(path, malformed, **layout), path, fields, malformed)
