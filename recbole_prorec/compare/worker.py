"""One run, in a process of its own: trained and tested as run_recbole does it, and the rank of every user's item kept. A trial of a search
is trained and validated alone.

Reads {"run", "folder", "checkpoints", "command"} from stdin. python -m recbole_prorec.compare.worker
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from recbole_prorec.compare import results
from recbole_prorec.compare.machine import commit, machine, versions
from recbole_prorec.compare.observer import RankObserver
from recbole_prorec.compare.plan import Run
from recbole_prorec.compare.progress import Progress
from recbole_prorec.compare.stage_times import watch_stages
from recbole_prorec.errors import InputError
from recbole_prorec.model.generative import ALIGNMENT, GENERATION
from recbole_prorec.nn.memory import keep_pages
from recbole_prorec.registry import Protocol
from recbole_prorec.report.domination import domination_numbers, spaces_of


def main():
    given = json.loads(sys.stdin.read())
    run, folder = Run(**given["run"]), Path(given["folder"])
    sys.argv[1:] = []  # RecBole's Config takes flags from there
    try:
        with tempfile.TemporaryDirectory(dir=given["checkpoints"]) as checkpoints:
            work = train_and_test if run.drawn is None else train_and_validate
            progress = Progress(folder / "unfinished", run)
            record, arrays = work(run, given["command"], checkpoints, progress)
    except InputError as error:
        print(f"InputError: {error}", file=sys.stderr)
        return 2
    results.save(folder, run.name, record, arrays)
    progress.forget()
    return 0


def train_and_test(run, command, checkpoints, progress):
    """The record and the arrays that are kept of a run."""
    (config, loaders, model, trainer, _), record = train(run, command, checkpoints, progress, saved=True)
    codes = _codes(model)
    domination = _domination(config, loaders[0]._dataset, model, trainer, codes)
    observer = RankObserver(trainer.eval_collector, config, codes, bool(getattr(model, "exclude_seen", False)))
    tested, seconds, _ = _timed(lambda: trainer.evaluate(loaders[2], load_best_model=True, show_progress=False))
    arrays, measured = observer.finish(loaders[0]._dataset, tested)
    seconds -= observer.seconds
    return {**record, "test": _plain(tested), **measured, **domination, "evaluation_seconds": seconds, **_memory()}, arrays


def train_and_validate(run, command, checkpoints, progress):
    """The record of a trial; nobody looks at the test set."""
    record = train(run, command, checkpoints, progress, saved=False)[1]
    if not record["valid"]:
        raise InputError(f"the trial was never validated, so nothing says how good its settings are: eval_step is "
                         f"{record['settings']['eval_step']} of {record['settings']['epochs']} epochs. Set it from 1 to epochs.")
    return {**record, "drawn": run.drawn, **_memory()}, {}


def train(run, command, checkpoints, progress, saved):
    """What `build` made, trained, and what is kept of the training."""
    built = config, (train_data, valid_data, _), model, trainer, flops = build(run, checkpoints)
    with watch_stages() as stages:
        (best_valid_score, best_valid), *training = _timed(lambda: progress.fit(trainer, train_data, valid_data, saved))
    return built, {
        "dataset": run.dataset, "entry": run.entry, "model": run.model, "seed": run.seed,
        "valid": _plain(best_valid), "valid_metric": config["valid_metric"].lower(), "valid_metric_bigger": config["valid_metric_bigger"],
        "best_valid_score": float(best_valid_score) if best_valid else None, "training_seconds": training[0] + progress.seconds,
        "training_cpu_seconds": training[1] + progress.cpu_seconds, "stages": stages, "resumed": progress.state is not None,
        "n_parameters": _n_parameters(model), "flops": flops,
        "settings": {name: _jsonable(value) for name, value in sorted(config.final_config_dict.items())
                     if name not in results.WITHOUT_EFFECT},
        "threads": torch.get_num_threads(), "commit": commit(), "machine": machine(), "versions": versions(),
        "command": command, **progress.conditions,
    }


def _n_parameters(model):
    """With `ranking: stage1` without the generator, which is never trained."""
    prefix = "aligner." if getattr(model, "stage", None) == ALIGNMENT else ""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if name.startswith(prefix))


def _codes(model):
    """Those that the model generates [n_items, L]; None of a model that ranks without any."""
    return model.codes.cpu().numpy() if getattr(model, "stage", None) == GENERATION else None


def _domination(config, dataset, model, trainer, codes):
    """What survives of each modality in the codes of PRORec; {} of other models."""
    if codes is None or not hasattr(model, "aligned"):
        return {}
    spaces = spaces_of(model.aligned, trainer.text(dataset)[0], config["integrated_embedding"])
    return {"domination": domination_numbers(spaces, codes)}


def build(run, checkpoints):
    """In the order of RecBole's run_recbole, get_flops with its draw of dropout included, so that both end with the same metrics."""
    from logging import getLogger

    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.data.transform import construct_transform
    from recbole.utils import ModelType, get_flops, get_model, get_trainer, init_logger, init_seed

    Protocol.for_all_models = True
    settings = {"show_progress": False, **run.settings, "checkpoint_dir": checkpoints}
    config = Config(model=run.model, dataset=run.dataset, config_dict=settings)
    if set(config["eval_args"]["mode"].values()) != {"full"}:
        raise InputError(f"eval_args ask for the mode {config['eval_args']['mode']}; a comparison ranks all items. Set mode: full.")
    if config["repeatable"] and config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        raise InputError(f"repeatable is True, so that RecBole would rank what a user has for {run.model}, and draw it as a negative. "
                         "Leave the setting out.")
    keep_pages(config["device"])
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    _check_one_test_item(loaders[2]._dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = get_model(config["model"])(config, loaders[0]._dataset).to(config["device"])
    flops = get_flops(model, dataset, config["device"], getLogger(), construct_transform(config))
    return config, loaders, model, get_trainer(config["MODEL_TYPE"], config["model"])(config, model), flops


def _check_one_test_item(dataset):
    users = dataset.inter_feat[dataset.uid_field]
    if len(users.unique()) < len(users):
        raise InputError("users have several test items; the comparison is paired over users with one each. Use leave-one-out, eval_args: "
                         "{split: {LS: valid_and_test}}.")


def _timed(work):
    """What it returns, seconds, CPU seconds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - started, time.process_time() - cpu_started


def _memory():
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = kib if sys.platform == "darwin" else kib * 1024
    return {"peak_memory_bytes": peak, "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0}


def _plain(metrics):
    return {name: float(value) for name, value in (metrics or {}).items()}


def _jsonable(value):
    return value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)


if __name__ == "__main__":
    sys.exit(main())
