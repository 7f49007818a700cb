"""Finished runs -> numbers per data set and entry, and tests against the reference. No formatting."""

import numpy as np

from recbole_prorec.compare import results
from recbole_prorec.compare.machine import processors
from recbole_prorec.compare.ranks import metric_per_user
from recbole_prorec.compare.significance import bootstrap_interval, holm, sign_flip_p
from recbole_prorec.compare.stage_times import full_seconds, seconds_of_stages
from recbole_prorec.report.quality import by_group

TESTED = ("ndcg", "recall")
VIEWS = ("corrected", "unseen")  # of a run's metrics, under their own names: see the notes in report.py
KINDS = ("popularity", "history")  # of test items and of users, by their training interactions
SURVIVALS = tuple((space, modality) for space in ("naive", "integrated", "codes") for modality in ("E_C", "E_S"))
COSTS = ("training_seconds", "training_cpu_seconds", "milliseconds_per_user", "n_parameters", "peak_memory_mib")


def load_runs(comparison):
    """{(data set, entry): {seed: (record, arrays)}} of what is finished."""
    found = {}
    for run in comparison.runs():
        result = results.load(comparison.folder, run.name)
        if result is not None:
            found.setdefault((run.dataset, run.entry), {})[run.seed] = result
    return found


def summarize(comparison, runs):
    """A row per data set and entry: {"dataset", "entry", "model", "seeds", "processors", "values": {name: {"mean", "std", "n"}}} and what
    the costs leave out: "cost_of_a_stage_unknown", "resumed" seeds; seeds "on_gpu". And the tests."""
    computed = seconds_of_stages(record for seeds in runs.values() for record, _ in seeds.values())
    rows = [_row(dataset, entry, [record for record, _ in seeds.values()], computed) for (dataset, entry), seeds in runs.items()]
    return rows, _tests(comparison, runs)


def _row(dataset, entry, records, computed):
    values = [_values(record, computed) for record in records]
    unknown = any(full_seconds(record, computed)[1] for record in records)
    return {"dataset": dataset, "entry": entry, "model": records[0]["model"], "seeds": [record["seed"] for record in records],
            "processors": sorted({processors(record["machine"]) for record in records}), "cost_of_a_stage_unknown": unknown,
            "resumed": [record["seed"] for record in records if record.get("resumed")],
            "on_gpu": [record["seed"] for record in records if "gpu" in record["machine"]],
            "values": {name: _spread([value[name] for value in values if name in value])
                       for name in dict.fromkeys(name for value in values for name in value)}}


def name_beside_costs(row):
    """The entry's name, with a word on CPU seconds that do not tell what a training took."""
    if not row["on_gpu"]:
        return row["entry"]
    return f"{row['entry']} ({'' if row['on_gpu'] == row['seeds'] else 'partly '}on a GPU)"


def _values(record, computed):
    depth, (seconds, cpu_seconds) = record["depth"], full_seconds(record, computed)[0]
    views = {f"{view} {name}": value for view in VIEWS for name, value in record.get(view, {}).items() if name in record["test"]}
    seen = {f"seen@{depth}": record["seen"]} if "seen" in record else {}
    valid = {} if record["best_valid_score"] is None else {f"valid {record['valid_metric']}": record["best_valid_score"]}
    return {**record["test"], **views, **seen, f"coverage@{depth}": record["coverage"], f"popularity@{depth}": record["popularity"],
            **valid, "training_seconds": seconds, "training_cpu_seconds": cpu_seconds,
            "milliseconds_per_user": 1000 * record["evaluation_seconds"] / record["n_users"], "n_parameters": record["n_parameters"],
            "peak_memory_mib": record["peak_memory_bytes"] / 2**20}


def _spread(values):
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None, "n": len(values)}


