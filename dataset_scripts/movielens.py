"""MovieLens: the unpacked folder of 100K (u.data), of 1M or 10M (ratings.dat), or of 20M, 25M, 32M, latest (ratings.csv).

  python dataset_scripts/movielens.py --name ml-1m --folder ml-1m
"""

import sys
from functools import partial
from pathlib import Path

if not __package__:  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts import tables
from dataset_scripts.command import ItemFile, Source, command_line, convert, run
from dataset_scripts.errors import ConversionError
from dataset_scripts.reading import split_chunks, split_records

RATING = ["user", "item", "rating", "time"]
GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()
COLUMNS = {"title:token": "title", "genres:token_seq": lambda record: listed_genres(record.get("genres"))}
FLAG_COLUMNS = {"title:token": "title", "genres:token_seq": lambda record: [g for g in GENRES if record[g] == "1"]}


def listed_genres(genres):
    return None if genres is None or genres.startswith("(no genres") else genres.split("|")


def layout_100k(folder):
    names = ["item", "title", "released", "released_on_video", "url", *GENRES]
    movies = partial(split_records, names=names, separator="|", encoding="latin-1")
    return _source(folder, "u.data", partial(split_chunks, names=RATING, separator="\t"), "u.item", movies, FLAG_COLUMNS)


def layout_dat(folder):
    movies = partial(split_records, names=["item", "title", "genres"], separator="::", encoding="latin-1")
    ratings = partial(split_chunks, names=RATING, separator="::")
    return _source(folder, "ratings.dat", ratings, "movies.dat", movies, COLUMNS)


def layout_csv(folder):
    fields = {"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"}
    source = _source(folder, "ratings.csv", tables.csv_chunks, "movies.csv", tables.records, COLUMNS, fields)
    source.item_files[0].key = "movieId"
    return source


def _source(folder, ratings, chunks, movies, records, columns, fields=None):
    fields = fields or {name: name for name in RATING}
    items = ItemFile(str(folder / movies), "item", lambda path, malformed, wanted: records(path, malformed))
    return Source(str(folder / ratings), chunks, fields, [items], columns)


LAYOUTS = {"u.data": layout_100k, "ratings.dat": layout_dat, "ratings.csv": layout_csv}


def source_in(folder):
    for ratings, layout in LAYOUTS.items():
        if (Path(folder) / ratings).is_file():
            return layout(Path(folder))
    raise ConversionError(f"{folder} holds none of {', '.join(LAYOUTS)}. Give the unpacked folder of a MovieLens release.")


def main(arguments=None):
    parser = command_line(__doc__)
    parser.add_argument_group("input").add_argument("--folder", required=True, help="the unpacked release")
    options = parser.parse_args(arguments)
    convert(options, source_in(options.folder))


if __name__ == "__main__":
    run(main)
