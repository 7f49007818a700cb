"""One run, in a process of its own: trained and tested as run_recbole does it, and the rank of every user's item kept.

Reads {"run", "folder", "command"} from stdin. python -m recbole_prorec.compare.worker
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from recbole_prorec.compare import ranks, results
from recbole_prorec.compare.machine import commit, machine, versions
from recbole_prorec.compare.plan import Run
from recbole_prorec.compare.stage_times import watch_stages
from recbole_prorec.errors import InputError
from recbole_prorec.registry import Protocol


def main():
    given = json.loads(sys.stdin.read())
    run, folder = Run(**given["run"]), Path(given["folder"])
    sys.argv[1:] = []  # RecBole's Config takes flags from there
    try:
        with tempfile.TemporaryDirectory(prefix=".checkpoint-", dir=folder) as checkpoints:
            record, arrays = train_and_test(run, given["command"], checkpoints)
    except InputError as error:
        print(f"InputError: {error}", file=sys.stderr)
        return 2
    results.save(folder, run.name, record, arrays)
    return 0


def train_and_test(run, command, checkpoints):
    """The record and the arrays that are kept of a run."""
    conditions = results.conditions(run)  # taken here: the files may have changed since the comparison began
    config, loaders, model, trainer, flops = build(run, checkpoints)
    train_data, valid_data, test_data = loaders
    started, cpu_started = time.perf_counter(), time.process_time()
    with watch_stages() as stages:
        best_valid_score, best_valid = trainer.fit(train_data, valid_data, saved=True, show_progress=False)
    trained, cpu_trained = time.perf_counter(), time.process_time()
    observer = RankObserver(trainer.eval_collector, config, max(run.settings["topk"]))
    tested = trainer.evaluate(test_data, load_best_model=True, show_progress=False)
    evaluation_seconds = time.perf_counter() - trained - observer.seconds
    arrays, measured = observer.finish(train_data, tested)
    record = {
        "dataset": run.dataset, "entry": run.entry, "model": run.model, "seed": run.seed,
        "test": _plain(tested), "valid": _plain(best_valid), "valid_metric": config["valid_metric"].lower(),
        "best_valid_score": float(best_valid_score), **measured,
        "training_seconds": trained - started, "training_cpu_seconds": cpu_trained - cpu_started, "stages": stages,
        "evaluation_seconds": evaluation_seconds,
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()), "flops": flops, **_memory(),
        "settings": {name: _jsonable(value) for name, value in sorted(config.final_config_dict.items())},
        "threads": torch.get_num_threads(), "commit": commit(), "machine": machine(), "versions": versions(), "command": command, **conditions,
    }
    return record, arrays


def build(run, checkpoints):
    """In the order of RecBole's run_recbole, get_flops with its draw of dropout included, so that both end with the same metrics."""
    from logging import getLogger

    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.data.transform import construct_transform
    from recbole.utils import get_flops, get_model, get_trainer, init_logger, init_seed

    Protocol.for_all_models = True
    config = Config(model=run.model, dataset=run.dataset, config_dict={"show_progress": False, **run.settings, "checkpoint_dir": checkpoints})
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = get_model(config["model"])(config, loaders[0]._dataset).to(config["device"])
    flops = get_flops(model, dataset, config["device"], getLogger(), construct_transform(config))
    return config, loaders, model, get_trainer(config["MODEL_TYPE"], config["model"])(config, model), flops


class RankObserver:
    """Stands between trainer.evaluate and RecBole's collector: the ranks are of the very scores that RecBole's metrics are of."""

    def __init__(self, collector, config, k):
        self.original, self.user_field, self.k = collector.eval_batch_collect, config["USER_ID_FIELD"], k
        self.topk, self.batches, self.seconds = config["topk"], [], 0.0
        collector.eval_batch_collect = self.eval_batch_collect

    def eval_batch_collect(self, scores, interaction, positive_u, positive_i):
        started = time.perf_counter()
        if len(positive_i) != len(scores):
            raise InputError("users have several test items; the comparison is paired over users with one each. Use leave-one-out, "
                             "eval_args: {split: {LS: valid_and_test}}.")
        targets = positive_i.to(scores.device)[torch.argsort(positive_u).to(scores.device)]
        above, tied = ranks.count_above_and_tied(scores, targets)
        kept = interaction[self.user_field], targets, above, tied, ranks.top_items(scores, self.k)
        self.batches.append([tensor.cpu().numpy() for tensor in kept])
        self.seconds += time.perf_counter() - started
        return self.original(scores, interaction, positive_u, positive_i)

    def finish(self, train_data, tested):
        """({"user_keys", "target_keys", "above", "tied", "top_items"}, measures), users in the order of their keys."""
        users, targets, above, tied, tops = map(np.concatenate, zip(*self.batches))
        dataset = train_data._dataset
        ranks.check_against(tested, self.topk, above, tied)
        user_keys = dataset.field2id_token[dataset.uid_field][users].astype(str)
        target_keys = dataset.field2id_token[dataset.iid_field][targets].astype(str)
        order = np.argsort(user_keys, kind="stable")
        arrays = {"user_keys": user_keys, "target_keys": target_keys, "above": above.astype(np.int32), "tied": tied.astype(np.int32),
                  "top_items": tops.astype(np.int32)}
        depth = 10 if 10 in self.topk else max(self.topk)
        counts = training_counts(dataset)
        measures = {"n_users": len(users), "n_items": int(dataset.item_num), "depth": depth,
                    "coverage": ranks.coverage(tops[:, :depth], dataset.item_num),
                    "popularity": ranks.average_popularity(tops[:, :depth], counts)}
        return {name: values[order] for name, values in arrays.items()}, measures


def training_counts(dataset):
    """Training interactions per item [n_items]. RecBole's own count misses the first items of histories for sequential models alone."""
    rows = dataset.inter_feat
    items = rows[dataset.iid_field].numpy()
    history = getattr(dataset, "item_id_list_field", f"{dataset.iid_field}{dataset.config['LIST_SUFFIX']}")
    if history in rows.interaction:
        first = rows[dataset.config["ITEM_LIST_LENGTH_FIELD"]].numpy() == 1
        items = np.concatenate([items, rows[history].numpy()[first, 0]])
    return np.bincount(items, minlength=dataset.item_num)


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
