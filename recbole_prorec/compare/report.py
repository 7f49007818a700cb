"""<name>.md to read, <name>.csv to compute with, <name>.json with everything, and a plot where matplotlib is installed."""

import csv
import io
import json
from dataclasses import asdict

from recbole_prorec.compare.machine import processors
from recbole_prorec.compare.plot import draw
from recbole_prorec.compare.results import write_text
from recbole_prorec.compare.significance import DRAWS
from recbole_prorec.compare.summary import COSTS, SURVIVALS, VIEWS, by_kind, load_runs, name_beside_costs, summarize, survivals
from recbole_prorec.report.domination import MOST_ITEMS

SIGNIFICANT = 0.05
HOW_TO_PLOT = ("No plot of quality against cost was drawn: that needs matplotlib (pip install \"recbole_prorec[compare]\"), and NDCG among "
               "the metrics.")

CORRECTED = ("Corrected: as if nothing told apart the items that one code stood for before collisions were resolved; each counts for its "
             "share. Blank for models without codes, and for runs that were kept without this view. All depths are in the .csv.")
UNSEEN = ("Unseen: the same scores, with the items left out that the model has just read in the user's history; seen: their share of the "
          "lists. RecBole leaves them out for general models, not for sequential ones. Blank for runs that were kept without this view.")
NOTES = {"corrected": CORRECTED, "unseen": UNSEEN}


def write_report(comparison, failed, changed):
    """The files of the tables, made from all finished runs. failed, changed: {name of the run: reason, what differs}."""
    runs = load_runs(comparison)
    rows, tests = summarize(comparison, runs)
    path = {suffix: comparison.folder.with_name(f"{comparison.name}.{suffix}") for suffix in ("md", "csv", "json", "png")}
    drawn = draw(rows, f"ndcg@{comparison.depth}", path["png"])
    missing = {run.name: failed.get(run.name, "not finished") for run in comparison.runs()
               if run.seed not in runs.get((run.dataset, run.entry), {})}
    write_text(path["md"], markdown(comparison, runs, rows, tests, missing, changed, path["png"].name if drawn else None))
    write_text(path["csv"], table_csv(rows))
    records = [record for seeds in runs.values() for record, _ in seeds.values()]
    everything = {"comparison": asdict(comparison), "rows": rows, "tests": tests, "missing": missing, "changed": changed, "runs": records}
    write_text(path["json"], json.dumps(everything, indent=1, default=str))
    return [path["md"], path["csv"], path["json"], *([path["png"]] if drawn else [])]


def table_csv(rows):
    names = _names(rows) if rows else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "entry", "model", "n_seeds", *(f"{name} {part}" for name in names for part in ("mean", "std"))])
    for row in rows:
        values = [row["values"].get(name, {}).get(part) for name in names for part in ("mean", "std")]
        writer.writerow([row["dataset"], row["entry"], row["model"], len(row["seeds"]), *values])
    return text.getvalue()


def markdown(comparison, runs, rows, tests, missing, changed, plot):
    parts = [f"# {comparison.name}", listed("Not in the tables", missing)]
    parts.append(listed("Made under other conditions than those of now", changed))
    for data in comparison.datasets:
        of_data = [row for row in rows if row["dataset"] == data.name]
        if of_data:
            parts += [f"## {data.name}", _task(data.name, runs), _metrics(of_data, comparison.depth), _costs(of_data)]
            parts.append(_significance(comparison, [test for test in tests if test["dataset"] == data.name]))
            parts += [_kinds(kind, comparison.depth, *found) for kind, found in by_kind(comparison, runs, data.name).items()]
            parts.append(_survivals(survivals(runs, data.name, comparison.depth), comparison.depth))
    parts += [f"![quality against cost]({plot})" if plot else HOW_TO_PLOT, *_settings(comparison),
              *made_with([record for seeds in runs.values() for record, _ in seeds.values()])]
    return "\n\n".join(part for part in parts if part) + "\n"


def listed(title, reasons):
    return f"**{title}:**\n\n" + "\n".join(f"- {name}: {reason}" for name, reason in reasons.items()) if reasons else ""


def _task(dataset, runs):
    record = next(record for (name, _), seeds in runs.items() if name == dataset for record, _ in seeds.values())
    return (f"{record['n_users']} test users, ranked among {record['n_items'] - 1} items. Mean and, from two seeds on, standard deviation. "
            "`valid` chose the best epoch; the rest is of the test. Coverage: share of the items that anybody is recommended. Popularity: "
            "mean training interactions of a recommended item.")


def _metrics(rows, depth):
    names = [name for name in _names(rows) if name not in COSTS and (not name.startswith(VIEWS) or name.endswith(f"@{depth}"))]
    body = [[row["entry"], len(row["seeds"]), *(_cell(row["values"].get(name), name, len(row["seeds"])) for name in names)] for row in rows]
    notes = [NOTES[view] for view in VIEWS if any(name.startswith(view) for name in names)]
    return "\n\n".join([table(["entry", "seeds", *names], body), *notes])


def _names(rows):
    """Of all values that some row has, in the order of the row that has most."""
    longest = max(rows, key=lambda row: len(row["values"]))
    return list(dict.fromkeys(name for row in [longest, *rows] for name in row["values"]))


