"""Quality against cost. matplotlib is an extra: without it there are tables only."""

import importlib.util

from recbole_prorec.compare.summary import name_beside_costs

LABEL_HEIGHT = 0.18  # inches


def draw(rows, metric, path):
    """A panel per data set, a point per entry; whether it was drawn."""
    if importlib.util.find_spec("matplotlib") is None or not all(metric in row["values"] for row in rows) or not rows:
        return False
    make_figure(rows, metric).savefig(path, dpi=120)
    return True


def make_figure(rows, metric):
    from matplotlib.figure import Figure

    panels = {}
    for row in rows:
        panels.setdefault(row["dataset"], []).append(row)
    height = max(4.5, 1.2 + LABEL_HEIGHT * max(map(len, panels.values())))
    figure = Figure(figsize=(8 * len(panels), height), layout="constrained")
    for axes, (dataset, of_data) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        _panel(axes, of_data, metric, LABEL_HEIGHT / (height - 1.1))
        axes.set_title(dataset)
    return figure


def _panel(axes, rows, metric, gap):
    rows = sorted(rows, key=lambda row: row["values"][metric]["mean"])
    costs = [max(row["values"]["training_cpu_seconds"]["mean"], 0.1) for row in rows]
    for number, (cost, row) in enumerate(zip(costs, rows)):
        quality = row["values"][metric]
        axes.errorbar(cost, quality["mean"], yerr=quality["std"] or 0, fmt="o", capsize=3, color=f"C{number}")
    axes.set(xscale="log", xlim=(min(costs) / 2, max(costs) * 2), xlabel="training, CPU seconds", ylabel=f"test {metric}")
    axes.grid(alpha=0.3)
    _label(axes, rows, costs, [row["values"][metric]["mean"] for row in rows], gap)


def _label(axes, rows, costs, qualities, gap):
    """Names in a column beside the panel, in the order of quality, each with a line to its point."""
    low, high = axes.get_ylim()
    heights = spread([(quality - low) / (high - low) for quality in qualities], gap)
    for number, (row, cost, quality, height) in enumerate(zip(rows, costs, qualities, heights)):
        axes.annotate(name_beside_costs(row), (cost, quality), xytext=(1.03, height), textcoords="axes fraction", fontsize=8, va="center",
                      annotation_clip=False, arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "linewidth": 0.5, "color": f"C{number}"})


def spread(heights, gap):
    """Ascending heights in [0, 1], moved as far as it takes for them to lie `gap` apart, or evenly where that is more than there is."""
    last = len(heights) - 1
    gap = min(gap, 1 / max(last, 1))
    moved = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    for index in range(last, -1, -1):
        moved[index] = min(moved[index], moved[index + 1] - gap if index < last else 1.0)
    return moved
