"""Files with named columns, CSV, TSV and Parquet, as chunks of text; like `reading`, never more than a chunk at a time.

A double quote at the beginning of a value opens it and another one closes it, as pandas writes CSV and TSV; inside of a value it is a
character like others. One that is never closed would swallow rows, so where there are quotes, a second pass looks at them alone."""

import csv
import io
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from .errors import ConversionError
from .reading import CHUNK_LINES, json_chunks, json_records, opened

csv.field_size_limit(2**31 - 1)  # Python's own, 131,072 characters, is less than a long description


def csv_chunks(path, fields, malformed, delimiter=","):
    """A header line and rows; every value stays text, so that ids keep their leading zeros."""
    names = header(path, delimiter)
    require_columns(path, names, fields.values())
    bad_lines, next_line = [], 2

    def skip(row):
        bad_lines.append(row.number)
        malformed.read(path)
        malformed.add(path, row.number, f"expected {row.expected_columns} columns, got {row.actual_columns}")
        return "skip"

    with opened(path) as (stream, progress):
        stream = QuoteCounter(stream)
        for batch in _csv_batches(stream, path, names, sorted(set(fields.values())), delimiter, skip):
            malformed.read(path, len(batch))
            lines = _line_numbers(next_line, len(batch), bad_lines)
            next_line = next_line if len(lines) == 0 else lines[-1] + 1
            yield _chunk(batch, fields, lines)
            progress()
    if stream.n_quotes:
        check_quotes(path, delimiter)


def check_quotes(path, delimiter):
    with opened(path) as (stream, _):
        rows = csv.reader(io.TextIOWrapper(stream, "utf-8", errors="replace", newline=""), delimiter=delimiter, strict=True)
        try:
            for _ in rows:
                pass
        except csv.Error as error:
            raise ConversionError(f"{path}, line {rows.line_num} or one before: a double quote opens a value and is not closed where the "
                                  f"value ends ({error}), so that rows would be lost. Put such a value in quotes, its own quotes "
                                  "doubled.") from error


class QuoteCounter:
    """A byte stream that counts the double quotes it gives out."""

    def __init__(self, stream):
        self.stream, self.n_quotes = stream, 0

    def read(self, size=-1):
        data = self.stream.read(size)
        self.n_quotes += data.count(b'"')
        return data

    closed = property(lambda self: self.stream.closed)

    def close(self):
        pass  # whoever opened it closes it


def header(path, delimiter):
    with opened(path) as (stream, _):
        line = stream.readline().decode("utf-8-sig", errors="replace")
    try:
        names = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise ConversionError(f"{path}, line 1 cannot be read ({error}). Lines end with a line feed.") from error
    if len(set(names)) < len(names):
        raise ConversionError(f"{path}, line 1: two columns have one name ({', '.join(map(repr, names))}). Rename one.")
    return names


def require_columns(path, present, wanted):
    missing = [name for name in wanted if name not in present]
    if missing:
        raise ConversionError(
            f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, present)) or 'none'}. "
            "Name the right columns on the command line (see --help)."
        )


def _csv_batches(stream, path, names, wanted, delimiter, skip):
    text = {name: pa.string() for name in wanted}
    try:
        yield from pa.csv.open_csv(
            stream,
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, invalid_row_handler=skip, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted, column_types=text, strings_can_be_null=True, null_values=[""]
            ),
        )
    except pa.ArrowInvalid as error:
        raise ConversionError(f"{path} cannot be read as a table: {error}") from error


def _line_numbers(start, n_rows, bad_lines):
    """The numbers of the good lines: consecutive, but for the bad ones between them."""
    bad = [number for number in bad_lines if number >= start]
    return np.setdiff1d(np.arange(start, start + n_rows + len(bad)), bad)[:n_rows]


def _chunk(batch, fields, lines):
    values = {column: batch.column(name).to_pandas() for column, name in fields.items()}
    return pd.DataFrame({"line": lines, **values}, dtype=object)


def parquet_chunks(path, fields, malformed):
    with parquet_errors(path):
        table = pa.parquet.ParquetFile(path)
    require_columns(path, table.schema_arrow.names, fields.values())
    _refuse_fractional_ids(path, table.schema_arrow, fields)
    line = 1
    with parquet_errors(path):  # of the loop alone: what goes wrong with a chunk at the reader's does not come back here
        for batch in table.iter_batches(CHUNK_LINES, columns=sorted(set(fields.values()))):
            malformed.read(path, len(batch))
            yield _chunk(_as_text(batch), fields, np.arange(line, line + len(batch)))
            line += len(batch)


@contextmanager
def parquet_errors(path):
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ConversionError(f"Cannot read {path} as Parquet of text and numbers: {error}") from error


def _as_text(batch):
    """Nested columns (lists of categories) stay what they are; NaN, which pandas writes for a missing text, is none."""
    def text(column):
        if pa.types.is_nested(column.type):
            return column
        if pa.types.is_floating(column.type):
            column = pa.compute.if_else(pa.compute.is_nan(column), pa.scalar(None, column.type), column)
        return column.cast(pa.string())

    return pa.RecordBatch.from_arrays([text(column) for column in batch.columns], names=batch.schema.names)


def _refuse_fractional_ids(path, schema, fields):
    for column in {"user", "item"} & set(fields):
        kind = schema.field(fields[column]).type
        if pa.types.is_floating(kind):
            raise ConversionError(f"{path}: column {fields[column]!r} holds {kind} numbers. Store ids as text or integers.")


READERS = {
    ".csv": csv_chunks,
    ".tsv": partial(csv_chunks, delimiter="\t"),
    ".parquet": parquet_chunks,
    ".jsonl": json_chunks,
    ".json": json_chunks,
}


def suffix(path):
    kind = Path(str(path).removesuffix(".gz")).suffix.lower()
    if kind not in READERS:
        raise ConversionError(f"{path}: expected a name that ends in {', '.join(READERS)} (with .gz or without).")
    return kind


def chunks(path, fields, malformed):
    """Chunks of any of the formats, told apart by the file's name."""
    return READERS[suffix(path)](path, fields, malformed)


def records(path, malformed, wanted=None):
    """(line number, record) of any of the formats; of the columns `wanted` alone if they are named."""
    kind = suffix(path)
    if kind in (".jsonl", ".json"):
        yield from json_records(path, malformed)
        return
    if kind == ".parquet":
        with parquet_errors(path):
            names = pa.parquet.read_schema(path).names
    else:
        names = header(path, "\t" if kind == ".tsv" else ",")
    names = [name for name in names if wanted is None or name in wanted]
    for chunk in chunks(path, {f".{name}": name for name in names}, malformed):  # with a dot none is called as the chunk's own `line`
        lines = chunk.pop("line")
        chunk.columns = names
        yield from zip(lines, chunk.to_dict("records"))
