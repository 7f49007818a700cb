"""Which settings and metrics there are. RecBole passes over a setting that it does not know: a slip of the pen would be trained with."""

import difflib
import functools
import importlib
import re
from pathlib import Path

import yaml

from recbole_prorec.errors import InputError
from recbole_prorec.registry import check_names_of_metrics, properties_folder

READ = re.compile(r"""config\[\s*["'](\w+)["']\s*\]|config\.(\w+)|["'](\w+)["'] (?:not )?in (?:self\.)?config\b""")
PREFIX = re.compile(r"""key\.startswith\(["'](\w+)["']\)""")  # of settings that a model hands on to another one that it is made of


def check_names_of_settings(settings, models):
    """Raise InputError for a setting that neither RecBole nor one of the models reads."""
    known = set().union(*map(settings_of, models))
    prefixes = tuple(found for model in models for source in _sources(model) for found in PREFIX.findall(source))
    for name in settings:
        if name not in known and not str(name).startswith(prefixes):
            near = difflib.get_close_matches(str(name), sorted(known), n=1)
            hint = f"Did you mean {near[0]}?" if near else "Its yaml file under properties/model/ lists what it reads."
            raise InputError(f"{name!r} is no setting of {' or '.join(dict.fromkeys(models))}, nor of RecBole's own. {hint}")


def check_flags(settings, files, model):
    """Raise InputError for one of `settings`, ["--key=value", ...], that RecBole cannot read or nothing reads, which is a slip, or for a
    file of --config_files that cannot be read; what a file brings along may be for others, and a flag may change it."""
    _check_form(settings)
    brought = set().union(*map(_names_in, files))
    names = (setting[2:].partition("=")[0] for setting in settings)
    check_names_of_settings([name for name in names if name not in brought], [model])


def _check_form(settings):
    """RecBole passes over what it cannot read with a warning, and trains without it."""
    names = set()
    for setting in settings:
        if not setting.startswith("--") or setting.count("=") != 1:
            raise InputError(f"expected settings as --key=value, got {setting!r}. Write key and value as one word; a value with '=' in it "
                             f"goes into a yaml file, passed by --config_files.")
        name = setting.partition("=")[0]
        if name in names:
            raise InputError(f"{name} is given twice. Leave one out.")
        names.add(name)


def _names_in(file):
    """Names of the settings of a file that is passed by --config_files."""
    try:
        found = yaml.load(Path(file).read_text(encoding="utf-8"), Loader=yaml.FullLoader)  # RecBole's
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not utf-8; a date such as 2019-02-30
        raise InputError(f"--config_files: {file} cannot be read ({' '.join(str(error).split())}). Expected yaml files, separated by "
                         "blanks.") from error
    if not isinstance(found, dict):
        raise InputError(f"--config_files: {file} holds {type(found).__name__}; expected settings as key: value.")
    return found.keys()


@functools.lru_cache(maxsize=None)
def settings_of(model):
    """The names of all settings that a run of this model can read."""
    import recbole
    from recbole.utils import argument_list

    ours = properties_folder()
    stock = Path(recbole.__file__).parent / "properties"
    files = [stock / "overall.yaml", *stock.glob("dataset/*.yaml"), *stock.glob("quick_start_config/*.yaml"),
             stock / "model" / f"{model}.yaml", ours / "model" / f"{model}.yaml", *ours.glob("dataset/*.yaml")]
    names = {name for key, names in vars(argument_list).items() if key.endswith("_arguments") for name in names}
    names.update(name for source in (*_sources(model), *_sources_of_recbole()) for found in READ.findall(source) for name in found if name)
    return names.union(*(_keys(file) for file in files if file.is_file()))


def _sources(model):
    """The source texts of the model and of what it is derived from: some settings stand in no yaml file."""
    from recbole.utils import get_model

    try:
        classes = get_model(model).__mro__
    except ImportError:  # of a package that the model needs: its training will say so
        return []
    files = {getattr(importlib.import_module(cls.__module__), "__file__", None) for cls in classes if cls.__module__ != "builtins"}
    return [_read(file) for file in sorted(filter(None, files)) if "torch" not in Path(file).parts]


@functools.lru_cache(maxsize=None)
def _sources_of_recbole():
    """The source texts of RecBole without its models."""
    import recbole

    return [_read(file) for file in sorted(Path(recbole.__file__).parent.rglob("*.py")) if not file.parent.name.endswith("_recommender")]


@functools.lru_cache(maxsize=None)
def _read(file):
    return Path(file).read_text(encoding="utf-8")


def _keys(file):
    return (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).keys()


def check_metrics(metrics, topk):
    """Raise InputError unless RecBole can compute them from ranked lists."""
    check_names_of_metrics(metrics, of_ranked_lists=True)
    if not topk or not all(type(k) is int and k > 0 for k in topk):
        raise InputError(f"topk is {topk!r}; expected a list of integers above 0.")
