"""Any data set: a table of interactions (CSV, TSV, Parquet, JSON lines) and, if there are any, tables of items.

  python dataset_scripts/general.py --name Beauty --interactions interactions.csv.gz --items items.jsonl.gz

Files may be compressed by gzip. Ids stay the text that they are. Timestamps are seconds, milli-, micro- or nanoseconds (told
apart by their size) or ISO dates; where the column is empty, or --time-column "" is given, the order of the rows is the order.
"""

import re
import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts import tables
from dataset_scripts.command import ItemFile, Source, command_line, convert, run

ITEM_COLUMNS = ["title", "brand", "price:float", "categories:token_seq", "description"]
NAME = re.compile(r"""[^{}!"\\\s][^{}!"\\\t\r\n]*""")  # can stand in the first line of an atomic file and in a text_template


def typed(column):
    return column if ":" in column else f"{column}:token"


def main(arguments=None):
    parser = command_line(__doc__)
    add = parser.add_argument_group("input").add_argument
    add("--interactions", required=True, help="table with a user, an item and, if known, a time in each row")
    add("--items", nargs="*", default=[], help="tables of items; a later one fills what the earlier ones lack")
    add("--user-column", default="user_id", help="(default: %(default)s)")
    add("--item-column", default="item_id", help="in all tables (default: %(default)s)")
    add("--time-column", default="timestamp", help='(default: %(default)s); "": the order of the rows is the order')
    add("--rating-column", help="if ratings are to be kept or filtered")
    add("--item-columns", nargs="*", default=ITEM_COLUMNS, metavar="FIELD[:TYPE]",
        help="what to take from the items, type token, token_seq or float (default: " + " ".join(ITEM_COLUMNS) + ")")
    options = parser.parse_args(arguments)
    names = [column.split(":")[0] for column in options.item_columns]
    if len(set(names)) < len(names) or "item_id" in names or not all(map(NAME.fullmatch, names)):
        parser.error("--item-columns: expected different names without braces, quotes, ! and \\, and no item_id, which is there "
                     f"anyway, got {' '.join(names)!r}. Rename columns in the file.")
    wrong = [c for c in options.item_columns if typed(c).split(":")[1] not in ("token", "token_seq", "float")]
    if wrong:
        parser.error(f"--item-columns: expected FIELD or FIELD:TYPE with type token, token_seq or float, got {wrong[0]!r}")
    fields = {"user": options.user_column, "item": options.item_column}
    fields |= {"time": options.time_column} if options.time_column else {}
    fields |= {"rating": options.rating_column} if options.rating_column else {}
    items = [
        ItemFile(path, options.item_column, lambda path, malformed, wanted: tables.records(path, malformed, {options.item_column, *names}))
        for path in options.items
    ]
    columns = dict(zip(map(typed, options.item_columns), names))
    convert(options, Source(options.interactions, tables.chunks, fields, items, columns))


if __name__ == "__main__":
    run(main)
