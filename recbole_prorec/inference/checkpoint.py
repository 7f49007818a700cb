"""RecBole's checkpoints, read without RecBole and without running what they contain."""

import pickle
import zipfile
from collections import OrderedDict

import torch

from recbole_prorec.errors import InputError
from recbole_prorec.inference.network import ADAPTER, SETTINGS, StoredModel, check_known

TRUSTED = {("collections", "OrderedDict"): OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2}


class StandIn:
    """In the place of whatever else a checkpoint is made of, RecBole's Config above all: it holds attributes and does nothing."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass


class SafeUnpickler(pickle.Unpickler):
    """A pickle names functions and has them called; this reader knows two, and torch's kinds of storage."""

    def find_class(self, module, name):
        if module == "torch" and name.endswith("Storage"):
            return getattr(torch, name)
        return TRUSTED.get((module, name), StandIn)


class SafePickle:
    """What torch.load takes for its `pickle_module`."""

    Unpickler = SafeUnpickler


def read_checkpoint(path):
    """RecBole's .pth of a trained model -> `StoredModel`."""
    model, settings, checkpoint = read_parts(path)
    check_known(model, path)
    if settings.get("ranking") == "stage1":
        raise InputError(f"{path} was trained by ranking: stage1 and generates no codes. Give a checkpoint of ranking: generative or "
                         "fused.")
    item_keys = checkpoint["other_parameter"].get("item_keys")
    if item_keys is None:
        raise InputError(f"{path} holds no item keys: an earlier version of recbole_prorec wrote it. Train the model again by the same "
                         "command; what lies in cache_dir is not computed twice.")
    weights, codebooks = checkpoint["state_dict"], checkpoint["other_parameter"].get("codebooks")
    adaptation = {name.removeprefix(ADAPTER): tensor for name, tensor in weights.items() if name.startswith(ADAPTER)}
    if isinstance(codebooks, torch.Tensor):  # a checkpoint of before has none
        adaptation |= {"codebooks": codebooks, "n_trained": torch.tensor(len(item_keys))}
    return StoredModel(model, {name: settings.get(name) for name in SETTINGS}, tuple(item_keys), weights, adaptation)


def read_parts(path):
    """The name of the model, its settings, and all of the checkpoint."""
    try:
        with open(path, "rb") as file:
            return _parse(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}). Give a checkpoint (.pth), or the folder of an "
                         "export.") from error
    except Exception as error:  # damage shows itself in a dozen types
        raise InputError(f"{path} is damaged, or no checkpoint of RecBole's ({type(error).__name__}: {error}). Expected the .pth file of a "
                         "finished training, or the folder of an export.") from error


def _parse(file):
    if not zipfile.is_zipfile(file):
        raise ValueError("not the zip file that it should be")
    if any(name.endswith("constants.pkl") for name in zipfile.ZipFile(file).namelist()):  # torch would run it, past our unpickler
        raise ValueError("a TorchScript program")
    file.seek(0)
    checkpoint = torch.load(file, map_location="cpu", pickle_module=SafePickle, weights_only=False)
    settings = vars(checkpoint["config"])["final_config_dict"]
    if not all(isinstance(part, dict) for part in (settings, checkpoint["state_dict"], checkpoint["other_parameter"])):
        raise ValueError("not the parts that it should have")
    return settings["model"], settings, checkpoint
