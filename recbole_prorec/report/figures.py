"""The pictures of a report, as figures of matplotlib's. Narrow ones: a phone shows them at its own width."""

import numpy as np
from matplotlib.figure import Figure

from recbole_prorec.report.codes import prefix_sizes

LOSSES = {"alignment": ("next item", "alignment"), "generation": ("generation", "distillation")}
SPACES = {"E_S": "text, raw", "E_T": "text, adapted", "E_C": "collaborative", "naive": "naive concatenation", "integrated": "integrated",
          "codes": "codes"}
N_COLOURS = 20  # of matplotlib's tab20
MOST_POINTS = 5000


def curves(stage, points, metric):
    """A panel for each training loss, and one for the validation score."""
    losses = list(zip(*(point["losses"] for point in points)))
    figure = _figure(1.3 * (len(losses) + 1) + 0.6)
    *upper, lower = figure.subplots(len(losses) + 1, sharex=True)
    for panel, name, values in zip(upper, LOSSES[stage], losses):
        panel.plot([point["epoch"] + 1 for point in points], values, marker=".")
        panel.set_ylabel(name, fontsize=9)
    scored = [(point["epoch"] + 1, point["valid_score"]) for point in points if point["valid_score"] is not None]
    if scored:
        lower.plot(*zip(*scored), marker=".", color="black")
    lower.set_ylabel(metric, fontsize=9)
    lower.set_xlabel("epoch")
    lower.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(stage)
    figure.align_ylabels()
    _grid(*upper, lower)
    return figure


def prefixes(codes):
    """Items below a prefix, largest prefix first, a line for each length."""
    figure = _figure(3.4)
    axes = figure.subplots()
    for length in range(1, codes.shape[1] + 1):
        sizes = prefix_sizes(codes[1:], length)
        axes.plot(np.arange(1, len(sizes) + 1), sizes, label=f"{length} code{'s' if length > 1 else ''}")
    axes.set(xscale="log", yscale="log", xlabel="prefix, the largest first", ylabel="items below it")
    axes.legend(fontsize=8, title="prefix of", title_fontsize=8)
    _grid(axes)
    return figure


def maps(name, space, first_codes):
    """The two principal components of a space [n, D] and their shares of its variance; a point an item, coloured by its first code."""
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0)
    points = pca.fit_transform(space)
    shown = np.random.default_rng(0).permutation(len(points))[:MOST_POINTS]
    common, counts = np.unique(first_codes, return_counts=True)
    rank = {code: place for place, code in enumerate(common[np.argsort(-counts, kind="stable")])}
    colours = np.array([rank[code] for code in first_codes[shown]])
    figure = _figure(4.6)
    axes = figure.subplots()
    few = colours >= N_COLOURS
    axes.scatter(*points[shown][few].T, s=5, color="0.8", linewidths=0)
    axes.scatter(*points[shown][~few].T, s=8, c=colours[~few], cmap="tab20", vmin=-0.5, vmax=N_COLOURS - 0.5, linewidths=0)
    axes.set(title=SPACES[name], xticks=[], yticks=[], xlabel=f"{pca.explained_variance_ratio_[0]:.0%} of the variance",
             ylabel=f"{pca.explained_variance_ratio_[1]:.0%}")
    return figure, pca.explained_variance_ratio_.tolist()


def bars_by_group(rows, what, depth):
    """Recall and NDCG of the groups, two standard errors either way."""
    figure = _figure(3.4)
    axes = figure.subplots()
    for shift, name, label in ((-0.2, "recall", f"Recall@{depth}"), (0.2, "ndcg", f"NDCG@{depth}")):
        axes.bar(np.arange(len(rows)) + shift, [row[name] for row in rows], 0.38, label=label,
                 yerr=[2 * (row[f"{name}_error"] or 0) for row in rows], capsize=3, error_kw={"elinewidth": 0.8})
    axes.set(xlabel=what, xticks=range(len(rows)), xticklabels=[span(row) for row in rows])
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    _grid(axes)
    return figure


def beam(rows):
    """The share of targets that are in the beam behind every level."""
    figure = _figure(3)
    axes = figure.subplots()
    axes.plot(range(len(rows) + 1), [1.0, *(row["in_beam"] for row in rows)], marker="o")
    axes.set(xlabel="codes generated", ylabel="targets in the beam", ylim=(0, 1.05), xticks=range(len(rows) + 1))
    _grid(axes)
    return figure


def domination(table, measure, title):
    """Bars of what survives of each modality in each representation."""
    figure = _figure(3.6)
    axes = figure.subplots()
    names = [name for name in next(iter(table.values())) if name in ("naive", "integrated", "codes")]
    width = 0.8 / len(table)
    for number, (modality, row) in enumerate(table.items()):
        at = np.arange(len(names)) + (number - (len(table) - 1) / 2) * width
        axes.bar(at, [row[name][measure] for name in names], width * 0.95, label=SPACES[modality])
    axes.set(title=title, xticks=range(len(names)), xticklabels=[SPACES[name] for name in names], ylim=(0, 1))
    axes.legend(fontsize=8)
    _grid(axes)
    return figure


def span(row):
    return f"{row['from']}" if row["from"] == row["to"] else f"{row['from']}–{row['to']}"


def _figure(height):
    return Figure(figsize=(5.2, height), layout="constrained")


def _grid(*panels):
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
