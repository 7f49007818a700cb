"""How well items do that training never saw: some are held out, the model is trained on the rest, they are added by their texts alone,
and the users whose last item is one of them are asked for it."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from recbole_prorec.artifacts import ArtifactStore
from recbole_prorec.errors import InputError
from recbole_prorec.inference.recommender import load
from recbole_prorec.registry import Protocol
from recbole_prorec.text.encoder import text_embeddings

TOPK = (5, 10, 20)
LATEST = 5  # items of a history whose mean text embedding the nearest-neighbour baseline asks for
WAYS = {"PRORec": "the trained model, the held-out items added by their texts", "text neighbours":
        f"cosine to the mean text embedding of the latest {LATEST} items", "random": "the expectation of a random order"}


def cold_start(dataset, config_files, share, seed, settings):
    """The report: {"settings": what was asked for, "users": how many are tested, "items": .., "results": {where: {way: {metric: value}}}}.

    Args:
        dataset, config_files: as run_recbole takes them. share: of the items that are held out. settings: ["--key=value", ...].
    """
    if not 0 < share < 1:
        raise InputError(f"--share is {share}; expected a share of the items between 0 and 1, such as 0.1.")
    config, whole = _dataset(dataset, config_files, settings)
    keys, histories = _histories(whole)
    cold = set(np.random.default_rng(seed).permutation(keys)[: max(1, round(share * len(keys)))].tolist())
    asked = [(history[:-1], history[-1]) for history in histories if history[-1] in cold and len(history) > 1]
    if not asked:
        raise InputError(f"of {len(histories)} users none ends with one of the {len(cold)} held-out items. Raise --share, or change --seed.")
    item_file = Path(config["data_path"], f"{dataset}.item")
    text, _ = text_embeddings(ArtifactStore(config["cache_dir"]), ["[PAD]", *keys], item_file, config["text_template"], config["text_encoder"],
                              config["text_embedding_file"], config["text_batch_size"], item_id_field=config["ITEM_ID_FIELD"])
    row_of = {key: row for row, key in enumerate(keys, start=1)}
    with tempfile.TemporaryDirectory() as folder:
        _write_warm(Path(folder, dataset), dataset, histories, cold, item_file, config)
        warm = load(_train(dataset, folder, config_files))
        missing = sorted(set(keys) - set(warm.item_keys))
        model = warm.add_items(missing, text_embeddings=text[[row_of[key] for key in missing]])
    order = np.array([row_of[key] for key in model.item_keys[1:]])
    scores = {"PRORec": _scores(model, [history for history, _ in asked]),
              "text neighbours": _text_scores(text, [[row_of[key] for key in history] for history, _ in asked])[:, order]}
    targets = torch.tensor([model.item_id[target] - 1 for _, target in asked])
    candidates = {"all items": torch.ones(len(order), dtype=torch.bool),
                  "held-out items alone": torch.tensor([key in cold for key in model.item_keys[1:]])}
    results = {where: _metrics(scores, targets, allowed) for where, allowed in candidates.items()}
    return {"dataset": dataset, "share": share, "seed": seed, "settings": settings, "users": len(asked), "items": len(keys),
            "held out": len(cold), "results": results}


def _dataset(dataset, config_files, settings):
    """RecBole's config and data set, all its filters applied."""
    from recbole.config import Config
    from recbole.data import create_dataset

    sys.argv[1:] = settings  # RecBole's Config reads its settings from there
    Protocol.for_all_models = True
    config = Config(model="PRORec", dataset=dataset, config_file_list=config_files)
    return config, create_dataset(config)


def _histories(dataset):
    """All item keys, and every user's in the order of time."""
    rows = dataset.inter_feat
    users, items, times = (rows[field].to_numpy() for field in (dataset.uid_field, dataset.iid_field, dataset.time_field))
    order = np.lexsort((np.arange(len(users)), times, users))
    keys = dataset.field2id_token[dataset.iid_field]
    first = np.flatnonzero(np.diff(users[order], prepend=-1))
    return keys[1:].tolist(), [part.tolist() for part in np.split(keys[items[order]], first[1:])]


