"""The plot of a comparison: every entry is there, and its name can be read."""

import itertools

import numpy as np
import pytest

from recbole_prorec.compare.plot import draw, make_figure, spread

ENTRIES = ["SASRec", "PRORec generative", "PRORec fused", "TIGER causal", "PRORec stage 1", "Pop", "BPR", "LightGCN", "NGCF", "GRU4Rec",
           "BERT4Rec", "codes from text alone", "codes from collaborative embeddings alone", "without alignment", "without distillation"]


def rows(datasets=("one",), n_entries=15):
    """Half of the entries at nearly the same place, as good models are."""
    rng = np.random.default_rng(0)
    return [{"dataset": dataset, "entry": name, "seeds": [1, 2], "on_gpu": [], "values": {
        "ndcg@10": {"mean": 0.06 + 0.001 * rng.random() if number % 2 else 0.06 * rng.random(), "std": 0.002 if number % 3 else None},
        "training_cpu_seconds": {"mean": 10 ** rng.uniform(-1, 3), "std": None}}} for dataset in datasets
        for number, name in enumerate(ENTRIES[:n_entries])]


@pytest.mark.parametrize("on_gpu, name", [([], "Pop"), ([2], "Pop (partly on a GPU)"), ([1, 2], "Pop (on a GPU)")])
def test_cpu_seconds_of_a_gpu_are_told_from_a_cpus(on_gpu, name):
    pytest.importorskip("matplotlib")
    row = {**rows()[5], "on_gpu": on_gpu}
    assert [text.get_text() for text in make_figure([row], "ndcg@10").axes[0].texts] == [name]


@pytest.mark.parametrize("heights, gap, expected", [
    ([0.1, 0.5, 0.9], 0.2, [0.1, 0.5, 0.9]),
    ([0.5, 0.5, 0.5], 0.2, [0.5, 0.7, 0.9]),
    ([0.9, 0.9, 0.9], 0.2, [0.6, 0.8, 1.0]),
    ([0.4, 0.4, 0.4], 9.0, [0.0, 0.5, 1.0]),
    ([0.3], 0.2, [0.3]),
])
def test_labels_are_spread_no_further_than_they_must(heights, gap, expected):
    assert spread(heights, gap) == pytest.approx(expected)


@pytest.mark.parametrize("datasets, n_entries", [(("one",), 15), (("one", "two"), 15), (("one",), 1)])
def test_all_names_are_in_the_picture_and_none_hides_another(datasets, n_entries):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text  # whose extent is without the line to the point

    figure = make_figure(rows(datasets, n_entries), "ndcg@10")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for axes in figure.axes for text in axes.texts]
    names = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sorted(names) == sorted(ENTRIES[:n_entries] * len(datasets))
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    width, height = canvas.get_width_height()
    assert all(0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height for box in boxes)


def test_a_plot_is_drawn_unless_the_metric_is_missing(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    assert draw(rows(), "ndcg@10", tmp_path / "a.png") and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    pixels = imread(tmp_path / "a.png")[..., :3]
    inked = (pixels < 0.9).any(axis=2)
    n_columns = inked.shape[1]
    assert inked[:, : n_columns // 2].any() and inked[:, -n_columns // 5:].any()  # the panel, and the names beside it
    assert len(np.unique(pixels[inked].round(1), axis=0)) > 5  # the points' colours
    assert not draw(rows(), "mrr@10", tmp_path / "b.png") and not (tmp_path / "b.png").exists()
    assert not draw([], "ndcg@10", tmp_path / "b.png")