def _costs(rows):
    body = []
    for row in rows:
        values = {name: row["values"][name] for name in COSTS}
        more = " or more" if row["cost_of_a_stage_unknown"] else ""
        body.append([name_beside_costs(row), f"{values['training_seconds']['mean']:.0f}{more}",
                     f"{values['training_cpu_seconds']['mean']:.0f}{more}", f"{values['milliseconds_per_user']['mean']:.2f}",
                     f"{values['n_parameters']['mean']:,.0f}", f"{values['peak_memory_mib']['mean']:,.0f}"])
    costs = table(["entry", "training, s", "training, CPU s", "test, ms per user", "parameters", "peak memory, MiB"], body)
    note = ("Training includes validation, and stages that the run found done by another one (`or more`: done outside of this comparison, "
            "at a cost not counted here). Seconds depend on what else the machine does, CPU seconds less. Peak memory: of the whole "
            "process; where it found stages done, without what their training took.")
    machines = sorted({machine for row in rows for machine in row["processors"]})
    mixed = f" **These runs are of different machines ({', '.join(machines)}): their seconds do not compare.**" if len(machines) > 1 else ""
    resumed = [f"{row['entry']} ({', '.join(map(str, row['resumed']))})" for row in rows if row["resumed"]]
    partly = f" Killed and resumed, without the seconds of the epochs that this lost: {', '.join(resumed)}." if resumed else ""
    return f"{costs}\n\n{note}{partly}{mixed}"


def _significance(comparison, tests):
    if not tests:
        return ""
    body = [[test["entry"], test["metric"], *_tested(test)] for test in tests]
    tested = table(["entry", "metric", f"difference to {comparison.reference}", "95 % interval", "p", "p, Holm", ""], body)
    note = (f"Per user, averaged over the seeds: what varies is the users, not the seeds. Interval: bootstrap over users, {DRAWS} draws. "
            f"p: two-sided paired sign-flip test of the mean, {DRAWS} draws, so at least {1 / (1 + DRAWS):.4f}; corrected by Holm over all "
            "tests of this comparison. An item tied with others counts with its mean over their orders.")
    return f"Against {comparison.reference}:\n\n{tested}\n\n{note}"


def _kinds(kind, depth, groups, ndcg):
    title = {"popularity": "training interactions of the test item", "history": "training interactions of the user"}[kind]
    header = ["entry", *(f"{first}{f' to {last}' if last > first else ''} ({users} users)" for first, last, users in groups)]
    return (f"NDCG@{depth} by {title}, mean over the seeds:\n\n"
            + table(header, [[entry, *(f"{value:.4f}" for value in values)] for entry, values in ndcg.items()]))


def _survivals(rows, depth):
    if not rows:
        return ""
    header = ["entry", "seeds", *(f"{modality} in {space}" for space, modality in SURVIVALS), f"NDCG@{depth}"]
    body = [[row["entry"], row["n"], *(f"{row[key]:.3f}" for key in SURVIVALS), f"{row['ndcg']:.4f}"] for row in rows]
    note = (f"Share of an item's {rows[0]['k']} nearest neighbours by cosine that are among its nearest in the other space too: mean "
            f"over items (of a large catalogue {MOST_ITEMS} drawn at random) and over seeds; by chance {rows[0]['chance']:.3f}. E_C: "
            "collaborative embeddings of stage 1; E_S: the text encoder's embeddings; naive: the two side by side; integrated: what was "
            "quantized; codes: the more leading codes two items share, the nearer they are.")
    return f"Semantic domination, what survives of each modality:\n\n{table(header, body)}\n\n{note}"


def _tested(test):
    if "refused" in test:
        return [test["refused"], "", "", "", ""]
    verdict = "not significant" if test["p_holm"] >= SIGNIFICANT else "better" if test["difference"] > 0 else "worse"
    interval = f"{test['low']:+.4f} to {test['high']:+.4f}"
    return [f"{test['difference']:+.4f}", interval, f"{test['p']:.4f}", f"{test['p_holm']:.4f}", verdict]


def _cell(value, name, n_seeds):
    if value is None:
        return ""
    digits = 1 if name.startswith("popularity") else 4
    spread = f" ± {value['std']:.{digits}f}" if value["std"] is not None else ""
    return f"{value['mean']:.{digits}f}{spread}" + (f" ({value['n']} of {n_seeds} seeds)" if value["n"] < n_seeds else "")


def table(header, body):
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _settings(comparison):
    shared = [f"- all entries: `{comparison.settings or 'defaults'}`"]
    entries = [f"- {entry.name}: {entry.model}, `{entry.settings or 'defaults'}`" for entry in comparison.entries]
    return ["## Settings", "\n".join(shared + entries), f"The full settings of each run are in {comparison.name}.json."]


def made_with(records):
    """What the numbers were made with; each thing once, all of them where runs differ."""
    described = {
        "command": [record["command"] for record in records], "commit": [record["commit"] for record in records],
        "machine": [f"{processors(record['machine'])}, {record['machine']['cores']} cores, {record['machine']['system']}, "
                    f"{record['threads']} thread(s) a run" for record in records],
        "versions": [", ".join(f"{name} {version}" for name, version in record["versions"].items()) for record in records]}
    return ["## Made with", "\n".join(f"- {name}: " + "; ".join(f"`{said}`" for said in dict.fromkeys(values))
                                      for name, values in described.items())]
