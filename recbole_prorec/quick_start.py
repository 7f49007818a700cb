"""The console command run_recbole, and what RecBole calls in other processes: those start empty and must meet our models too."""

import argparse
import sys

from recbole_prorec.errors import InputError
from recbole_prorec.import_hooks import after_import
from recbole_prorec.known_settings import check_flags
from recbole_prorec.registry import Protocol, check_model, properties_file

USAGE_ERROR, INTERRUPTED = 2, 130


def main():
    """run_recbole --model=NAME --dataset=NAME [--config_files="A.yaml B.yaml"] [--key=value ...]; the exit code."""
    try:
        run(*_arguments())
    except InputError as error:
        print(f"run_recbole: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("run_recbole: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def run(args, settings):
    """RecBole's quick start, for its models and ours, under the data set's standard protocol."""
    check_model(args.model)
    files = args.config_files.split() if args.config_files else None
    check_flags(settings, files or [], args.model)
    _check_devices(args.nproc)
    from recbole.quick_start import quick_start

    from recbole_prorec.nn.memory import keep_pages

    # RecBole's Config reads its settings from here; the flags that are no settings are left out, or they would override themselves
    sys.argv[1:] = [f"--model={args.model}", f"--dataset={args.dataset}", *settings]
    Protocol.for_all_models = True
    quick_start.run_recboles = run_recboles_by_protocol
    _announce_protocol(args.dataset)
    keep_pages("cpu")  # for RecBole's models too, on whichever device: nothing is known of it yet, and beside a GPU it does no harm
    return quick_start.run(args.model, args.dataset, config_file_list=files, nproc=args.nproc, world_size=args.world_size, ip=args.ip,
                           port=args.port, group_offset=args.group_offset)


def _arguments():
    """(flags of the command, ["--key=value", ...])"""
    parser = argparse.ArgumentParser(prog="run_recbole", description="Train and test a model of RecBole or recbole_prorec.",
                                     epilog="Any setting of the yaml files can be given as --key=value.", allow_abbrev=False)
    parser.add_argument("--model", "-m", default="BPR", help="name of the model")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set")
    parser.add_argument("--config_files", help="yaml files of settings, separated by blanks")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine, one GPU each")
    parser.add_argument("--ip", default="localhost", help="address of the first machine")
    parser.add_argument("--port", default="5678", help="port of the first machine")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")
    return parser.parse_known_args()


def _check_devices(nproc):
    if nproc < 1:
        raise InputError(f"nproc is {nproc}; expected at least 1 process.")
    if nproc > 1:
        import torch

        if torch.cuda.device_count() < nproc:
            found = torch.cuda.device_count()
            raise InputError(f"nproc is {nproc}: each process takes a GPU of its own, and {found} were found. Lower nproc.")


def _announce_protocol(dataset):
    file = properties_file("dataset", dataset)
    if file is not None:
        print(f"run_recbole: data set {dataset} by the standard protocol, {file}; --config_files and --key=value go before it")


# In other processes

@after_import("recbole.quick_start.quick_start")
def let_children_meet_our_models(quick_start):
    run_recboles.original = quick_start.run_recboles
    quick_start.run_recboles = run_recboles


def run_recboles(rank, *args):
    """RecBole's function for one of several processes. It comes under this name so that the process imports this package first."""
    import recbole.quick_start  # noqa: F401 (whose loading sets `original`)

    return run_recboles.original(rank, *args)


def run_recboles_by_protocol(rank, *args):
    """The same for the console command."""
    Protocol.for_all_models = True
    return run_recboles(rank, *args)


def objective_function(config_dict=None, config_file_list=None, saved=True):
    """RecBole's objective of a hyper-parameter search, to be given to HyperTuning or to ray in its place."""
    from recbole.quick_start import objective_function as original

    return original(config_dict=config_dict, config_file_list=config_file_list, saved=saved)
