"""Which settings and metrics there are. RecBole passes over a setting that it does not know: a slip of the pen would be compared."""

import difflib
import functools
from pathlib import Path

import yaml

from recbole_prorec.errors import InputError
from recbole_prorec.registry import properties_folder


def check_names_of_settings(settings, models):
    """Raise InputError for a setting that neither RecBole nor one of the models reads."""
    known = set().union(*map(settings_of, models))
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(str(name), known)
            hint = f"Did you mean {' or '.join(near)}?" if near else "Its yaml file under properties/model/ lists what it reads."
            raise InputError(f"{name!r} is no setting of {' or '.join(dict.fromkeys(models))}, nor of RecBole's own. {hint}")


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
    return names.union(*(_keys(file) for file in files if file.is_file()))


def _keys(file):
    return (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).keys()


def check_metrics(metrics, topk):
    """Raise InputError unless RecBole can compute them from ranked lists."""
    from recbole.evaluator.register import metric_types, metrics_dict
    from recbole.utils import EvaluatorType

    ranking = sorted(cls.__name__ for name, cls in metrics_dict.items() if metric_types[name] == EvaluatorType.RANKING)
    for metric in metrics:
        if str(metric).lower() not in {name.lower() for name in ranking}:
            raise InputError(f"RecBole has no metric of ranked lists called {metric!r}; expected some of {', '.join(ranking)}.")
    if not topk or not all(type(k) is int and k > 0 for k in topk):
        raise InputError(f"topk is {topk!r}; expected a list of integers above 0.")
