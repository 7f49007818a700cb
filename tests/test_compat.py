"""Each patch of compat.py: what RecBole does without it, where the installed versions break it, and with it."""

import importlib
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import dataset as dataset_module
from recbole.data.dataset import kg_dataset, sequential_dataset
from recbole.data.interaction import _convert_to_tensor
from recbole.evaluator.collector import Collector
from recbole.quick_start import quick_start
from recbole.utils import get_model, get_trainer
from recbole.utils import utils as recbole_utils
from scipy.sparse import dok_matrix

from recbole_prorec import compat

needs_pandas_3 = pytest.mark.skipif(int(pd.__version__.split(".")[0]) < 3, reason="pandas 2 needs no patch here")


def config_of(data, model="BPR", **changes):
    return Config(model=model, dataset=data.dataset, config_dict={**data.config, **changes})


def dataset_of(data, model="BPR", **changes):
    return create_dataset(config_of(data, model, **changes))


def with_item_fields(data):
    return {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "class", "price"]}}


def write_items(data, rows):
    lines = ["item_id:token\ttitle:token\tclass:token_seq\tprice:float", *rows]
    (data.folder / "tiny.item").write_text("\n".join(lines) + "\n", encoding="utf-8")


def trained(data, model="BPR", **changes):
    config = config_of(data, model, **changes)
    train, valid, test = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, get_model(model)(config, train._dataset))
    trainer.fit(train, valid, verbose=False)
    return trainer, test


# numpy

@pytest.mark.parametrize("name", ["float_", "complex_", "unicode_"])
def test_config_is_built_although_numpy_removed_its_types(monkeypatch, name):
    monkeypatch.delattr(np, name)
    with pytest.raises(AttributeError):
        Config.compatibility_settings(None)
    compat.name_numpy_types(None)
    Config.compatibility_settings(None)


def test_numbers_become_tensors_before_any_config_is_built(monkeypatch):
    monkeypatch.delattr(np, "float")
    with pytest.raises(AttributeError):
        _convert_to_tensor([1.5])
    compat.name_numpy_types(None)
    assert _convert_to_tensor([1.5]).tolist() == [1.5]


def test_what_numpy_has_is_left_alone(monkeypatch):
    monkeypatch.setattr(np, "float_", "numpy's own", raising=False)
    compat.name_numpy_types(None)
    assert np.float_ == "numpy's own"


# ray

