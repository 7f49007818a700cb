"""Whether what makes PRORec fast costs quality: the same settings and seeds, trained fast and trained plainly.

  python benchmarks/quality.py comparisons/scientific.yaml --entry "PRORec generative" [--folder saved/quality]

Fast is the package as it is. Plain is the same loss written out: a sample for every prefix of a history in the place of one causal pass for
all its positions, the softmax over all items as one matrix with autograd, the teacher's expectations computed in every step, torch's own
dropout and matrix products. Every run is a process of its own on one thread; runs that are in the folder already are not made again.
Training is CPU seconds of the epochs alone."""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import common
import torch
from pipeline import counted, run_child, sums
from torch.nn import functional as F

from recbole_prorec.compare.plan import Run, make_comparison, read_yaml
from recbole_prorec.compare.worker import build

FAST, PLAIN = "fast", "plain"
METRICS = ("recall@10", "ndcg@10")


def plain_item_cross_entropy(hidden, table, target, excluded=None):
    """`item_cross_entropy`, written out."""
    scores = hidden @ table.T
    scores[:, 0] = float("-inf")
    return F.cross_entropy(scores if excluded is None else scores.scatter(1, excluded, float("-inf")), target)


def make_plain():
    """Puts the plain ways in the place of the fast ones, in this process."""
    from recbole_prorec.data.prefixes import PrefixBatches
    from recbole_prorec.generation import distillation
    from recbole_prorec.nn import transformer
    from recbole_prorec.tokenizer import alignment
    from recbole_prorec.trainer import staged

    alignment.item_cross_entropy = plain_item_cross_entropy
    distillation.Teacher.keep = lambda self, batches, n_targets: None
    transformer.fast_dropout = F.dropout
    alignment.Dropout = transformer.Dropout = torch.nn.Dropout
    staged.fast_matmul = lambda device: contextlib.nullcontext()
    staged.StagedTrainer.batches = lambda self, seed: PrefixBatches(self.run["train_data"]._dataset, self.config["train_batch_size"],
                                                                    self.device, seed)


def child(given, found):
    """One training and test as run_recbole does them; a row goes to the file `found`."""
    sys.argv[1:] = []  # RecBole reads it
    given = json.loads(Path(given).read_text())
    if given["way"] == PLAIN:
        make_plain()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as checkpoints:
        _, loaders, _, trainer, _ = build(Run(**given["run"]), checkpoints)
        epochs = counted(trainer, "_train_epoch")
        _, valid = trainer.fit(loaders[0], loaders[1], saved=True, show_progress=False)
        tested = trainer.evaluate(loaders[2], load_best_model=True, show_progress=False)
    row = {"way": given["way"], "seed": given["run"]["seed"], "epochs": len(epochs), "training": sums(epochs)[1],
           "valid ndcg@10": float(valid["ndcg@10"]), **{name: float(tested[name]) for name in METRICS}}
    Path(found).write_text(json.dumps(row))


def train(way, run, folder):
    """The row of one run, from the folder where it is there already."""
    found = folder / f"{way}-{run.seed}.json"
    if not found.is_file():
        cache = folder / way
        cache.mkdir(parents=True, exist_ok=True)
        for text in (folder / FAST).glob("text-*.npz"):  # both read the same texts, by the same encoder
            if not (cache / text.name).is_file():
                shutil.copy(text, cache)
        given = folder / "given.json"
        given.write_text(json.dumps({"way": way, "run": {**vars(run), "settings": {**run.settings, "cache_dir": str(cache)}}}))
        run_child([__file__, "--child", given, found], os.getcwd())
    return json.loads(found.read_text())


def in_short(way, rows):
    columns = ("valid ndcg@10", *METRICS, "training", "epochs")
    values = {name: [row[name] for row in rows if row["way"] == way] for name in columns}
    short = {name: f"{statistics.mean(found):.4f} ± {statistics.stdev(found) if len(found) > 1 else 0:.4f}"
             for name, found in values.items() if name not in ("training", "epochs")}
    each = statistics.median(a / b for a, b in zip(values["training"], values["epochs"]))
    return {"way": way, "seeds": len(values["epochs"]), **short, "training, CPU s": statistics.median(values["training"]),
            "epochs": statistics.median(values["epochs"]), "CPU s an epoch": each}


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("comparison", help="a yaml file as of compare_recbole")
    flags.add_argument("--entry", required=True, help="which of its entries")
    flags.add_argument("--seeds", type=int, nargs="+", help="those of the comparison, unless told otherwise")
    flags.add_argument("--folder", type=Path, default=Path("saved/quality"), help="of what is finished")
    command = shlex.join(["python", "benchmarks/quality.py", *sys.argv[1:]])
    flags = flags.parse_args()
    comparison = make_comparison(read_yaml(flags.comparison))
    entry = next((entry for entry in comparison.entries if entry.name == flags.entry), None)
    if entry is None:
        raise SystemExit(f"{flags.comparison} has no entry {flags.entry!r}; it has {', '.join(e.name for e in comparison.entries)}")
    data, folder, rows = comparison.datasets[0], flags.folder.absolute(), []
    folder.mkdir(parents=True, exist_ok=True)
    for seed in flags.seeds or comparison.seeds:
        rows += [train(way, comparison.run(data, entry, seed), folder) for way in (FAST, PLAIN)]
        tables = [(f"{data.name}, {entry.name}: mean ± standard deviation", [in_short(way, rows) for way in (FAST, PLAIN)]),
                  ("Every run", rows)]
        common.save("quality", command, "Fast and plain", __doc__, tables)


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
