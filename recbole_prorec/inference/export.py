"""A trained model as a folder that needs neither pickle nor RecBole: safetensors, json and text."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from recbole_prorec.errors import InputError
from recbole_prorec.inference.network import SETTINGS, StoredModel, check_known
from recbole_prorec.tokenizer.semantic_ids import SemanticIds

FORMAT = 4
WEIGHTS, NEW_ITEMS = "weights.safetensors", "new_items.safetensors"
UNSAID = {"field_separator": "\t", "encoding": None, "history_sum": False}  # in exports of before
CODES, KEYS, SETTINGS_FILE = "codes.json", "item_keys.txt", "settings.json"


def empty_folder(path):
    """Make a folder of a command's results, or refuse one that something lies in -> its Path."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made ({error}). Give another one.") from error
    if not is_empty:
        raise InputError(f"the folder {folder} is not empty; expected a new or an empty one. Give another one.")
    return folder


def write_export(recommender, folder):
    """The five files; settings.json comes last and has the others' sums, so that an unfinished export is none.

    Args:
        recommender: a `Recommender`. folder: absent or empty.
    """
    network, keys = recommender.network, recommender.item_keys[1:]
    if any("\n" in key for key in keys):
        raise InputError("an item key holds a line feed, and item_keys.txt has a key on each line. Rename the item before training.")
    folder = empty_folder(folder)
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items() if name != "codes"}
    try:
        (folder / WEIGHTS).write_bytes(save(weights))
        (folder / NEW_ITEMS).write_bytes(save({name: tensor.cpu().contiguous() for name, tensor in recommender.stored.adaptation.items()}))
        SemanticIds(recommender.item_keys, network.codes.cpu().numpy(), network.codebook_size).save(folder / CODES)
        (folder / KEYS).write_bytes("".join(key + "\n" for key in keys).encode())
        header = {"format": FORMAT, "model": recommender.model, "settings": recommender.settings, "padding_key": recommender.item_keys[0],
                  "sha256": {name: _sum(folder / name) for name in (WEIGHTS, NEW_ITEMS, CODES, KEYS)}}
        (folder / SETTINGS_FILE).write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"the export to {folder} failed ({error}). Give a folder that can be written to, with room left.") from error


def read_export(folder):
    """What `write_export` wrote -> `StoredModel`."""
    folder = Path(folder)
    try:
        header = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']}, and this version reads {FORMAT}")
        changed = [name for name, expected in header["sha256"].items() if _sum(folder / name) != expected]
        if changed:
            raise ValueError(f"{' and '.join(changed)} changed after the export")
        check_known(header["model"], folder)
        item_keys = (header["padding_key"], *(folder / KEYS).read_bytes().decode().split("\n")[:-1])
        codes = torch.tensor(SemanticIds.load(folder / CODES, item_keys).codes)
        weights, adaptation = load_file(folder / WEIGHTS), load_file(folder / NEW_ITEMS)
        settings = {**UNSAID, **header["settings"]}
        settings = {name: settings[name] for name in SETTINGS}
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise InputError(f"{folder} is no export, or a damaged one ({type(error).__name__}: {error}). Expected the folder that prorec "
                         f"export wrote, with {WEIGHTS}, {NEW_ITEMS}, {CODES}, {KEYS} and {SETTINGS_FILE}; export it again.") from error
    return StoredModel(header["model"], settings, item_keys, {**weights, "codes": codes}, adaptation)


def _sum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
