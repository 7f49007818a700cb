"""PRORec for RecBole: importing the package makes RecBole run on current versions and know our models.

One letter per axis, in all comments on shapes:
    B batch   T history   N items, row 0 = padding   D width   L levels   K codes of a level   V vocabulary   M beams
"""

from recbole_prorec import compat, quick_start, registry  # noqa: F401 (each waits for RecBole's modules)
from recbole_prorec.errors import InputError
from recbole_prorec.registry import register

__version__ = "0.1.0"
__all__ = ["InputError", "Recommender", "load", "register", "__version__"]


def __getattr__(name):
    if name not in ("Recommender", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recbole_prorec import inference  # brings torch along, so it waits until somebody asks

    return getattr(inference, name)
