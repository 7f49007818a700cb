"""prorec recommend, prorec export and prorec add-items."""

import argparse
import sys
from itertools import islice

from tqdm import tqdm

from recbole_prorec.errors import InputError
from recbole_prorec.inference import history_file
from recbole_prorec.inference.export import write_export
from recbole_prorec.inference.history_file import FORMATS, format_of, read_histories
from recbole_prorec.inference.item_file import FORMATS as ITEM_FORMATS
from recbole_prorec.inference.item_file import read_new_items
from recbole_prorec.inference.list_file import writer
from recbole_prorec.inference.new_items import NEIGHBOURS
from recbole_prorec.inference.recommender import BATCH_SIZE, load
from recbole_prorec.text.embedding_file import load_embedding_file

CHECKPOINT = "a RecBole checkpoint of PRORec (.pth), or the folder of an export"


def add_recommend(commands):
    parser = commands.add_parser("recommend", help="recommend items for histories of item keys", epilog=history_file.__doc__)
    parser.add_argument("--checkpoint", required=True, help=CHECKPOINT)
    parser.add_argument("--histories", required=True, help="a .csv or .jsonl file; - reads jsonl from the standard input")
    parser.add_argument("--output", default="-", help="a .csv or .jsonl file; - (the default) writes jsonl to the standard output")
    parser.add_argument("--format", choices=FORMATS, help="of --histories and --output, where the name does not say it")
    parser.add_argument("--k", type=int, default=10, help="items for each history (default: 10)")
    parser.add_argument("--beam-size", type=int, help="items that the beam looks at (default: the trained model's)")
    parser.add_argument("--exclude-seen", action=argparse.BooleanOptionalAction,
                        help="leave out all items of the history, or none of them; without either, as the model was evaluated")
    parser.add_argument("--drop-unknown", action="store_true", help="pass over item keys that the model does not know")
    add_show_text(parser)
    parser.add_argument("--device", default="cpu", help="as torch calls it (default: cpu)")
    parser.set_defaults(run=recommend)


def add_show_text(parser):
    """The flags that `read_texts` reads."""
    parser.add_argument("--show-text", metavar="ITEM_FILE", nargs="+",
                        help="give the items' texts beside their keys, out of the catalogue's .item file and of those of items added later")
    parser.add_argument("--text-template", help='of these texts, as "{title}" (default: the trained model\'s text_template)')


def recommend(args):
    form = format_of(args.histories, args.format)
    output_form = format_of(args.output, args.format)
    recommender = load(args.checkpoint, args.beam_size, args.device)
    recommender.check_k(args.k)
    text_of = read_texts(recommender, args)
    lines = iter(tqdm(_prepared(recommender, args, form), desc="recommend", unit=" histories", disable=None))
    with writer(args.output, output_form, text_of is not None) as write:
        while batch := list(islice(lines, BATCH_SIZE)):
            keys, scores = recommender.rank([ids for _, ids in batch], args.k, args.exclude_seen)
            for (line, _), items, values in zip(batch, keys, scores):
                write(line.user, items, values, text_of and [text_of[item] for item in items])


def _prepared(recommender, args, form):
    """(line, its item ids) of every history of the file."""
    for line in read_histories(args.histories, form):
        try:
            yield line, recommender.read_history(line.history, args.k, args.exclude_seen, args.drop_unknown)
        except InputError as error:
            raise InputError(f"{line.place}: {error}") from error


def read_texts(recommender, args):
    """Item key -> text, or None where none is asked for."""
    if args.show_text is None:
        return None
    keys, texts = recommender.item_keys[1:], {}
    for file in args.show_text:
        texts.update(zip(*read_new_items(file, recommender.settings, args.text_template)))
    if not texts.keys() & set(keys):
        raise InputError(f"none of the model's {len(keys)} items (the first is {keys[0]!r}) is in {', '.join(args.show_text)}. Give the "
                         "files of its catalogue.")
    silent = [key for key in keys if not texts.get(key)]
    if silent:
        print(f"prorec: {len(silent)} of {len(keys)} items have no text in {', '.join(args.show_text)}, the first of them {silent[0]!r}",
              file=sys.stderr)
    return {key: texts.get(key, "") for key in keys}


def add_export(commands):
    parser = commands.add_parser("export", help="write a trained model as safetensors, json and text, to be used without RecBole")
    parser.add_argument("--checkpoint", required=True, help=CHECKPOINT)
    parser.add_argument("--output", required=True, help="a new or an empty folder")
    parser.set_defaults(run=export)


def export(args):
    write_export(load(args.checkpoint), args.output)


def add_add_items(commands):
    parser = commands.add_parser("add-items", help="write an export that knows new items too, without training",
                                 epilog=f"Their codes come from their texts and the frozen codebooks; in the place of the collaborative "
                                        f"embedding that they lack stands the mean of their {NEIGHBOURS} nearest trained items', by text,"
                                        " made as long as these.")
    parser.add_argument("--checkpoint", required=True, help=CHECKPOINT)
    parser.add_argument("--items", required=True, help=f"{ITEM_FORMATS}; of a .item file, the columns of the training")
    parser.add_argument("--text-embeddings", help="their embeddings from a file (.npz, .npy, .itememb) in the place of the encoder's")
    parser.add_argument("--text-template", help='of the .item file, as "{title}" (default: the trained model\'s text_template)')
    parser.add_argument("--output", required=True, help="a new or an empty folder, for the export")
    parser.set_defaults(run=add_items)


def add_items(args):
    recommender = load(args.checkpoint)
    keys, texts = read_new_items(args.items, recommender.settings, args.text_template)
    given = {"text_embeddings": load_embedding_file(args.text_embeddings, keys)} if args.text_embeddings else {"texts": texts}
    write_export(recommender.add_items(keys, **given, show_progress=True), args.output)
    print(f"prorec: {len(keys)} new items beside {recommender.n_items} old ones, in {args.output}")
