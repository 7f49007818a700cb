"""python comparisons/summary.py: the two tables of README's results, from the finished runs in results/."""

import sys
from pathlib import Path

import numpy as np

from recbole_prorec.compare.plan import make_comparison, read_yaml
from recbole_prorec.compare.report import table
from recbole_prorec.compare.results import check_conditions
from recbole_prorec.compare.significance import holm
from recbole_prorec.compare.summary import difference, load_runs

ROOT = Path(__file__).parents[1]
COMPARISONS = ("ml-100k", "scientific", "beauty", "sports")
ROWS = (("SASRec", "as RecBole ranks"), ("SASRec", "unseen"), ("TIGER", "as RecBole ranks"), ("TIGER", "unseen"),
        ("TIGER causal", "as RecBole ranks"), ("TIGER causal", "unseen"),
        ("PRORec stage 1, without text", ""), ("PRORec stage 1", ""), ("PRORec generative", ""), ("PRORec fused", ""))
PAIRS = (("PRORec fused", "SASRec"), ("PRORec generative", "SASRec"), ("PRORec generative", "TIGER"),
         ("PRORec generative", "TIGER causal"), ("PRORec stage 1, without text", "SASRec"), ("PRORec generative", "PRORec stage 1"),
         ("PRORec fused", "PRORec stage 1"))


def finished():
    """{name of the data set: {entry: {seed: (record, arrays)}}}"""
    found = {}
    for name in COMPARISONS:
        comparison = make_comparison({**read_yaml(ROOT / "comparisons" / f"{name}.yaml"), "output": str(ROOT / "results")})
        for run in comparison.runs():
            if changed := check_conditions(comparison.folder, run, has_data=False):
                print(f"summary.py: {run.name} was made under other conditions: {changed}", file=sys.stderr)
        runs = load_runs(comparison)
        for (dataset, entry), seeds in runs.items():
            found.setdefault(dataset, {})[entry] = seeds
    return found


def quality(runs):
    """Recall@10 / NDCG@10 on the test set, means over the seeds."""
    body = [[entry, view, *(_quality(of_data.get(entry), "unseen" if view == "unseen" else "test") for of_data in runs.values())]
            for entry, view in ROWS]
    return table(["Recall@10 / NDCG@10", "", *runs], body)


def _quality(seeds, view):
    if seeds is None:
        return ""
    return " / ".join(f"{np.mean([record[view][metric] for record, _ in seeds.values()]):.4f}" for metric in ("recall@10", "ndcg@10"))


def differences(runs):
    """NDCG@10 of one entry less that of another, neither with the items of the history; p by Holm over all tests of the table."""
    tests = {(pair, dataset): difference(of_data[pair[0]], of_data[pair[1]], "ndcg", 10, unseen=True)
             for pair in PAIRS for dataset, of_data in runs.items() if of_data.keys() >= set(pair)}
    for test, p in zip(tests.values(), holm([test["p"] for test in tests.values()])):
        test["p"] = p
    body = [[" - ".join(pair), *(_difference(tests.get((pair, dataset))) for dataset in runs)] for pair in PAIRS]
    return table(["NDCG@10", *runs], body)


def _difference(test):
    if test is None:
        return ""
    return f"{test['difference']:+.4f} ({test['low']:+.4f} to {test['high']:+.4f}), p {_p(test['p'])}"


def _p(p):
    return "< .01" if p < 0.01 else f"= {p:.2g}".replace("0.", ".")


if __name__ == "__main__":
    runs = finished()
    print(quality(runs), differences(runs), sep="\n\n")
