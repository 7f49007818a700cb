"""The command run_recbole: flags, the protocol, one-line errors, and functions for other processes."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from recbole.quick_start import quick_start as stock

from recbole_prorec import quick_start, registry
from recbole_prorec.errors import InputError
from recbole_prorec.nn import memory


@pytest.fixture
def command(monkeypatch):
    """Runs main() with the given words; what it changes is undone."""
    monkeypatch.setattr(registry.Protocol, "for_all_models", False)
    monkeypatch.setattr(stock, "run_recboles", stock.run_recboles)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["run_recbole", *words])
        return quick_start.main()

    return run


@pytest.fixture
def calls(monkeypatch):
    """What RecBole's quick start is called with, in place of a run."""
    made = []
    monkeypatch.setattr(stock, "run", lambda *args, **kwargs: made.append((args, kwargs, sys.argv[1:])))
    return made


def test_the_flags_are_recboles(command, calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text("epochs: 2", encoding="utf-8")
    words = ["-m", "SASRec", "-d", "ml-1m", "--config_files", "a.yaml b.yaml", "--nproc=1", "--ip=host", "--port=99", "--world_size=4",
             "--group_offset=2", "--epochs=3"]
    assert command(*words) == 0
    (args, kwargs, argv), = calls
    assert args == ("SASRec", "ml-1m")
    assert kwargs == {"config_file_list": ["a.yaml", "b.yaml"], "nproc": 1, "world_size": 4, "ip": "host", "port": "99", "group_offset": 2}
    assert argv == ["--model=SASRec", "--dataset=ml-1m", "--epochs=3"]


def test_the_command_puts_stock_models_under_the_protocol_and_says_so(command, calls, capsys):
    assert command("--model=BPR", "--dataset=ml-100k") == 0
    assert registry.Protocol.for_all_models
    assert stock.run_recboles is quick_start.run_recboles_by_protocol
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "standard protocol" in out and "ml-100k.yaml" in out


def test_the_command_keeps_pages_for_stock_models_too(command, calls, monkeypatch):
    kept = []
    monkeypatch.setattr(memory, "keep_pages", kept.append)
    assert command("--model=SASRec") == 0
    assert kept == ["cpu"] and calls


def test_a_data_set_without_a_protocol_is_not_announced_as_having_one(command, calls, capsys):
    command("--model=BPR", "--dataset=mine")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words, said", [
    (["--model=NoSuch"], "no model is called 'NoSuch'"),
    (["--epochs", "3"], "--key=value, got '--epochs'"),
    (["--text_template=a=b"], "goes into a yaml file"),
    (["--nproc=99"], "nproc is 99"),
    (["--model=BPR", "--dataset=nowhere"], "data set 'nowhere'"),
    (["--model=BPR", "--learning_rat=0.1"], "'learning_rat' is no setting of BPR, nor of RecBole's own. Did you mean learning_rate?"),
    (["--model=PRORec", "--fusion_scop=all"], "Did you mean fusion_scope?"),
    (["--model=BPR", "--xyzzy=1"], "'xyzzy' is no setting"),
    (["--model=BPR", "--ranking=fused"], "'ranking' is no setting of BPR"),
    (["--config_files=nowhere.yaml"], "--config_files: nowhere.yaml cannot be read"),
    (["--seed=1", "--epochs=1", "--seed=2"], "--seed is given twice"), (["--nproc=0"], "nproc is 0; expected at least 1"),
    (["--config_files=."], "--config_files: . cannot be read"),
])
def test_bad_input_is_one_line_and_exit_code_2(command, capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("run_recbole: ")]
    assert len(error) == 1 and said in error[0]


@pytest.mark.parametrize("text, said", [("", "holds NoneType; expected settings as key: value"), ("- epochs", "holds list"),
                                        ("epochs: [", "broken.yaml cannot be read"), ("x: 2019-02-30", "broken.yaml cannot be read"),
                                        ("\udcff", "broken.yaml cannot be read")])