def test_a_ray_that_cannot_be_imported_is_stood_in_for_while_quick_start_loads(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # what makes `import ray` fail
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    with pytest.raises(ImportError):
        from ray import tune
    compat.stand_in_for_ray()
    from ray import tune

    assert tune.report(recall=1.0) is None
    compat.withdraw_stand_in_for_ray(None)
    assert "ray" not in sys.modules and "ray.tune" not in sys.modules


def test_a_ray_that_works_is_used(monkeypatch):
    ray, tune = types.ModuleType("ray"), types.ModuleType("ray.tune")
    ray.tune = tune
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    compat.stand_in_for_ray()
    compat.withdraw_stand_in_for_ray(None)
    assert sys.modules["ray"] is ray and sys.modules["ray.tune"] is tune


def test_quick_start_has_a_report_and_no_stand_in_stays_behind():
    assert callable(quick_start.tune.report)
    assert not getattr(sys.modules.get("ray"), "is_stand_in", False)


# torch.load

@pytest.fixture
def pickled(tmp_path):
    """A file like RecBole's checkpoints: a pickle of protocol 4 with objects in it."""
    file = tmp_path / "checkpoint.pth"
    torch.save({"config": types.SimpleNamespace(seed=1)}, file, pickle_protocol=4)
    return str(file)


@pytest.mark.parametrize("name", compat.CHECKPOINT_READERS)
def test_recboles_own_reading_of_checkpoints_trusts_them_and_torch_does_not(pickled, name):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(pickled)
    assert importlib.import_module(name).torch.load(pickled)["config"].seed == 1
    with pytest.raises(pickle.UnpicklingError):
        torch.load(pickled)


def test_a_trainer_evaluates_and_resumes_from_its_checkpoint(tiny_dataset, monkeypatch):
    trainer, test = trained(tiny_dataset)
    file = trainer.saved_model_file
    best = trainer.evaluate(test, show_progress=False)
    assert trainer.evaluate(test, model_file=file, show_progress=False) == best
    trainer.resume_checkpoint(file)
    assert trainer.start_epoch == 1
    monkeypatch.setattr(importlib.import_module("recbole.trainer.trainer"), "torch", torch)
    with pytest.raises(pickle.UnpicklingError):
        trainer.evaluate(test, model_file=file, show_progress=False)
    with pytest.raises(pickle.UnpicklingError):
        trainer.resume_checkpoint(file)


def test_load_data_and_model_reads_its_checkpoint(tiny_dataset):
    trainer, _ = trained(tiny_dataset)
    with pytest.raises(pickle.UnpicklingError):
        quick_start.load_data_and_model.__wrapped__(trainer.saved_model_file)
    model = importlib.import_module("recbole.quick_start").load_data_and_model(trainer.saved_model_file)[1]
    assert torch.equal(model.user_embedding.weight, trainer.model.user_embedding.weight)


def test_load_data_and_model_trusts_no_other_file_and_leaves_torch_as_it_was(tiny_dataset, pickled, monkeypatch):
    trainer, _ = trained(tiny_dataset)
    before, errors = torch.load, []

    def build(config):
        with pytest.raises(pickle.UnpicklingError) as error:
            torch.load(pickled)
        errors.append(error)
        raise InterruptedError

    monkeypatch.setattr(quick_start, "create_dataset", build)
    with pytest.raises(InterruptedError):
        quick_start.load_data_and_model(trainer.saved_model_file)
    assert errors and torch.load is before


# pandas

ROWS = [f"i{i}\tname {i}\tred c{i % 3}\t{i}.0" for i in range(60)]


@needs_pandas_3
def test_sequence_fields_fail_without_the_patch(tiny_dataset, monkeypatch):
    write_items(tiny_dataset, ROWS)
    monkeypatch.delattr(dataset_module, "len")
    with pytest.raises(ValueError, match="Length of values"):
        dataset_of(tiny_dataset, **with_item_fields(tiny_dataset))


def test_sequence_fields_are_read_element_by_element(tiny_dataset):
    write_items(tiny_dataset, [*ROWS[:-1], "i59\tlast\tred c0 extra\t59.0"])
    data = dataset_of(tiny_dataset, **with_item_fields(tiny_dataset))
    words = data.field2id_token["class"]
    read = {key: [words[w] for w in row] for key, row in zip(data.field2id_token["item_id"][1:], data.item_feat["class"][1:])}
    assert read["i59"] == ["red", "c0", "extra"]
    assert read["i7"] == ["red", "c1"]


def write_benchmark(data):
    for part, rows in (("train", ["u0\ti0 i1\ti2", "u1\ti3\ti4"]), ("valid", ["u0\ti0 i1 i2\ti3"]), ("test", ["u1\ti3 i4\ti0"])):
        head = "user_id:token\titem_id_list:token_seq\titem_id:token"
        (data.folder / f"tiny.{part}.inter").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return {"benchmark_filename": ["train", "valid", "test"], "alias_of_item_id": ["item_id_list"], "train_neg_sample_args": None,
            "load_col": {"inter": ["user_id", "item_id", "item_id_list"]}}


def test_benchmark_files_know_their_histories_lengths(tiny_dataset):
    data = dataset_of(tiny_dataset, "SASRec", **write_benchmark(tiny_dataset))
    assert data.inter_feat["item_length"].tolist() == [2, 1, 3, 2]


@needs_pandas_3
def test_benchmark_files_lose_their_histories_lengths_without_the_patch(tiny_dataset, monkeypatch):
    monkeypatch.delattr(sequential_dataset, "len")
    data = dataset_of(tiny_dataset, "SASRec", **write_benchmark(tiny_dataset))
    assert data.inter_feat["item_length"].tolist() == [4, 4, 4, 4]  # no error: the number of rows


@needs_pandas_3
def test_the_entities_of_a_knowledge_graph_are_patched_alike():
    assert kg_dataset.len is compat.length_or_lengths
    assert compat.length_or_lengths(pd.Series([[1], [2, 3]])).tolist() == [1, 2]
    assert compat.length_or_lengths([[1], [2, 3]]) == 2


def item_features(data):
    dataset = dataset_of(data, **with_item_fields(data))
    return dataset.item_feat["title"], dataset.item_feat["price"]


def test_missing_values_are_padding_and_the_mean(tiny_dataset):
    write_items(tiny_dataset, [*ROWS[1:], "i0\tname 0\tred\t"])
    title, price = item_features(tiny_dataset)
    assert title[0] == 0 and (title[1:] > 0).all()
    assert not price.isna().any() and price[0] == price[1:].mean()


@needs_pandas_3
def test_missing_values_are_garbage_without_the_patch(tiny_dataset, monkeypatch):
    write_items(tiny_dataset, [*ROWS[1:], "i0\tname 0\tred\t"])
    monkeypatch.setattr(dataset_module.Dataset, "_fill_nan", dataset_module.Dataset._fill_nan.__wrapped__)
    title, price = item_features(tiny_dataset)
    assert pd.Series(title).isna().any() and pd.Series(price).isna().any()


def test_an_empty_cell_of_a_sequence_column_is_an_empty_sequence(tiny_dataset, monkeypatch):
    write_items(tiny_dataset, [*ROWS[1:], "i0\tname 0\t\t0.0"])
    data = dataset_of(tiny_dataset, **with_item_fields(tiny_dataset))
    assert len(data.item_feat["class"][list(data.field2id_token["item_id"]).index("i0")]) == 0
    if int(pd.__version__.split(".")[0]) >= 3:
        monkeypatch.setattr(dataset_module, "pd", pd)
        with pytest.raises(AttributeError, match="split"):
            dataset_of(tiny_dataset, **with_item_fields(tiny_dataset))


# torch.distributed

def test_a_single_process_waits_for_nobody_after_a_download():
    with pytest.raises(ValueError, match="has not been initialized"):
        torch.distributed.barrier()
    dataset_module.torch.distributed.barrier()


def test_several_processes_wait_for_each_other(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: calls.append("waited"))
    dataset_module.torch.distributed.barrier()
    assert calls == ["waited"]


# folders

def test_two_runs_make_the_same_folder(tmp_path, monkeypatch):
    """The other run makes it between RecBole's look and its own making."""
    folder = tmp_path / "log"

    def look(path):
        folder.mkdir()
        return False

    monkeypatch.setattr(recbole_utils.os, "path", compat.Overlay(os.path, exists=look))
    recbole_utils.ensure_dir(str(folder))
    assert folder.is_dir()


# scipy

def test_lightgcn_builds_its_graph(tiny_dataset, monkeypatch):
    config = config_of(tiny_dataset, "LightGCN")
    train = data_preparation(config, create_dataset(config))[0]
    graph = get_model("LightGCN")(config, train._dataset).norm_adj_matrix
    assert graph._nnz() == 2 * len(train._dataset)
    if "_update" in vars(dok_matrix):  # scipy's own is inherited
        monkeypatch.delattr(dok_matrix, "_update")
        with pytest.raises(AttributeError, match="_update"):
            get_model("LightGCN")(config, train._dataset)


# The collector of metrics

COUNTING_METRICS = ["ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage", "ShannonEntropy", "NDCG"]


def test_metrics_that_count_items_are_computed_at_every_evaluation(tiny_dataset, monkeypatch):
    trainer, test = trained(tiny_dataset, metrics=COUNTING_METRICS, stopping_step=5, epochs=2)
    result = trainer.evaluate(test, show_progress=False)
    assert {name.split("@")[0] for name in result} == {name.lower() for name in COUNTING_METRICS}
    assert 0 < result["itemcoverage@20"] <= 1
    monkeypatch.setattr(Collector, "get_data_struct", Collector.get_data_struct.__wrapped__)
    with pytest.raises(AttributeError, match="cpu"):
        trainer.evaluate(test, show_progress=False)


# Anomaly mode

@pytest.mark.parametrize("wanted", [False, True])
def test_loading_recboles_models_leaves_anomaly_mode_as_it_was(wanted):
    code = (f"import torch; torch.autograd.set_detect_anomaly({wanted}); import recbole_prorec, recbole.model.sequential_recommender; "
            f"assert torch.is_anomaly_enabled() is {wanted}")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# The overlay itself

def test_an_overlay_replaces_for_its_reader_alone():
    overlay = compat.Overlay(np, pi=3)
    assert overlay.pi == 3 and np.pi > 3.1
    assert overlay.arange is np.arange
    with pytest.raises(AttributeError):
        overlay.no_such_name  # noqa: B018