def _tests(comparison, runs):
    """Each entry against the reference, per user and averaged over seeds; p-values corrected over all tests of the comparison."""
    tests = [{"dataset": dataset, "entry": entry, "metric": f"{'unseen ' if unseen else ''}{metric}@{comparison.depth}",
              **difference(seeds, runs[dataset, comparison.reference], metric, comparison.depth, unseen)}
             for (dataset, entry), seeds in runs.items() if entry != comparison.reference and (dataset, comparison.reference) in runs
             for metric in TESTED for unseen in ((False, True) if _knows_seen(runs[dataset, comparison.reference], seeds) else (False,))]
    usable = [test for test in tests if "p" in test]
    for test, p in zip(usable, holm([test["p"] for test in usable])):
        test["p_holm"] = p
    return tests


def _knows_seen(*entries):
    return all(any("seen_above" in arrays for _, arrays in seeds.values()) for seeds in entries)


def difference(seeds, reference, metric, depth, unseen=False):
    """What an entry's users have more of a metric than the reference's.

    Args:
        seeds, reference: {seed: (record, arrays)} as of `load_runs`.
        unseen: as if what is in the user's history had been left out of both.

    Returns:
        {"difference", "low", "high" of the 95 % interval, "p"}, or {"refused": why}.
    """
    if not _same_task(reference, seeds):
        return {"refused": "not tested on the same items of the same users out of a catalogue of the same size"}
    differences = _per_user(seeds, metric, depth, unseen) - _per_user(reference, metric, depth, unseen)
    low, high = bootstrap_interval(differences)
    return {"difference": float(differences.mean()), "low": low, "high": high, "p": sign_flip_p(differences)}


def by_kind(comparison, runs, dataset):
    """NDCG by the popularity of the test item and by the length of the history, of the entries that were tested on the same items.

    Returns:
        {kind: ([(from, to, users)] of the groups, {entry: [ndcg] mean over the seeds})}; {} where no run kept the kinds.
    """
    entries = {entry: seeds for (name, entry), seeds in runs.items() if name == dataset}
    knowing = [(seeds, arrays) for seeds in entries.values() for _, arrays in seeds.values() if KINDS[0] in arrays]
    if not knowing:
        return {}
    known, arrays = knowing[0]
    ndcg = {entry: _per_user(seeds, "ndcg", comparison.depth) for entry, seeds in entries.items() if _same_task(known, seeds)}
    found = {}
    for kind in KINDS:
        rows = {entry: by_group(arrays[kind], values, values) for entry, values in ndcg.items()}
        groups = [(row["from"], row["to"], row["users"]) for row in next(iter(rows.values()))]
        found[kind] = groups, {entry: [row["ndcg"] for row in of_entry] for entry, of_entry in rows.items()}
    return found


def survivals(runs, dataset, depth):
    """What survives of E_C and of the text in what was quantized and in the codes, beside the quality, of entries with codes of both.

    Returns:
        Rows of {"entry", "n" seeds that know, (space, modality): overlap of neighbourhoods, "chance", "k", "ndcg"}, means over the seeds.
    """
    rows = []
    for (name, entry), seeds in runs.items():
        known = {seed: run for seed, run in seeds.items() if name == dataset and "domination" in run[0]}
        if known:
            found = [record["domination"] for record, _ in known.values()]
            overlaps = {(space, modality): float(np.mean([of["survival"][modality][space]["overlap"] for of in found]))
                        for space, modality in SURVIVALS}
            rows.append({"entry": entry, "n": len(known), **overlaps, "chance": found[0]["overlap_by_chance"], "k": found[0]["k"],
                         "ndcg": float(_per_user(known, "ndcg", depth).mean())})
    return rows


def _same_task(reference, other):
    tasks = {(record["n_items"], arrays["user_keys"].tobytes(), arrays["target_keys"].tobytes())
             for record, arrays in [*reference.values(), *other.values()]}
    return len(tasks) == 1


def _per_user(seeds, metric, depth, unseen=False):
    """Mean over the seeds; unseen: as if what is in the user's history had been left out, over the seeds that were kept so."""
    known = [arrays for _, arrays in seeds.values() if not unseen or "seen_above" in arrays]
    counts = [[arrays[name] - (arrays[f"seen_{name}"] if unseen else 0) for name in ("above", "tied")] for arrays in known]
    return np.mean([metric_per_user(metric, depth, above, tied) for above, tied in counts], axis=0)