def test_a_broken_file_of_settings_is_named(command, capsys, tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert command("--config_files=broken.yaml") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("model", ["PRORec", "TIGER", "BPR", "SASRecF", "NeuMF", "DeepFM", "KGAT"])
def test_no_flag_is_refused_that_recbole_or_the_model_has(command, calls, model):
    import recbole

    stock = Path(recbole.__file__).parent / "properties"
    files = [stock / "overall.yaml", *stock.glob("dataset/*.yaml"), *stock.glob("quick_start_config/*.yaml"),
             *(folder / "model" / f"{model}.yaml" for folder in (stock, registry.properties_folder())),
             *registry.properties_folder().glob("dataset/*.yaml")]
    names = {name for file in files if file.is_file() for name in yaml.safe_load(file.read_text("utf-8")) or {}}
    assert len(names) > 50 and command(f"--model={model}", *(f"--{name}=1" for name in sorted(names))) == 0


@pytest.mark.parametrize("model, setting", [
    ("BPR", "alias_of_item_id"), ("BPR", "enable_amp"), ("AsymKNN", "q"), ("KD_DAGFM", "t_depth"), ("SASRec", "numerical_features"),
    ("EulerNet", "order_list"), ("BPR", "mine"),
])
def test_no_flag_is_refused_that_stands_in_no_yaml_file_but_is_read_or_brought(command, calls, tmp_path, model, setting):
    (tmp_path / "a.yaml").write_text("mine: 1", encoding="utf-8")
    assert command(f"--model={model}", f"--config_files={tmp_path / 'a.yaml'}", f"--{setting}=1") == 0


def test_an_interrupt_is_one_line_and_exit_code_130(command, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(stock, "run", interrupt)
    assert command("--model=BPR") == 130
    assert capsys.readouterr().err == "run_recbole: interrupted\n"


def test_other_errors_keep_their_traceback(command, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(stock, "run", fail)
    with pytest.raises(ZeroDivisionError):
        command("--model=BPR")


def test_python_dash_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "recbole_prorec", "--epochs"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("run_recbole: expected settings")


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_the_command_trains_a_stock_model_by_the_settings_of_a_file(command, tiny_dataset, model):
    config = tiny_dataset.folder / "config.yaml"
    config.write_text("\n".join(f"{key}: {value!r}" for key, value in tiny_dataset.config.items()), encoding="utf-8")
    assert command(f"--model={model}", "--dataset=tiny", f"--config_files={config}", "--epochs=1") == 0
    assert len(list(Path(tiny_dataset.config["checkpoint_dir"]).glob(f"{model}-*.pth"))) == 1


# In other processes

@pytest.mark.parametrize("function", ["run_recboles", "run_recboles_by_protocol", "objective_function"])
def test_a_function_for_another_process_brings_the_package_with_it(function):
    assert b"recbole_prorec.quick_start" in pickle.dumps(getattr(quick_start, function))


def test_recboles_own_run_sends_our_function_to_its_processes():
    assert stock.run_recboles is quick_start.run_recboles


def test_a_process_runs_recboles_function_under_the_protocol_if_told(monkeypatch):
    made = []
    monkeypatch.setattr(quick_start.run_recboles, "original", lambda *args: made.append((args, registry.Protocol.for_all_models)))
    monkeypatch.setattr(registry.Protocol, "for_all_models", False)
    quick_start.run_recboles(0, "BPR", {})
    quick_start.run_recboles_by_protocol(1, "BPR", {})
    assert made == [((0, "BPR", {}), False), ((1, "BPR", {}), True)]


def test_an_empty_process_gets_as_far_as_our_models(tmp_path):
    """Unpickled elsewhere, the function finds a model of ours; it ends at the data set, which does not exist."""
    code = ("import pickle, sys\n"
            f"f = pickle.loads({pickle.dumps(quick_start.objective_function)!r})\n"
            "f({'model': 'PRORec', 'dataset': 'nowhere', 'data_path': '/nonexistent/', 'state': 'ERROR'}, saved=False)")
    environment = {**os.environ, "PYTHONPATH": str(Path(quick_start.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert InputError.__name__ in done.stderr and "data set 'nowhere'" in done.stderr


def test_the_objective_of_a_search_is_recboles(tiny_dataset):
    result = quick_start.objective_function({**tiny_dataset.config, "model": "BPR", "dataset": "tiny", "state": "ERROR"}, saved=False)
    assert result["model"] == "BPR" and 0 <= result["test_result"]["ndcg@10"] <= 1