def _write_warm(folder, dataset, histories, cold, item_file, config):
    """The atomic files without the held-out items. Time is a place in the history, which float32 holds exactly."""
    folder.mkdir(parents=True)
    lines = [f"{config['USER_ID_FIELD']}:token\t{config['ITEM_ID_FIELD']}:token\t{config['TIME_FIELD']}:float"]
    for user, history in enumerate(histories):
        lines += [f"u{user}\t{key}\t{place}" for place, key in enumerate(key for key in history if key not in cold)]
    (folder / f"{dataset}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if item_file.is_file():
        (folder / f"{dataset}.item").write_bytes(item_file.read_bytes())


def _train(dataset, folder, config_files):
    """Train on the folder's files; the checkpoint's path."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_logger, init_seed

    every = {"data_path": folder, "user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)", "checkpoint_dir": folder}
    config = Config(model="PRORec", dataset=dataset, config_file_list=config_files, config_dict=every)
    config["data_path"] = str(Path(folder, dataset))  # of ml-100k RecBole takes its own files, whatever data_path says
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    data = create_dataset(config)
    train, valid, _ = data_preparation(config, data)
    model = get_model("PRORec")(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], "PRORec")(config, model)
    trainer.fit(train, valid, show_progress=config["show_progress"])
    return trainer.saved_model_file


@torch.inference_mode()
def _scores(model, histories):
    """Of every item but padding, whatever the beam would find: [users, n_items - 1]."""
    ids, found = [model.read_history(history) for history in histories], []
    network = model.network
    for first in range(0, len(ids), 256):
        latest = [torch.tensor(some[-model.max_length:]) for some in ids[first : first + 256]]
        states = network.user_states(torch.nn.utils.rnn.pad_sequence(latest, batch_first=True), torch.tensor([len(some) for some in latest]))
        scores = network.code_scores(states)[:, 1:]
        if model.settings["ranking"] == "fused":
            scores = scores + network.fusion_weight * network.heads.log_probs(states, network.aligned)[:, 1:]
        found.append(scores)
    return torch.cat(found)


def _text_scores(text, histories):
    """Cosine of every item's text embedding to the mean of a history's latest ones: [users, n_items]."""
    text = F.normalize(torch.from_numpy(text), dim=1)
    return torch.stack([F.normalize(text[history[-LATEST:]].mean(0), dim=0) for history in histories]) @ text.T


def _metrics(scores, targets, allowed):
    """way -> {metric: mean over users} of the targets' ranks among the allowed items."""
    found = {}
    for way, values in scores.items():
        own = values.gather(1, targets.unsqueeze(1))
        rank = ((values > own) & allowed).sum(1).double()
        found[way] = {name: float(gain.mean()) for k in TOPK for name, gain in (
            (f"recall@{k}", (rank < k).double()), (f"ndcg@{k}", torch.where(rank < k, 1 / torch.log2(rank + 2), 0.0)))}
    n = int(allowed.sum())
    gains = 1 / np.log2(np.arange(2, n + 2))
    found["random"] = {name: value for k in TOPK for name, value in ((f"recall@{k}", min(k, n) / n), (f"ndcg@{k}", float(gains[:k].sum()) / n))}
    return found


def as_markdown(report):
    lines = [f"# Items that training never saw: {report['dataset']}", "",
             f"{report['held out']} of {report['items']} items were held out of training (seed {report['seed']}) and added afterwards by their texts, "
             f"without training. Tested are the {report['users']} users whose last item is one of them.", ""]
    for where, ways in report["results"].items():
        names = list(next(iter(ways.values())))
        lines += [f"Ranked among {where}:", "", "| | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
        lines += [f"| {way} | " + " | ".join(f"{found[name]:.4f}" for name in names) + " |" for way, found in ways.items()] + [""]
    return "\n".join([*lines, *(f"- {way}: {what}" for way, what in WAYS.items()),
                      f"- settings: `{' '.join(report['settings']) or 'defaults'}`", ""])


def add_cold_start(commands):
    parser = commands.add_parser("cold-start", help="train without some items, add them by their texts, and measure how they do",
                                 epilog="RecBole's settings are given as --key=value.")
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--config_files", help="yaml files of settings, separated by blanks")
    parser.add_argument("--share", type=float, default=0.1, help="of the items that are held out (default: 0.1)")
    parser.add_argument("--seed", type=int, default=2024, help="of the choice of items and of the training (default: 2024)")
    parser.add_argument("--output", required=True, help="folder of cold_start.md and cold_start.json")
    parser.set_defaults(run=_run, takes_settings=True)


def _run(args):
    folder = Path(args.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made ({error}). Give another one.") from error
    files = args.config_files.split() if args.config_files else None
    report = cold_start(args.dataset, files, args.share, args.seed, [f"--seed={args.seed}", *args.settings])
    (folder / "cold_start.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "cold_start.md").write_text(as_markdown(report), encoding="utf-8")
    print(as_markdown(report))
