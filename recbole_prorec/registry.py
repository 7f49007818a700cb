"""Tells RecBole where our models, trainers and yaml files are; RecBole itself stays untouched.

RecBole looks a model up as a module of its own, a trainer as an attribute of recbole.trainer, and settings in its own properties/.
Each look-up happens when it is needed, so that a model is imported when it is used.
"""

import difflib
import functools
import importlib
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from recbole_prorec.errors import InputError
from recbole_prorec.import_hooks import after_import

MODULE = "recbole.model.sequential_recommender."  # any of RecBole's model folders would do
MODELS = {}  # name -> path of the class
TRAINERS = {}  # name of the trainer class -> path of the class


def register(name, model, trainer=None):
    """Make RecBole's `model=name` mean the class at the dotted path `model`, trained by the one at `trainer` (default: RecBole's)."""
    MODELS[name] = model
    if trainer is not None:
        TRAINERS[name + "Trainer"] = trainer


def load_class(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


class _ModelFinder:
    """Answers "recbole.model.sequential_recommender.<name>" with a module that holds our class."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        name = next((name for name in MODELS if fullname == MODULE + name.lower()), None)
        return name and ModuleSpec(fullname, _ModelLoader(name))


class _ModelLoader:
    def __init__(self, name):
        self.name = name

    def create_module(self, spec):
        return None  # the usual empty module

    def exec_module(self, module):
        setattr(module, self.name, load_class(MODELS[self.name]))


sys.meta_path.append(_ModelFinder)


@after_import("recbole.trainer")
def offer_trainers(package):
    def __getattr__(name):
        if name not in TRAINERS:
            raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")
        return load_class(TRAINERS[name])

    package.__getattr__ = __getattr__


# yaml files

def properties_folder():
    """The folder of our yaml files: inside the package in a wheel, beside it in a checkout or an editable install."""
    package = Path(__file__).resolve().parent
    return next(folder for folder in (package / "properties", package.parent / "properties") if folder.is_dir())


def properties_file(kind, name):
    """properties/<kind>/<name>.yaml, or None where there is none. kind: "model" or "dataset"."""
    file = properties_folder() / kind / f"{name}.yaml"
    return file if file.is_file() else None


class Protocol:
    """Whose settings properties/dataset/ gives: our models' always; those of RecBole's models too if `for_all_models`."""

    for_all_models = False


@after_import("recbole.config.configurator")
def add_yaml(configurator):
    original = configurator.Config._load_internal_config_dict

    @functools.wraps(original)
    def _load_internal_config_dict(self, model, model_class, dataset):
        original(self, model, model_class, dataset)
        if model in MODELS or Protocol.for_all_models:
            for file in filter(None, (properties_file("model", model), properties_file("dataset", dataset))):
                self._update_internal_config_dict(file)
            _drop_negatives_of_cross_entropy(self)

    configurator.Config._load_internal_config_dict = _load_internal_config_dict


def _drop_negatives_of_cross_entropy(config):
    """RecBole refuses a sequential model with the loss CE while there are negative samples, which its own defaults ask for."""
    defaults = config.internal_config_dict
    loss = config.external_config_dict.get("loss_type", defaults.get("loss_type"))
    if loss == "CE" and defaults["MODEL_TYPE"].name == "SEQUENTIAL":
        defaults["train_neg_sample_args"] = None


PLAIN_METRICS = {"auc", "gauc", "logloss", "mae", "rmse"}  # of no depth


LARGEST_SEED = 2**32 - 1  # NumPy's
WHOLE_NUMBERS = {"seed": (0, LARGEST_SEED), "train_batch_size": (1, None), "eval_batch_size": (1, None)}  # least, most


@after_import("recbole.config.configurator")
def check_what_recbole_trips_over(configurator):
    """RecBole answers a valid_metric that it does not compute with a KeyError, behind an epoch of training, and others as late."""
    original = configurator.Config._set_default_parameters

    @functools.wraps(original)
    def _set_default_parameters(self):
        settings = self.final_config_dict
        check_names_of_metrics(settings["metrics"] if isinstance(settings["metrics"], list) else [settings["metrics"]])
        original(self)
        for name, (least, most) in WHOLE_NUMBERS.items():
            if type(settings[name]) is not int or settings[name] < least or most is not None and settings[name] > most:
                raise InputError(f"{name} is {settings[name]!r}; expected a whole number from {least} {f'to {most}' if most else 'on'}.")
        there = [name for metric in settings["metrics"]
                 for name in ([metric] if metric.lower() in PLAIN_METRICS else [f"{metric}@{k}" for k in settings["topk"]])]
        if settings["eval_step"] > 0 and settings["valid_metric"].lower() not in map(str.lower, there):
            raise InputError(f"valid_metric is {settings['valid_metric']!r}, which is not computed; expected one of {', '.join(there)}. "
                             "Set it to one of these, or change metrics or topk.")

    configurator.Config._set_default_parameters = _set_default_parameters


def check_names_of_metrics(metrics, of_ranked_lists=False):
    """Raise InputError unless there are some, and RecBole has all of them. of_ranked_lists: whether those of scores are none."""
    from recbole.evaluator.register import metric_types, metrics_dict
    from recbole.utils import EvaluatorType

    known = sorted(cls.__name__ for name, cls in metrics_dict.items()
                   if not of_ranked_lists or metric_types[name] == EvaluatorType.RANKING)
    if not metrics:
        raise InputError(f"metrics is {metrics!r}; expected some of {', '.join(known)}.")
    for metric in metrics:
        if str(metric).lower() not in {name.lower() for name in known}:
            kind = "metric of ranked lists" if of_ranked_lists else "metric"
            raise InputError(f"RecBole has no {kind} called {metric!r}; expected some of {', '.join(known)}.")


# What cannot be found

def known_models():
    """The exact names of RecBole's models and ours."""
    import recbole

    files = Path(recbole.__file__).parent.glob("model/*_recommender/*.py")
    classes = ((file.stem, re.findall(r"^class (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)) for file in files)
    return sorted({name for stem, names in classes for name in names if name.lower() == stem} | MODELS.keys())


def check_model(name):
    """RecBole answers an unknown model with "No module named 'lightgbm'"."""
    names = known_models()
    if name not in names:
        lowered = {known.lower(): known for known in names}
        near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered)]
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}."
        raise InputError(f"no model is called {name!r} (upper and lower case count). {hint}")


@after_import("recbole.data.dataset.dataset")
def explain_missing_dataset(module):
    """RecBole tries to download a data set whose folder is missing, and shows where that fails rather than what was asked for."""
    download, load = module.Dataset._download, module.Dataset._load_inter_feat

    @functools.wraps(download)
    def _download(self):
        try:
            download(self)
        except (OSError, ValueError) as reason:  # no network; no known address
            what = f"the folder {self.dataset_path} does not exist, and downloading it failed ({str(reason).rstrip('.')})"
            raise InputError(_missing(self, what)) from reason

    @functools.wraps(load)
    def _load_inter_feat(self, token, dataset_path):
        file = Path(dataset_path, f"{token}.inter")
        if self.benchmark_filename_list is None:
            _check_interactions(self, file)
        try:
            load(self, token, dataset_path)
        except UnicodeDecodeError as error:
            raise _undecodable(file, error) from error

    module.Dataset._download, module.Dataset._load_inter_feat = _download, _load_inter_feat


def _check_interactions(dataset, file):
    """RecBole answers a file without the fields that it needs with an error of pandas', or of its own far behind."""
    if not file.is_file():
        raise InputError(_missing(dataset, f"there is no file {file}"))
    config, separator = dataset.config, dataset.config["field_separator"]
    try:
        with open(file, encoding=config["encoding"] or "utf-8", newline="\n") as lines:
            header, row = next(lines, ""), next(lines, "")
    except (UnicodeDecodeError, LookupError) as error:  # LookupError: no encoding is called so
        raise _undecodable(file, error) from error
    if config["MODEL_TYPE"].name not in ("GENERAL", "SEQUENTIAL"):
        return  # of other models no user need be known
    wanted = [dataset.uid_field, dataset.iid_field] + ([dataset.time_field] if config["eval_args"]["order"] == "TO" else [])
    fields = dict(field.rpartition(":")[::2] for field in header.rstrip("\r\n").split(separator))
    if any(fields.get(name) not in ("token", "float") for name in wanted):
        raise InputError(f"{file}, line 1: expected fields as name:type, {separator!r} between them, among them {', '.join(wanted)}, as "
                         f"{wanted[0]}:token; found {header[:200]!r}. Mend the line, or set USER_ID_FIELD, ITEM_ID_FIELD, TIME_FIELD or "
                         "field_separator. dataset_scripts/general.py makes such files.")
    if not row.strip():
        raise InputError(f"{file} has no interactions, but a first line alone. Give the whole file.")


def _undecodable(file, error):
    return InputError(f"{file} cannot be read as text ({error}). Set `encoding`, or save the file in UTF-8.")


@after_import("recbole.data.dataset.sequential_dataset")
def explain_no_targets(module):
    """RecBole answers users of one interaction each with "num_samples should be a positive integer value"."""
    original = module.SequentialDataset.data_augmentation

    @functools.wraps(original)
    def data_augmentation(self):
        if self.time_field not in self.inter_feat:
            raise InputError(f"data set {self.dataset_name!r}: the field {self.time_field!r} is not loaded, but histories need an order. "
                             f"Give the data set's yaml file by --config_files, or load it: --load_col=\"{{'inter': ['{self.uid_field}', "
                             f"'{self.iid_field}', '{self.time_field}']}}\"")
        original(self)
        if len(self.inter_feat) == 0:
            raise InputError(f"data set {self.dataset_name!r}: no user has an item to be predicted from the ones before it. Training and "
                             f"testing need at least 3 interactions of a user; loosen the filters, or use a larger data set.")

    module.SequentialDataset.data_augmentation = data_augmentation


def _missing(dataset, what):
    name = dataset.dataset_name
    return (f"data set {name!r}: {what}. Expected {name}.inter (and {name}.item) in a folder called {name}; set data_path to the folder "
            f"that contains it, as in --data_path=dataset/.")


register("PRORec", "recbole_prorec.model.prorec.PRORec", "recbole_prorec.trainer.prorec.PRORecTrainer")
register("TIGER", "recbole_prorec.model.tiger.TIGER", "recbole_prorec.trainer.tiger.TIGERTrainer")
