"""The console command prorec: what can be done with a trained model."""

import argparse
import os
import sys

from recbole_prorec.cold_start.command import add_cold_start
from recbole_prorec.errors import InputError
from recbole_prorec.inference.commands import add_add_items, add_export, add_recommend
from recbole_prorec.report.command import add_report
from recbole_prorec.serve.command import add_serve

USAGE_ERROR, INTERRUPTED = 2, 130
COMMANDS = (add_recommend, add_export, add_add_items, add_cold_start, add_report, add_serve)


def main(arguments=None):
    """prorec COMMAND [flags]; the exit code."""
    parser = argparse.ArgumentParser(prog="prorec", description="Use a trained PRORec.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    args, settings = parser.parse_known_args(arguments)
    args.settings = settings
    if settings and not hasattr(args, "takes_settings"):
        parser.error(f"unrecognized arguments: {' '.join(settings)}")
    try:
        args.run(args)
    except InputError as error:
        print(f"prorec: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("prorec: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever reads our output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at the end
    return 0


if __name__ == "__main__":
    sys.exit(main())
