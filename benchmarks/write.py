"""Makes results/performance.md of the parts in results/performance/: python benchmarks/write.py"""

import json

from common import RESULTS

ORDER = ("training", "beam_search", "exactness", "trie", "tokenizer", "text", "quality", "pipeline", "serving")
HEAD = """# Performance

Made by `python benchmarks/all.py`, or script by script; this file by `python benchmarks/write.py`. Rates are per CPU second on one thread:
the median of the rounds, in each of which every variant ran once, with the lowest and the highest. MFLOP are operations of matrix products,
by torch's formulas, per sample; MB are the bytes of all tensors that operators read and wrote, views apart, per sample: what would move if
nothing stayed in a cache. "% of peak" is MFLOP x rate over the machine's fastest float32 product of 1024 x 1024 matrices, measured in the
same rounds. "extra MiB" is the peak resident memory of one call above what the process held before it. The whole
pipeline was measured with 256 codes a level, where the default is as many as the catalogue fills, and before items of the history were left
out, as was the quality. All but training and beam search is of before `history_sum`; each part names its commit and its machine.
"""


def table(rows):
    """Rows, dicts of one cell or none for a column, as Markdown."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns), *([cell(row.get(column)) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


def goals(parts):
    """All parts' goals in one table, and a line for each that is not met: its floor and the distance from it."""
    found = [goal for part in parts for goal in part["goals"]]
    rows = [{name: goal[name] for name in ("goal", "wanted", "reached", "met")} for goal in found]
    floors = [floor(goal) for goal in found if not goal["met"] and goal.get("at the measured peak")]
    return "\n".join(["## Goals", "", table(rows), "", *floors]) + "\n" if rows else ""


def floor(goal):
    possible = goal["at the measured peak"]
    rate = f"{goal['MFLOP']:,.1f} MFLOP of matrix products at the measured {goal['GFLOP/s']:,.0f} GFLOP/s"
    verdict = "; no float32 computation of this network can reach the goal here" if possible < goal["wanted"] else ""
    reached = f"Reached is {100 * goal['reached'] / possible:.0f} % of that."
    return f"- {goal['goal']}: not met. Its {rate} allow {cell(possible)}{verdict}. {reached}"


def section(part):
    made, versions = part["conditions"], part["conditions"]["versions"]
    lines = [f"## {part['title']}", "", f"`{made['command']}`", "", part["about"].split("\n\n", 1)[0].replace("\n", " ")]
    lines += ["", *(text.replace("\n", " ") for text in part["about"].split("\n\n")[1:] if not text.startswith("  python"))]
    for shape in part["tables"]:
        lines += ["", f"**{shape['title']}**", "", table(shape["rows"])]
    if part.get("peak"):
        peak = part["peak"]
        lines += ["", f"The machine meanwhile: {peak['GFLOP/s']:,.0f} GFLOP/s in float32 products, {peak['GB/s']:.1f} GB/s in copies."]
    where = f"{made['machine']['cpu']}, {made['machine']['cores']} cores, {made['threads']} thread, {made['machine']['system']}"
    lines += ["", f"Commit {made['commit']}; {where}; " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."]
    return "\n".join(lines) + "\n"


def main():
    files = sorted(RESULTS.glob("*.json"), key=lambda file: (ORDER.index(file.stem) if file.stem in ORDER else len(ORDER), file.stem))
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    text = "\n".join(filter(None, [HEAD, goals(parts), *map(section, parts)]))
    RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
