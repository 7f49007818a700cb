"""What all converters share on the command line, and the road from the raw files to the written data set."""

import argparse
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from . import filters, writing
from .errors import ConversionError, Malformed
from .interactions import collect
from .items import ItemTable
from .stats import statistics
from .times import ROW_ORDER

TEXT_ORDER = ("title", "brand", "developer", "categories", "genres", "tags", "price", "description")


@dataclass
class ItemFile:
    """`records(path, malformed, wanted)` yields (line, record); `columns` as in ItemTable."""

    path: str
    key: str
    records: callable


@dataclass
class Source:
    """What is special about a public data set: its files, the names in them, and how they are read."""

    path: str
    chunks: callable  # chunks(path, fields, malformed), see reading.py
    fields: dict  # user, item and, where there are such, time and rating -> the names in the file
    item_files: list = field(default_factory=list)
    columns: dict = field(default_factory=dict)


def command_line(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument_group("output").add_argument
    add("--name", required=True, help="name of the data set, the one to give to run_recbole --dataset")
    add("--output", default="dataset", help="folder of the data sets; the files go to OUTPUT/NAME (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace the data set that OUTPUT/NAME already holds")
    add = parser.add_argument_group("what is kept (in this order)").add_argument
    add("--min-rating", type=float, help="keep interactions rated at least this")
    add("--since", type=moment, metavar="DATE", help="keep interactions from this date on (2019-01-31, or with a time; UTC)")
    add("--until", type=moment, metavar="DATE", help="keep interactions before this date")
    add("--repeats", choices=["keep", "first", "last"], default="keep", help="a user's repeated items (default: %(default)s)")
    add("--k-core", type=whole, default=5, help="least interactions of every user and item; 0: no limit (default: %(default)s)")
    add("--max-history", type=whole, help="keep the latest so many interactions of every user")
    add = parser.add_argument_group("order").add_argument
    add("--ties", choices=["keep", "shuffle"], default="keep", help="equal timestamps: in the file's order, or at random")
    add("--seed", type=whole, default=0, help="seed of --ties shuffle (default: %(default)s)")
    return parser


def moment(text):
    try:
        return pd.to_datetime(text, utc=True, format="ISO8601").timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a date such as 2019-01-31, got {text!r}") from None


def whole(text):
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def convert(options, source):
    """Read, filter, sort, write, report."""
    folder = Path(options.output) / options.name
    check_options(options, source)
    writing.refuse_occupied(folder, options.overwrite)
    malformed = Malformed()
    interactions = collect(source.chunks(source.path, source.fields, malformed), source.path, malformed)
    interactions, steps = select(interactions, options)
    table = read_items(interactions, source, malformed)
    coverage = table.coverage() if source.item_files else {}
    stats = {"name": options.name, **statistics(interactions, coverage)}
    with writing.staged(folder, options.name) as file:
        writing.write_inter(file(".inter"), interactions)
        if source.item_files:
            writing.write_item(file(".item"), table)
        writing.write_stats(file(".stats.json"), stats)
        file(".yaml").write_text(protocol(options.name, coverage), encoding="utf-8")
    report(folder, options, steps + malformed.report() + table.notes(), stats)


def check_options(options, source):
    if Path(options.name).name != options.name or options.name.startswith(".") or options.name.split() != [options.name]:
        raise ConversionError(f"--name {options.name!r} must be a plain name without blanks: it becomes a folder and the files in it.")
    if options.name == "ml-100k":
        raise ConversionError("--name ml-100k: under this name RecBole reads its own copy, wherever the data lie. Choose another.")
    if options.min_rating is not None and "rating" not in source.fields:
        raise ConversionError("--min-rating needs ratings; this source has none (general.py: name them by --rating-column).")


def select(interactions, options):
    """The steps in their order, each with the number of interactions it leaves."""
    dated = options.since is not None or options.until is not None
    if dated and interactions.time_kind == ROW_ORDER:
        raise ConversionError("--since and --until need timestamps, and this source has none.")
    frame = interactions.frame
    steps = [f"read: {len(frame):,} interactions (timestamps: {interactions.time_kind})"]

    def step(label, kept):
        steps.append(f"{label}: {len(kept):,} interactions left")
        if len(kept) == 0:
            raise ConversionError(f"Nothing is left after {label} ({'; '.join(steps[:-1])}). Loosen it (see --help).")
        return kept

    if options.min_rating is not None:
        frame = step(f"--min-rating {options.min_rating:g}", frame[frame["rating"] >= options.min_rating])
    if dated:
        frame = step("the date range", filters.between(frame, options.since, options.until))
    seed = options.seed if options.ties == "shuffle" else None
    frame = filters.by_user_and_time(frame, interactions.user_keys, seed)
    if options.repeats != "keep":
        frame = step(f"--repeats {options.repeats}", filters.without_repeats(frame, options.repeats))
    if options.k_core:
        frame = step(f"--k-core {options.k_core}", filters.k_core(frame, options.k_core))
    if options.max_history:
        frame = step(f"--max-history {options.max_history}", filters.latest(frame, options.max_history))
    return replace(interactions, frame=frame), steps


def read_items(interactions, source, malformed):
    table = ItemTable(interactions.item_keys[interactions.frame["item"].unique()], source.columns)
    for file in source.item_files:
        table.read(file.records(file.path, malformed, table.rows), file.path, file.key, malformed)
    if source.item_files and not any(table.coverage().values()):
        fields = ", ".join(column.split(":")[0] for column in source.columns)
        path = source.item_files[0].path
        raise ConversionError(f"{path}: no item has any of {fields}. Is it the right file (general.py: --item-columns)?")
    return table


def protocol(name, coverage):
    """The protocol all models share, and for those that read text a template over the fields that this data set has."""
    known = [column.split(":")[0] for column, share in coverage.items() if share > 0]
    fields = [name for name in TEXT_ORDER if name in known] + [name for name in known if name not in TEXT_ORDER]
    text = Path(__file__).with_name("protocol.yaml").read_text(encoding="utf-8")
    if fields:
        template = ". ".join(f"{{{field}}}" for field in fields)
        text += f'text_template: "{template}"  # (str) an item as one text; fields that an item lacks are skipped\n'
    return f"# {name}: give this file to run_recbole by --config_files\n{text}"


def report(folder, options, notes, stats):
    print("\n".join(notes))
    for label, value in stats.items():
        print(f"{label.replace('_', ' ')}: {value}")
    print(f"written to {folder}. Next:\n  run_recbole --model=PRORec --dataset={options.name}"
          f" --data_path={options.output} --config_files {folder / (options.name + '.yaml')}")


def run(main):
    """A converter as a command: what the user can mend is told in one line, without a traceback."""
    try:
        main()
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # as of `| head`: the files were written before the report
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails again where it flushes at its end
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
