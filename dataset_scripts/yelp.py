"""Yelp: yelp_academic_dataset_review.json and yelp_academic_dataset_business.json.

  python dataset_scripts/yelp.py --name Yelp --since 2019-01-01 --until 2019-12-31 \\
      --reviews yelp_academic_dataset_review.json --businesses yelp_academic_dataset_business.json

The literature on sequential recommendation takes the reviews of 2019 up to the first moment of its last day, as above.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.command import ItemFile, Source, command_line, convert, run
from dataset_scripts.reading import json_chunks, json_records

FIELDS = {"user": "user_id", "item": "business_id", "time": "date", "rating": "stars"}
COLUMNS = {
    "title:token": "name",
    "categories:token_seq": lambda business: listed(business.get("categories")),
    "city:token": "city",
    "state:token": "state",
}


def listed(categories):
    """Newer releases have one text, older ones a list."""
    return categories.split(", ") if isinstance(categories, str) else categories


def main(arguments=None):
    parser = command_line(__doc__)
    add = parser.add_argument_group("input").add_argument
    add("--reviews", required=True, help="yelp_academic_dataset_review.json")
    add("--businesses", help="yelp_academic_dataset_business.json; without it there is no .item file")
    options = parser.parse_args(arguments)
    businesses = [ItemFile(options.businesses, "business_id", lambda path, malformed, wanted: json_records(path, malformed))]
    convert(options, Source(options.reviews, json_chunks, FIELDS, businesses if options.businesses else [], COLUMNS))


if __name__ == "__main__":
    run(main)
