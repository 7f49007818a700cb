"""prorec report."""

import io
import json

from recbole_prorec.errors import InputError
from recbole_prorec.inference.export import empty_folder

PAGE, NUMBERS = "report.html", "report.json"
DPI = 150


def add_report(commands):
    parser = commands.add_parser("report", help="write what a trained model learned as a page, pictures and numbers",
                                 epilog=f"{PAGE} holds its pictures and opens offline; the data set's files must be where they were.")
    parser.add_argument("--checkpoint", required=True, help="a RecBole checkpoint of PRORec (.pth)")
    parser.add_argument("--output", required=True, help=f"a new or an empty folder, for {PAGE}, {NUMBERS}, pictures")
    parser.set_defaults(run=run)


def run(args):
    pictures = _pictures()
    from recbole_prorec.report.numbers import all_numbers
    from recbole_prorec.report.page import make_page
    from recbole_prorec.report.source import read_source

    source = read_source(args.checkpoint)
    folder = empty_folder(args.output)
    numbers = all_numbers(source, args.checkpoint)
    images = {name: (_png(figure), about) for name, (figure, about) in pictures(source, numbers).items()}
    try:
        for name, (png, _) in images.items():
            (folder / name).write_bytes(png)
        (folder / NUMBERS).write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(make_page(source, numbers, images), encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"the report in {folder} cannot be written ({error}). Give a folder that can be written to, with room "
                         "left.") from error
    print(f"prorec: the report is {folder / PAGE}")


def _pictures():
    try:
        from recbole_prorec.report.pictures import all_pictures
    except ModuleNotFoundError as error:
        raise InputError(f'prorec report needs matplotlib, and {error.name} is missing. Run: pip install ".[report]"') from error
    return all_pictures


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
