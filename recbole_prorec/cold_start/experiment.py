"""Items are held out, the model is trained without them, and they are added afterwards."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from recbole_prorec.artifacts import ArtifactStore
from recbole_prorec.cold_start.measure import measure, model_scores, text_scores
from recbole_prorec.errors import InputError
from recbole_prorec.inference.recommender import load
from recbole_prorec.text.encoder import text_embeddings_by

ALL, HELD_OUT = "all items", "held-out items alone"


def cold_start(dataset, config_files, share, seed, settings):
    """The report: {"settings": what was asked for, "users": how many are tested, "items": .., "results": {where: {way: {metric: value}}}}.

    Args:
        dataset, config_files: as run_recbole takes them. share: of the items that are held out. settings: ["--key=value", ...].
    """
    if not 0 < share < 1:
        raise InputError(f"--share is {share}; expected a share of the items between 0 and 1, such as 0.1.")
    if seed < 0:
        raise InputError(f"--seed is {seed}; expected a whole number of at least 0.")
    config, whole = _dataset(dataset, config_files, settings)
    keys, histories = _histories(whole)
    cold = set(np.random.default_rng(seed).permutation(keys)[: max(1, round(share * len(keys)))].tolist())
    asked = [(history[:-1], history[-1]) for history in histories if history[-1] in cold and len(history) > 1]
    if not asked:
        raise InputError(f"of {len(histories)} users none ends with one of the {len(cold)} held-out items. Raise --share, or "
                         "change --seed.")
    text = _text(config, dataset, keys)
    with tempfile.TemporaryDirectory() as folder:
        _write_warm(folder, dataset, histories, cold, config)
        np.savez(Path(folder, "text.npz"), item_keys=keys, embeddings=np.stack([text[key] for key in keys]))
        warm = load(_train(dataset, folder, config_files))
    missing = [key for key in keys if key not in warm.item_id]
    model = warm.add_items(missing, text_embeddings=np.stack([text[key] for key in missing]))
    padding = np.zeros_like(text[keys[0]])
    by_id = np.stack([padding, *(text[key] for key in model.item_keys[1:])])
    ways = {"PRORec": model_scores(model), "text neighbours": text_scores(by_id)}
    asked = [([model.item_id[key] for key in history], model.item_id[target]) for history, target in asked]
    among = {ALL: torch.ones(len(model.item_keys), dtype=torch.bool), HELD_OUT: torch.tensor([key in cold for key in model.item_keys])}
    return {"dataset": dataset, "share": share, "seed": seed, "settings": settings, "users": len(asked), "items": len(keys),
            "held out": len(cold), "results": {where: measure(ways, asked, mask) for where, mask in among.items()}}


def _dataset(dataset, config_files, settings):
    """RecBole's config and data set, all its filters applied."""
    from recbole.config import Config
    from recbole.data import create_dataset

    sys.argv[1:] = settings  # RecBole's Config reads its settings from there
    config = Config(model="PRORec", dataset=dataset, config_file_list=config_files)
    if config["ranking"] == "stage1" or config["quantizer"] != "residual_kmeans":
        raise InputError(f"ranking is {config['ranking']} and quantizer {config['quantizer']}; new items need codes, of residual_kmeans. "
                         "Set ranking: generative or fused, and quantizer: residual_kmeans.")
    if config["benchmark_filename"]:
        raise InputError(f"benchmark_filename is {config['benchmark_filename']}; expected interactions in one file, {dataset}.inter, out "
                         "of which items can be held. Give such a data set.")
    return config, create_dataset(config)


def _histories(dataset):
    """All item keys, and every user's in the order of time."""
    rows = dataset.inter_feat
    if dataset.time_field not in rows:
        raise InputError(f"the interactions have no {dataset.time_field}, by which a user's last item is known; expected it among the "
                         "columns of load_col.")
    users, items, times = (rows[field].to_numpy() for field in (dataset.uid_field, dataset.iid_field, dataset.time_field))
    order = np.lexsort((np.arange(len(users)), times, users))
    keys = dataset.field2id_token[dataset.iid_field]
    first = np.flatnonzero(np.diff(users[order], prepend=-1))
    return keys[1:].tolist(), [part.tolist() for part in np.split(keys[items[order]], first[1:])]


def _text(config, dataset, keys):
    """item key -> text embedding, kept in cache_dir."""
    item_file, store = Path(config["data_path"], f"{dataset}.item"), ArtifactStore(config["cache_dir"])
    rows, _ = text_embeddings_by(config, store, ["[PAD]", *keys], item_file, config["device"], config["show_progress"])
    return dict(zip(keys, rows[1:]))


def _write_warm(folder, dataset, histories, cold, config):
    """The atomic files without the held-out items. Time is a place in the history, which float32 holds exactly."""
    separator, source = config["field_separator"], Path(config["data_path"], f"{dataset}.item")
    folder = Path(folder, dataset)
    folder.mkdir()
    lines = [(f"{config['USER_ID_FIELD']}:token", f"{config['ITEM_ID_FIELD']}:token", f"{config['TIME_FIELD']}:float")]
    for user, history in enumerate(histories):
        lines += [(f"u{user}", key, str(place)) for place, key in enumerate(key for key in history if key not in cold)]
    text = "".join(separator.join(line) + "\n" for line in lines)
    (folder / f"{dataset}.inter").write_bytes(text.encode(config["encoding"] or "utf-8"))
    if source.is_file():
        (folder / f"{dataset}.item").write_bytes(source.read_bytes())


def _train(dataset, folder, config_files):
    """Train on the folder's files, whose items and users passed all filters before; the checkpoint's path."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_logger, init_seed

    config = Config(model="PRORec", dataset=dataset, config_file_list=config_files)
    # Set here because none of them may be outvoted, by the command line for one; of ml-100k RecBole takes its own files by any other way.
    for name, value in {"data_path": str(Path(folder, dataset)), "checkpoint_dir": folder,
                        "text_embedding_file": str(Path(folder, "text.npz")), "user_inter_num_interval": "[1,inf)",
                        "item_inter_num_interval": "[1,inf)", "val_interval": None}.items():
        config[name] = value
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    data = create_dataset(config)
    train, valid, _ = data_preparation(config, data)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model("PRORec")(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], "PRORec")(config, model)
    trainer.fit(train, valid, show_progress=config["show_progress"])
    return trainer.saved_model_file
