"""The whole of PRORec, from data to test metrics with default settings: ml-100k, and with --beauty Amazon's Beauty from its raw files on.

  python benchmarks/pipeline.py [--beauty FOLDER] [--epochs N]

FOLDER holds Beauty/interactions.csv.gz and Beauty/items.jsonl.gz, as for dataset_scripts.py. Every run is a process of its own, on one
thread, with an empty cache; memory is its peak resident size. Wall seconds depend on what else the machine does, CPU seconds hardly."""

import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import yaml
from workload import SEED, parse, parser

from dataset_scripts import write_metadata, write_reviews

ROOT = Path(__file__).resolve().parents[1]
GOALS = {"ml-100k": (300, None), "Beauty": (1800, 3072)}  # wall seconds, MiB


def run_child(command, folder):
    """(wall seconds, CPU seconds, peak MiB) of a process."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def convert(raw, folder):
    """Beauty's raw files, made from the two of `raw`, to atomic files in `folder`; the row of its costs."""
    reviews, metadata = folder / "reviews.json.gz", folder / "meta.json.gz"
    with gzip.open(raw / "Beauty" / "interactions.csv.gz", "rt") as file:
        write_reviews(reviews, sorted(list(csv.reader(file))[1:], key=lambda row: row[1]), 8, 1)
    with gzip.open(raw / "Beauty" / "items.jsonl.gz", "rt", encoding="utf-8") as items:
        write_metadata(metadata, items)
    command = ["-m", "dataset_scripts.amazon2014", "--reviews", reviews, "--meta", metadata, "--name", "Beauty", "--output", folder]
    seconds, cpu_seconds, memory = run_child(command, ROOT)
    return {"stage": "convert", "seconds": seconds, "CPU seconds": cpu_seconds, "peak MiB": memory}


def measure(name, settings):
    """Rows of the stages of one training and test, and of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "settings.json"), Path(folder, "found.json")
        given.write_text(json.dumps({"dataset": name, "settings": {**settings, "cache_dir": str(Path(folder, "cache"))}}))
        seconds, cpu_seconds, memory = run_child([ROOT / "benchmarks" / "pipeline.py", "--child", given, found], folder)
        rows, tested = json.loads(found.read_text())
    return [*rows, {"stage": "the whole process", "seconds": seconds, "CPU seconds": cpu_seconds, "peak MiB": memory, **tested}]


def child(given, found):
    """Train and test as run_recbole does; rows of the stages and the test metrics go to the file `found`."""
    from recbole_prorec.compare.plan import Run
    from recbole_prorec.compare.stage_times import watch_stages
    from recbole_prorec.compare.worker import build

    sys.argv[1:] = []  # RecBole reads it
    run = Run(entry="PRORec", model="PRORec", seed=SEED, **json.loads(Path(given).read_text()))
    (_, loaders, _, trainer, _), *built = timed(lambda: build(run, "checkpoints"))
    epochs, validation = counted(trainer, "_train_epoch"), counted(trainer, "validate")
    with watch_stages() as stages:
        _, *fitted = timed(lambda: trainer.fit(loaders[0], loaders[1], saved=True, show_progress=False))
    tested, *test = timed(lambda: trainer.evaluate(loaders[2], load_best_model=True, show_progress=False))
    rows = [row("read and split (RecBole)", built), *(row(name, sums(spent)) for name, spent in by_stage(stages).items()),
            row("training in all, fusion weight included", fitted), row(f"of it {len(epochs)} epochs of training", sums(epochs)),
            row(f"of it {len(validation)} validations", sums(validation)), row("test", test)]
    metrics = {name: float(tested[name]) for name in ("recall@10", "ndcg@10")}
    Path(found).write_text(json.dumps([rows, metrics]))


def by_stage(stages):
    """{stage: [(seconds, CPU seconds), ...]} of all that a stage kept."""
    found = {}
    for stage in stages:
        found.setdefault(stage["stage"], []).append((stage["seconds"], stage["cpu_seconds"]))
    return found


def timed(work):
    """What it returns, seconds, CPU seconds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - started, time.process_time() - cpu_started


def counted(trainer, name):
    """A list that grows by (seconds, CPU seconds) of every call of a method."""
    method, calls = getattr(trainer, name), []

    def wrapped(*args, **kwargs):
        result, *spent = timed(lambda: method(*args, **kwargs))
        calls.append(spent)
        return result

    setattr(trainer, name, wrapped)
    return calls


def sums(calls):
    return [sum(column) for column in zip(*calls)] or [0.0, 0.0]


def row(stage, spent):
    return {"stage": stage, "seconds": spent[0], "CPU seconds": spent[1]}


def goals_of(name, rows):
    """Wall seconds are those of all rows that are a process; memory is the largest of them."""
    processes = [row for row in rows if "peak MiB" in row]
    seconds, memory = sum(row["seconds"] for row in processes), max(row["peak MiB"] for row in processes)
    wanted_seconds, wanted_memory = GOALS[name]
    pairs = [("whole PRORec on {}, wall seconds", wanted_seconds, seconds), ("peak memory, {}, MiB", wanted_memory, memory)]
    return [{"goal": what.format(name), "wanted": wanted, "reached": reached, "met": reached <= wanted}
            for what, wanted, reached in pairs if wanted]


def main():
    flags = parser(__doc__, rounds=1, seconds=0)
    flags.add_argument("--beauty", type=os.path.abspath, help="folder of Beauty's raw files: measure it too")
    flags.add_argument("--epochs", type=int, help="at most, of both stages; for a quick look")
    flags = parse(flags)
    few = {"epochs": flags.epochs, "alignment_epochs": flags.epochs} if flags.epochs else {}
    found = {"ml-100k": measure("ml-100k", few)}
    if flags.beauty:
        with tempfile.TemporaryDirectory() as folder:
            converted = convert(Path(flags.beauty), Path(folder))
            protocol = yaml.safe_load(Path(folder, "Beauty", "Beauty.yaml").read_text(encoding="utf-8"))
            found["Beauty"] = [converted, *measure("Beauty", {**protocol, "data_path": folder, **few})]
    goals = [] if few else [goal for name, rows in found.items() for goal in goals_of(name, rows)]
    common.save("pipeline", flags.command, "Full pipeline", __doc__, [*found.items()], goals)


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
