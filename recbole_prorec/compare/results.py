"""The kept result of a run: <run>.json and <run>.npz, whole or not there, with what they depend on."""

import functools
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import yaml

from recbole_prorec.artifacts import whole_file, writing_to
from recbole_prorec.compare.machine import versions
from recbole_prorec.errors import InputError
from recbole_prorec.registry import MODELS, properties_file
from recbole_prorec.trainer.stages import PROREC_SETTINGS, TIGER_SETTINGS, VERSIONS

STAGES = {"PRORec": PROREC_SETTINGS, "TIGER": TIGER_SETTINGS}
# settings that say where things lie or what is shown, not what comes out
WITHOUT_EFFECT = {"data_path", "cache_dir", "checkpoint_dir", "show_progress", "state", "log_wandb", "gpu_id"}


def depends_on(run, data=None):
    """All that a run's result depends on, of settings, data, defaults and versions. data: what `hash_data` gives, if it is known."""
    settings = {name: value for name, value in run.settings.items() if name not in WITHOUT_EFFECT}
    ours = [properties_file("model", run.model), properties_file("dataset", run.dataset)]
    files = {file: _hash(file) for name, value in settings.items() if isinstance(value, str) for file in _files_of(name, value)}
    stages = {"stages": VERSIONS} if run.model in MODELS else {}
    return {"model": run.model, **stages, "settings": settings, "data": data or hash_data(run), "files": files, "versions": versions(),
            "defaults": {file.name: yaml.safe_load(file.read_text(encoding="utf-8")) for file in ours if file}}


def _files_of(name, value):
    """The files that a setting names, with what is read beside them."""
    path = os.path.expanduser(value)
    if name == "text_encoder" and os.path.isdir(path):
        return sorted(str(file) for file in Path(path).rglob("*") if file.is_file())
    return [file for file in (path, f"{path.removesuffix('.npy')}.keys.txt") if os.path.isfile(file)]


def hash_data(run):
    """sha256 of each file of the data set."""
    folder = data_folder(run)
    files = {file.name: _hash(file) for file in sorted(folder.glob(f"{run.dataset}.*")) if file.is_file()}
    if not any(name.endswith(".inter") for name in files):
        raise InputError(f"data set {run.dataset!r}: there is no {folder / (run.dataset + '.inter')}. Set data_path, among the settings of "
                         f"the comparison, to the folder that contains the folder {run.dataset}.")
    return files


def data_folder(run):
    """Where RecBole reads the data set."""
    if run.dataset == "ml-100k":  # RecBole takes its own copy, whatever data_path says
        import recbole

        return Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
    return Path(run.settings.get("data_path", "dataset"), run.dataset)


def _hash(file):
    status = Path(file).stat()
    return _hash_of_version(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=None)  # every run of a data set asks for the same files
def _hash_of_version(file, *_):
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def conditions(run, data=None):
    """{"depends_on": all that the run's result depends on}, as json has it. data: as in `depends_on`."""
    return {"depends_on": json.loads(json.dumps(depends_on(run, data), default=str))}


def save(folder, name, record, arrays):
    """The .json comes last: where it is, the result is whole."""
    with writing_to(folder, "--output"), whole_file(folder / f"{name}.npz") as file:
        np.savez_compressed(file, **arrays)
    write_text(folder / f"{name}.json", json.dumps(record, indent=1, default=str))


def write_text(path, text):
    with writing_to(path.parent, "--output"), whole_file(path) as file:
        file.write(text.encode())


def load(folder, name):
    """(record, arrays), or None where the run is not finished."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
            return json.loads(path.read_text(encoding="utf-8")), {key: file[key] for key in file.files}
    except Exception as error:  # damage shows itself in a dozen types
        raise InputError(f"the result {path} is damaged ({type(error).__name__}: {error}). Delete it and its .npz; the same command makes "
                         "them anew.") from error


def check_conditions(folder, run, has_data=True):
    """Whether the run is finished: None where it is not, else what has changed since, "" where nothing has.

    Args:
        has_data: False where the data set is not here; then it counts as what it was.
    """
    found = load(folder, run.name)
    if found is None and not has_data:
        return None
    now = conditions(run, None if has_data else found[0]["depends_on"]["data"])  # which also refuses what cannot be run
    return found and _changes(found[0]["depends_on"], now["depends_on"])


def _changes(before, now):
    """Names of what differs: "settings.n_layers: 2 then, 1 now"; "" if nothing does. A default that a run sets otherwise is none of it, nor
    is the version of a stage that it does not have, or a file beside the data that no comparison reads."""
    flat_before, flat_now = ({name: value for name, value in _flat(parts) if not _is_unread(name, parts)} for parts in (before, now))
    names = [name for name in {**flat_before, **flat_now} if flat_before.get(name) != flat_now.get(name)]
    said = [f"{name}: {_short(flat_before.get(name))} then, {_short(flat_now.get(name))} now" for name in names[:4]]
    return "; ".join(said + [f"and {len(names) - 4} more"] * (len(names) > 4))


def _is_unread(name, parts):
    kind, _, rest = name.partition(".")
    if kind == "stages":
        return rest not in (("alignment",) if parts["settings"].get("ranking") == "stage1" else STAGES[parts["model"]])
    if kind == "data":
        return rest.endswith((".yaml", ".stats.json"))
    setting = rest.partition(".yaml.")[2].split(".")[0]
    return kind == "defaults" and (setting in parts["settings"] or setting == "repeatable" and _is_sequential(parts["model"]))


def _is_sequential(model):
    """Then RecBole sets `repeatable` itself."""
    from recbole.utils import ModelType, get_model

    return get_model(model).type == ModelType.SEQUENTIAL


def _flat(parts, prefix=""):
    for name, value in parts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(value):
    text = "absent" if value is None else str(value)
    return text if len(text) <= 20 else text[:12] + "..."
