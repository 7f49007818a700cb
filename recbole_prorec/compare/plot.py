"""Quality against cost. matplotlib is an extra: without it there are tables only."""

import importlib.util


def draw(rows, metric, path):
    """A panel per data set, a point per entry; whether it was drawn."""
    if importlib.util.find_spec("matplotlib") is None or not all(metric in row["values"] for row in rows) or not rows:
        return False
    from matplotlib.figure import Figure

    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    figure = Figure(figsize=(6 * len(datasets), 4.5), layout="constrained")
    for axes, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets):
        _panel(axes, [row for row in rows if row["dataset"] == dataset], metric)
        axes.set_title(dataset)
    figure.savefig(path, dpi=120)
    return True


def _panel(axes, rows, metric):
    costs = [max(row["values"]["training_cpu_seconds"]["mean"], 0.1) for row in rows]
    for cost, row in zip(costs, rows):
        quality = row["values"][metric]
        axes.errorbar(cost, quality["mean"], yerr=quality["std"] or 0, fmt="o", capsize=3)
        axes.annotate(row["entry"], (cost, quality["mean"]), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlim=(min(costs) / 3, max(costs) * 5), xlabel="training, CPU seconds", ylabel=f"test {metric}")
