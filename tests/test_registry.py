"""RecBole finds our models, trainers and settings by its own look-ups."""

import importlib
import subprocess
import sys

import pytest
from recbole.config import Config
from recbole.utils import get_model, get_trainer

from recbole_prorec import registry
from recbole_prorec.errors import InputError

ALIAS = registry.MODULE + "fakerec"


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A model and its trainer, in a module of their own, registered as any other."""
    (tmp_path / "fakes.py").write_text(
        "from recbole.model.sequential_recommender import SASRec\n"
        "from recbole.trainer import Trainer\n"
        "class FakeRec(SASRec): pass\n"
        "class FakeTrainer(Trainer): pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))
    monkeypatch.setattr(registry, "TRAINERS", dict(registry.TRAINERS))
    monkeypatch.setattr("sys.argv", ["pytest"])
    registry.register("FakeRec", "fakes.FakeRec", "fakes.FakeTrainer")
    yield importlib.import_module("fakes")
    for name in ("fakes", ALIAS):
        sys.modules.pop(name, None)


def test_recbole_finds_a_registered_model_and_its_class_stays_in_its_own_module(fake):
    assert get_model("FakeRec") is fake.FakeRec
    assert fake.FakeRec.__module__ == "fakes"


def test_recbole_finds_a_registered_trainer(fake):
    model_type = fake.FakeRec.type
    assert get_trainer(model_type, "FakeRec") is fake.FakeTrainer


def test_a_model_without_a_trainer_of_its_own_gets_recboles(fake):
    registry.register("FakeRec", "fakes.FakeRec")
    registry.TRAINERS.clear()
    assert get_trainer(fake.FakeRec.type, "FakeRec").__name__ == "Trainer"


def test_stock_models_and_trainers_are_found_as_before():
    assert get_model("BPR").__module__ == "recbole.model.general_recommender.bpr"
    assert get_trainer(get_model("S3Rec").type, "S3Rec").__name__ == "S3RecTrainer"


def test_importing_the_package_loads_neither_torch_nor_recbole():
    code = "import sys, recbole_prorec; sys.exit(bool({'torch', 'numpy', 'recbole'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prorec_is_registered_with_its_trainer():
    assert registry.MODELS["PRORec"] == "recbole_prorec.model.prorec.PRORec"
    assert registry.TRAINERS["PRORecTrainer"] == "recbole_prorec.trainer.prorec.PRORecTrainer"


def settings(model, config_dict=None):
    return Config(model=model, dataset="ml-100k", config_dict=config_dict).final_config_dict


@pytest.fixture
def sasrec_defaults(fake, monkeypatch, tmp_path):
    """properties/ with settings of FakeRec: those that SASRec cannot be built without, and a topk that contradicts the protocol."""
    for kind in ("model", "dataset"):
        (tmp_path / "properties" / kind).mkdir(parents=True)
    (tmp_path / "properties/model/FakeRec.yaml").write_text("loss_type: CE\nn_layers: 3\ntopk: [7]\n", encoding="utf-8")
    protocol = registry.properties_file("dataset", "ml-100k").read_text(encoding="utf-8")
    (tmp_path / "properties/dataset/ml-100k.yaml").write_text(protocol, encoding="utf-8")
    monkeypatch.setattr(registry, "properties_folder", lambda: tmp_path / "properties")


def test_our_yaml_files_are_read_the_data_sets_after_the_models(sasrec_defaults):
    found = settings("FakeRec")
    assert (found["n_layers"], found["MAX_ITEM_LIST_LENGTH"]) == (3, 20)
    assert found["topk"] == [5, 10, 20]


def test_the_users_settings_go_before_our_yaml_files(sasrec_defaults):
    found = settings("FakeRec", {"n_layers": 1, "topk": [3], "valid_metric": "NDCG@3"})
    assert (found["n_layers"], found["topk"]) == (1, [3])


def test_a_stock_model_keeps_recboles_settings_unless_the_command_asks_for_the_protocol(monkeypatch):
    stock = settings("BPR")
    assert (stock["topk"], stock["MAX_ITEM_LIST_LENGTH"], stock["repeatable"]) == ([10], 50, False)
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr(registry.Protocol, "for_all_models", True)
    assert settings("BPR")["topk"] == [5, 10, 20]


def test_the_protocol_leaves_negative_samples_to_the_models_that_need_them(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr(registry.Protocol, "for_all_models", True)
    assert settings("SASRec")["train_neg_sample_args"]["sample_num"] == "none"
    assert settings("SASRec", {"loss_type": "BPR"})["train_neg_sample_args"]["sample_num"] == 1
    assert settings("BPR")["train_neg_sample_args"]["sample_num"] == 1


def test_a_model_is_known_by_its_exact_name():
    for name in ("PRORec", "SASRec", "XGBoost"):
        registry.check_model(name)
    with pytest.raises(InputError, match="'sasrec'.*Did you mean SASRec"):
        registry.check_model("sasrec")
    with pytest.raises(InputError, match="There are: .*BPR.*PRORec"):
        registry.check_model("???")


def test_a_missing_data_set_is_one_clear_error(tiny_dataset):
    from recbole.data import create_dataset

    with pytest.raises(InputError, match="'nowhere'.*nowhere does not exist.*Expected nowhere.inter.*data_path"):
        create_dataset(Config(model="BPR", dataset="nowhere", config_dict=tiny_dataset.config))
    (tiny_dataset.folder / "tiny.inter").unlink()
    with pytest.raises(InputError, match="no file .*tiny.inter"):
        create_dataset(Config(model="BPR", dataset="tiny", config_dict=tiny_dataset.config))


@pytest.mark.parametrize("content, said", [
    ("", "line 1: expected fields as name:type.*among them user_id, item_id, timestamp.*found ''"),
    ("user_id\titem_id\ttimestamp\nu\ti\t1\n", "line 1: expected fields as name:type"),
    ("user_id:token,item_id:token,timestamp:float\nu,i,1\n", "line 1: .*field_separator"),
    ("\ufeffuser_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\n", r"line 1: .*found '\\ufeffuser_id"),
    ("user_id:token\titem_id:token\nu\ti\n", "line 1: .*TIME_FIELD"),
    ("user_id:token\titem_id:token\ttimestamp:float\n", "has no interactions"),
    ("user_id:token\titem_id:token\ttimestamp:float\nu\t\udce9\t1\n", "cannot be read as text"),
    ("user_id:token\titem_id:token\ttimestamp:float\n" + "u\ti\t1\n" * 100_000 + "u\t\udce9\t1\n", "cannot be read as text"),
])
def test_interactions_that_cannot_be_read_are_one_clear_error(tiny_dataset, content, said):
    from recbole.data import create_dataset

    (tiny_dataset.folder / "tiny.inter").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=f"tiny.inter.*{said}"):
        create_dataset(Config(model="PRORec", dataset="tiny", config_dict=tiny_dataset.config))


def test_a_time_that_is_not_loaded_is_told_of_and_loaded_as_told(tiny_dataset, monkeypatch):
    from recbole.data import create_dataset

    given = {**tiny_dataset.config, "load_col": {"inter": ["user_id", "item_id"]}}
    with pytest.raises(InputError, match="'timestamp' is not loaded.*--load_col=") as refusal:
        create_dataset(Config(model="PRORec", dataset="tiny", config_dict=given)).build()
    flag = str(refusal.value).partition("load it: ")[2].replace('"', "")
    monkeypatch.setattr("sys.argv", ["run_recbole", flag])
    given.pop("load_col")
    assert create_dataset(Config(model="PRORec", dataset="tiny", config_dict=given)).build()


def test_a_failing_download_names_the_data_set(tiny_dataset, monkeypatch):
    from recbole.data import create_dataset
    from recbole.data.dataset import dataset as module

    def no_network(url):
        raise OSError("no network")

    monkeypatch.setattr(module, "decide_download", no_network)
    with pytest.raises(InputError, match="'ml-1m'.*no network"):
        create_dataset(Config(model="BPR", dataset="ml-1m", config_dict=tiny_dataset.config))
