"""Amazon reviews, 2014 release: reviews_X_5.json.gz or reviews_X.json.gz, and meta_X.json.gz.

  python dataset_scripts/amazon2014.py --name Beauty --reviews reviews_Beauty_5.json.gz --meta meta_Beauty.json.gz

The timestamps are days. Within a day the file's order counts; the file is grouped by item, in ascending item id, and the
literature's sequences are in just that order (--ties shuffle tells how much of a result rests on it).
"""

import re
import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.command import ItemFile, Source, command_line, convert, run
from dataset_scripts.reading import json_chunks, json_records

FIELDS = {"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "rating": "overall"}
COLUMNS = {
    "title:token": "title",
    "brand:token": "brand",
    "price:float": "price",
    "categories:token_seq": "categories",
    "description:token": "description",
}
FIRST_FIELD = re.compile(rb"""\{\s*u?['"]asin['"]\s*:\s*u?['"]([^'"\\]+)['"]""")


def wanted_metadata(path, malformed, wanted):
    """Parsing a Python literal is slow and the metadata name many more items than the reviews: parse only what is wanted."""

    def is_wanted(line):
        asin = FIRST_FIELD.match(line)
        return asin is None or asin[1].decode("utf-8", errors="replace") in wanted

    return json_records(path, malformed, is_wanted)


def main(arguments=None):
    parser = command_line(__doc__)
    add = parser.add_argument_group("input").add_argument
    add("--reviews", required=True, help="reviews_X_5.json.gz (already the 5-core) or reviews_X.json.gz (all)")
    add("--meta", help="meta_X.json.gz; without it there is no .item file")
    options = parser.parse_args(arguments)
    items = [ItemFile(options.meta, "asin", wanted_metadata)] if options.meta else []
    convert(options, Source(options.reviews, json_chunks, FIELDS, items, COLUMNS))


if __name__ == "__main__":
    run(main)
