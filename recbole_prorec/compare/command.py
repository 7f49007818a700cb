"""The console command compare_recbole."""

import argparse
import shlex
import signal
import sys

from recbole_prorec.artifacts import writable_folder
from recbole_prorec.compare import results
from recbole_prorec.compare.plan import make_comparison, read_yaml
from recbole_prorec.compare.report import write_report
from recbole_prorec.compare.scheduler import run_all
from recbole_prorec.compare.search import search_of, trials_of
from recbole_prorec.compare.search_report import write_search_report
from recbole_prorec.errors import InputError

SOME_FAILED, USAGE_ERROR, INTERRUPTED = 1, 2, 130


def main(arguments=None):
    """compare_recbole COMPARISON.yaml [flags]; the exit code."""
    args = _parser().parse_args(arguments)
    before = {ending: signal.signal(ending, _interrupt) for ending in _endings()}  # a comparison that ends takes its children along
    try:
        comparison = make_comparison(_given(args))
        return (_search if args.search else _compare)(comparison, args)
    except InputError as error:
        print(f"compare_recbole: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("compare_recbole: interrupted. Finished runs are kept; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


def _parser():
    parser = argparse.ArgumentParser(prog="compare_recbole", description="Train models of RecBole and recbole_prorec, and compare them.")
    parser.add_argument("comparison", nargs="?", help="yaml file such as comparisons/ml-100k.yaml")
    parser.add_argument("--name", help="of the result files (default: that of the yaml file)")
    parser.add_argument("--datasets", nargs="+", help="names of data sets")
    parser.add_argument("--models", nargs="+", help="names of models, each an entry with its default settings")
    parser.add_argument("--entries", nargs="+", help="train only these entries; the tables show all")
    parser.add_argument("--seeds", nargs="+", type=int, help="one run per seed of each entry without seeds of its own")
    parser.add_argument("--reference", help="the entry that the others are tested against (default: the first)")
    parser.add_argument("--output", help="folder of the results (default: results)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run (OMP_NUM_THREADS)")
    parser.add_argument("--search", action="store_true", help="try settings drawn at random, on validation, as many for each entry")
    parser.add_argument("--tables", action="store_true", help="train nothing: only write the tables of what is finished")
    return parser


def _given(args):
    """The keys of the yaml file, the flags before them."""
    given = read_yaml(args.comparison) if args.comparison else {}
    flags = {"name": args.name, "datasets": args.datasets, "entries": args.models, "seeds": args.seeds, "reference": args.reference,
             "output": args.output}
    given.update({key: value for key, value in flags.items() if value is not None})
    for key in ("jobs", "threads"):
        if getattr(args, key) < 1:
            raise InputError(f"--{key} is {getattr(args, key)}; expected 1 or more.")
    return given


def _compare(comparison, args):
    if comparison.trials:
        raise InputError("the comparison is a search (it has trials); run it with --search.")
    entries, runs = _chosen_entries(comparison, args), comparison.runs()
    failed, changes = _run(comparison, runs, [run for run in runs if run.entry in entries], args)
    return _end(write_report(comparison, failed, changes), runs, failed)


def _search(comparison, args):
    if not comparison.trials:
        raise InputError("--search needs trials: N in the comparison, and a search for each entry; comparisons/ml-100k-search.yaml is one.")
    entries, comparison = _chosen_entries(comparison, args), search_of(comparison)
    trials = trials_of(comparison)
    runs = [run for turn in zip(*trials.values()) for run in turn]  # stopped early, the entries have had as many
    failed, changes = _run(comparison, runs, [run for run in runs if any(run in trials[name] for name in entries)], args)
    return _end(write_search_report(comparison, trials, failed, changes), runs, failed)


def _run(comparison, runs, chosen, args):
    """Those of the chosen runs that are not finished -> {name: reason} of the failed, {name: what has changed} of the finished before."""
    missing = {run.dataset for run in runs if args.tables and not results.data_folder(run).is_dir()}
    changes = {run.name: results.check_conditions(comparison.folder, run, run.dataset not in missing) for run in runs}
    for dataset in sorted(missing):
        print(f"compare_recbole: data set {dataset} is not here; it is not checked whether it has changed", flush=True)
    if not args.tables:
        _refuse_changes(comparison, {run.name: changes[run.name] for run in chosen})
    folder = _make(comparison)
    left = [run for run in runs if changes[run.name] is None]
    print(f"compare_recbole: {len(runs)} runs, {len(runs) - len(left)} of them finished before, in {folder}", flush=True)
    chosen = [] if args.tables else [run for run in left if run in chosen]
    failed = run_all(chosen, folder, args.jobs, args.threads, shlex.join(["compare_recbole", *sys.argv[1:]]))
    return failed, {name: change for name, change in changes.items() if change}


def _end(files, runs, failed):
    print(f"compare_recbole: wrote {', '.join(map(str, files))}")
    if failed:
        print(f"compare_recbole: {len(failed)} of {len(runs)} runs failed. The same command tries them again.", file=sys.stderr)
    return SOME_FAILED if failed else 0


def _refuse_changes(comparison, changes):
    changed = {name: change for name, change in changes.items() if change}
    if changed:
        name, change = next(iter(changed.items()))
        raise InputError(f"{len(changed)} finished runs in {comparison.folder} were made under other conditions; {name}: {change}. "
                         "Nothing was run or removed. Give the comparison another --name or --output, or delete their .json files to "
                         "run them anew; --tables shows them as they are.")


def _chosen_entries(comparison, args):
    names = [entry.name for entry in comparison.entries]
    for name in args.entries or ():
        if name not in names:
            raise InputError(f"--entries asks for {name!r}, which the comparison does not have; expected some of {', '.join(names)}.")
    return args.entries or names


def _make(comparison):
    """The folder of the comparison, with one for each data set."""
    for data in comparison.datasets:
        writable_folder(comparison.folder / data.name, "--output")
    return writable_folder(comparison.folder, "--output")


def _endings():
    """What ends a process from outside; a closed terminal too, unless it was told (nohup) to outlive that."""
    closed = getattr(signal, "SIGHUP", None)
    return [signal.SIGTERM] + [closed] * (closed is not None and signal.getsignal(closed) is not signal.SIG_IGN)


def _interrupt(*_):
    raise KeyboardInterrupt
