"""Steam: steam_reviews.json.gz and steam_games.json.gz, whose lines are Python literals.

  python dataset_scripts/steam.py --name Steam --reviews steam_reviews.json.gz --games steam_games.json.gz

A user is a username (only some of the reviews carry an account number). The dates are days; within a day the file's order counts.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.command import ItemFile, Source, command_line, convert, run
from dataset_scripts.reading import json_chunks, json_records

FIELDS = {"user": "username", "item": "product_id", "time": "date"}
COLUMNS = {
    "title:token": lambda game: game.get("title") or game.get("app_name"),
    "developer:token": "developer",
    "genres:token_seq": "genres",
    "tags:token_seq": "tags",
    "price:float": "price",
}


def named_games(path, malformed, wanted):
    """A few of the games carry no id; no review can mean them."""
    return ((line, game) for line, game in json_records(path, malformed) if "id" in game)


def main(arguments=None):
    parser = command_line(__doc__)
    add = parser.add_argument_group("input").add_argument
    add("--reviews", required=True, help="steam_reviews.json.gz")
    add("--games", help="steam_games.json.gz; without it there is no .item file")
    options = parser.parse_args(arguments)
    games = [ItemFile(options.games, "id", named_games)] if options.games else []
    convert(options, Source(options.reviews, json_chunks, FIELDS, games, COLUMNS))


if __name__ == "__main__":
    run(main)
