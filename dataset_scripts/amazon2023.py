"""Amazon reviews, 2023 release: X.jsonl.gz and meta_X.jsonl.gz.

  python dataset_scripts/amazon2023.py --name Beauty23 --reviews All_Beauty.jsonl.gz --meta meta_All_Beauty.jsonl.gz

An item is a parent_asin (colours and sizes of one product are one item). The release's ready-made rating tables
(X.csv.gz with user_id, parent_asin, rating, timestamp) are for general.py.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.command import ItemFile, Source, command_line, convert, run
from dataset_scripts.reading import json_chunks, json_records

FIELDS = {"user": "user_id", "item": "parent_asin", "time": "timestamp", "rating": "rating"}
COLUMNS = {
    "title:token": "title",
    "brand:token": "store",
    "price:float": "price",
    "categories:token_seq": "categories",
    "features:token": "features",
    "description:token": "description",
}


def main(arguments=None):
    parser = command_line(__doc__)
    add = parser.add_argument_group("input").add_argument
    add("--reviews", required=True, help="X.jsonl.gz")
    add("--meta", help="meta_X.jsonl.gz; without it there is no .item file")
    options = parser.parse_args(arguments)
    metadata = [ItemFile(options.meta, "parent_asin", lambda path, malformed, wanted: json_records(path, malformed))]
    convert(options, Source(options.reviews, json_chunks, FIELDS, metadata if options.meta else [], COLUMNS))


if __name__ == "__main__":
    run(main)
