"""What a search found: <name>-search.md, .csv and .json, and the winning settings as a comparison, <name>-tuned.yaml."""

import csv
import io
import json
import textwrap
from dataclasses import asdict

import numpy as np
import yaml

from recbole_prorec.compare import results
from recbole_prorec.compare.report import listed, made_with, table
from recbole_prorec.compare.stage_times import full_seconds, seconds_of_stages

HEADER = ("entry", "trial", "settings", "score", "seconds", "cpu_seconds", "cost_of_a_stage_unknown")


def write_search_report(comparison, trials, failed, changed):
    """The files, made from all finished trials. trials: {name of the entry: runs}; failed, changed: {name of the run: reason}."""
    records = {name: _load(comparison, runs) for name, runs in trials.items()}
    everyone = [record for found in records.values() for record in found.values()]
    rows, best = _rows(records, everyone), {name: _best(found) for name, found in records.items() if found}
    missing = {run.name: failed.get(run.name, "not finished") for name, runs in trials.items() for turn, run in enumerate(runs, start=1)
               if turn not in records[name]}
    path = {suffix: comparison.folder.with_name(f"{comparison.name}.{suffix}") for suffix in ("md", "csv", "json")}
    tuned = comparison.folder.with_name(f"{comparison.name.removesuffix('-search')}-tuned.yaml")
    results.write_text(path["md"], _markdown(comparison, rows, best, everyone, missing, changed, tuned.name))
    results.write_text(path["csv"], _csv(rows))
    results.write_text(path["json"], json.dumps({"comparison": asdict(comparison), "trials": rows, "best": best, "missing": missing,
                                                 "changed": changed, "runs": everyone}, indent=1, default=str))
    results.write_text(tuned, _yaml(comparison, rows, best))
    return [*path.values(), tuned]


def _load(comparison, runs):
    """{number of the trial: its record} of what is finished."""
    found = {turn: results.load(comparison.folder, run.name) for turn, run in enumerate(runs, start=1)}
    return {turn: result[0] for turn, result in found.items() if result is not None}


def _rows(records, everyone):
    computed = seconds_of_stages(everyone)
    rows = []
    for name, found in records.items():
        for turn, record in found.items():
            seconds, unknown = full_seconds(record, computed)
            rows.append(dict(zip(HEADER, (name, turn, record["drawn"], record["best_valid_score"], *seconds, unknown))))
    return rows


def _best(found):
    """{"trial", "settings", "score"} of the best trial, the first of equals."""
    sign = 1 if next(iter(found.values()))["valid_metric_bigger"] else -1
    turn = max(found, key=lambda turn: sign * found[turn]["best_valid_score"])
    return {"trial": turn, "settings": found[turn]["drawn"], "score": found[turn]["best_valid_score"]}


def _csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "settings": json.dumps(row["settings"])} for row in rows)
    return text.getvalue()


def _yaml(comparison, rows, best):
    entries = [{"name": entry.name, "model": entry.model, "settings": {**entry.settings, **best[entry.name]["settings"]},
                **({"seeds": entry.seeds} if entry.seeds else {})} for entry in comparison.entries if entry.name in best]
    found = {**asdict(comparison), "entries": entries}
    kept = {key: found[key] for key in ("datasets", "seeds", "reference", "settings", "metrics", "topk", "output", "entries")}
    if comparison.reference not in best:
        del kept["reference"]
    said = f"The best on validation of each entry's trials. {_equality(comparison, rows).replace('**', '')}"
    return textwrap.fill(said, 140, initial_indent="# ", subsequent_indent="# ") + "\n" + yaml.safe_dump(kept, sort_keys=False)


def _markdown(comparison, rows, best, everyone, missing, changed, tuned):
    metric = next((record["valid_metric"] for record in everyone), "score")
    parts = [f"# {comparison.name}", _equality(comparison, rows), listed("Not in the tables", missing),
             listed("Made under other conditions than those of now", changed),
             f"## {comparison.datasets[0].name}", _summary(comparison, rows, best, metric),
             f"Validation alone: the test set was not looked at. The best settings are a comparison in {tuned}. Seconds include stages "
             "that a trial found done by another one (`or more`: a stage, or the beginning of one, was done elsewhere, at a cost not "
             "counted here).",
             "## All trials", table(["entry", "trial", "settings", f"valid {metric}", "s", "CPU s"],
                                    [[row["entry"], row["trial"], _said(row["settings"]), f"{row['score']:.4f}",
                                      _cost([row], "seconds"), _cost([row], "cpu_seconds")] for row in rows]),
             "## Searched", "\n".join(f"- {entry.name}: {entry.model}, `{entry.settings or 'defaults'}`, choices `{entry.search}`"
                                      for entry in comparison.entries), *made_with(everyone)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _equality(comparison, rows):
    counts = {entry.name: sum(row["entry"] == entry.name for row in rows) for entry in comparison.entries}
    drawn = (f"Each entry was given {comparison.trials} different settings, drawn at random (seed {comparison.search_seed}) by RecBole's "
             "HyperTuning")
    if set(counts.values()) == {comparison.trials}:
        return f"{drawn}, and all of them were tried: no entry was tuned more than another."
    finished = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{drawn}. **The entries are not tuned equally yet**: trials finished are {finished}."


def _summary(comparison, rows, best, metric):
    body = []
    for name, winner in best.items():
        own = [row for row in rows if row["entry"] == name]
        median = np.median([row["score"] for row in own])
        body.append([name, f"{len(own)} of {comparison.trials}", f"{winner['score']:.4f}", f"{median:.4f}",
                     _cost(own, "cpu_seconds"), _said(winner["settings"])])
    return table(["entry", "trials", f"best valid {metric}", "median", "CPU s of all", "best settings"], body)


def _cost(rows, name):
    return f"{sum(row[name] for row in rows):.0f}{' or more' * any(row['cost_of_a_stage_unknown'] for row in rows)}"


def _said(settings):
    return ", ".join(f"{name}: {value}" for name, value in settings.items())
