"""prorec cold-start."""

import json

from recbole_prorec.cold_start.experiment import cold_start
from recbole_prorec.cold_start.measure import LATEST
from recbole_prorec.compare.machine import commit, machine, versions
from recbole_prorec.errors import InputError
from recbole_prorec.inference.export import empty_folder
from recbole_prorec.known_settings import check_flags

WAYS = {"PRORec": "the trained model, the held-out items added by their texts; every item is scored, without a beam",
        "text neighbours": f"cosine to the mean text embedding of the latest {LATEST} items of the history, by the same encoder",
        "random": "the expectation of a random order"}


def add_cold_start(commands):
    parser = commands.add_parser("cold-start", help="train without some items, add them by their texts, and measure how they do",
                                 epilog="RecBole's settings are given as --key=value.", allow_abbrev=False)
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--config_files", help="yaml files of settings, separated by blanks")
    parser.add_argument("--share", type=float, default=0.1, help="of the items that are held out (default: 0.1)")
    parser.add_argument("--seed", type=int, default=2024, help="of the choice of items and of the training (default: 2024)")
    parser.add_argument("--output", required=True, help="a new or an empty folder, for cold_start.md and cold_start.json")
    parser.set_defaults(run=run, takes_settings=True)


def run(args):
    files = args.config_files.split() if args.config_files else None
    check_flags(args.settings, files or [], "PRORec")
    folder = empty_folder(args.output)
    report = cold_start(args.dataset, files, args.share, args.seed, [f"--seed={args.seed}", *args.settings])
    report["made with"] = {"commit": commit(), **machine(), **versions()}
    print(as_markdown(report))  # first: it cost a training, and the folder may be full
    try:
        (folder / "cold_start.md").write_text(as_markdown(report), encoding="utf-8")
        (folder / "cold_start.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report above cannot be written to {folder} ({error}). Keep it from here, or run the command again "
                         "with a new folder where there is room.") from error


def as_markdown(report):
    lines = [f"# Items that training never saw: {report['dataset']}", "",
             f"{report['held out']} of {report['items']} items were held out of training (seed {report['seed']}) and added afterwards by "
             f"their texts, without training. Tested are the {report['users']} users whose last item is one of them; what else is in their "
             f"history is no candidate. The standard error of a recall is at most {0.5 / report['users'] ** 0.5:.3f}.", ""]
    for where, ways in report["results"].items():
        names = list(next(iter(ways.values())))
        lines += [f"Ranked among {where}:", "", "| | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
        lines += [f"| {way} | " + " | ".join(f"{found[name]:.4f}" for name in names) + " |" for way, found in ways.items()] + [""]
    return "\n".join([*lines, *(f"- {way}: {what}" for way, what in WAYS.items()),
                      f"- settings: `{' '.join(report['settings'])}`, all others as the files of the data set and the defaults have them",
                      "- made with: " + ", ".join(f"{name} {value}" for name, value in report["made with"].items()), ""])
