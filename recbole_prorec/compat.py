"""What RecBole 1.2.1 needs on current numpy, pandas, scipy, torch and setuptools: one narrow patch for each break.

Above each patch stands what is seen without it. A patch applies when its module is loaded, and only where the break is there.
"""

import copy
import functools
import sys
import types
import warnings

from recbole_prorec.import_hooks import after_import, before_import

CHECKPOINT_READERS = (
    "recbole.trainer.trainer",
    "recbole.model.general_recommender.convncf",
    "recbole.model.general_recommender.nais",
    "recbole.model.general_recommender.neumf",
    "recbole.model.general_recommender.ract",
    "recbole.model.context_aware_recommender.kd_dagfm",
    "recbole.model.sequential_recommender.s3rec",
)
SINE = "recbole.model.sequential_recommender.sine"


class Overlay:
    """A module with a few names replaced, for one file that imports it: everybody else sees the module as it is."""

    def __init__(self, module, **replaced):
        self.__dict__.update(replaced, _module=module)

    def __getattr__(self, name):
        return getattr(self.__dict__["_module"], name)


# numpy >= 1.24: AttributeError "module 'numpy' has no attribute 'float'" from evaluator/metrics.py and data/interaction.py until the first
# Config is built; numpy >= 2: "`np.float_` was removed" from Config itself, "no attribute 'bool8'" from ray.
@after_import("recbole")
def name_numpy_types(_):
    import numpy as np

    names = {"bool": np.bool_, "bool8": np.bool_, "int": np.int_, "long": np.int_, "float": np.float64, "float_": np.float64,
             "complex": np.complex128, "complex_": np.complex128, "object": np.object_, "str": np.str_, "str_": np.str_,
             "unicode": np.str_, "unicode_": np.str_}
    for name in names.keys() - vars(np).keys():
        setattr(np, name, names[name])


# setuptools >= 82: ModuleNotFoundError "No module named 'pkg_resources'" from ray 2, of which RecBole uses one function in one place.
# The stand-in is there only while that file is loaded: whoever else imports ray meets the true error.
@before_import("recbole.quick_start.quick_start")
def stand_in_for_ray():
    try:
        from ray import tune  # noqa: F401
    except (ImportError, AttributeError):
        tune = types.ModuleType("ray.tune")
        tune.report = lambda **metrics: None  # what the true one comes to outside of a ray trial
        ray = types.ModuleType("ray")
        ray.tune, ray.is_stand_in = tune, True
        sys.modules.update({"ray": ray, "ray.tune": tune})


@after_import("recbole.quick_start.quick_start")
def withdraw_stand_in_for_ray(_):
    if getattr(sys.modules.get("ray"), "is_stand_in", False):
        del sys.modules["ray"], sys.modules["ray.tune"]


# torch >= 2.6: UnpicklingError "Weights only load failed ... Unsupported operand 149" from each of RecBole's checkpoints, which are
# pickles and hold its Config. Only RecBole's own reading of a checkpoint trusts the file; torch.load is safe for everybody else.
def load_trusted(file, *args, **kwargs):
    import torch

    return torch.load(file, *args, **{"weights_only": False, **kwargs})


def trust_own_checkpoints(module):
    module.torch = Overlay(module.torch, load=load_trusted)


for _name in CHECKPOINT_READERS:
    after_import(_name)(trust_own_checkpoints)


@after_import("recbole.quick_start.quick_start")
def trust_the_file_of_load_data_and_model(quick_start):
    original = quick_start.load_data_and_model

    @functools.wraps(original)
    def load_data_and_model(model_file):
        import torch  # as the original does inside itself, where no overlay reaches it

        safe = torch.load
        trusting = functools.partial(safe, weights_only=False)
        torch.load = lambda file, *args, **kwargs: (trusting if file is model_file else safe)(file, *args, **kwargs)
        try:
            return original(model_file)
        finally:
            torch.load = safe

    quick_start.load_data_and_model = load_data_and_model


@after_import("recbole.quick_start")
def pass_on_load_data_and_model(package):  # the package has copied the name already if it was loaded before this one
    package.load_data_and_model = package.quick_start.load_data_and_model


# pandas >= 3: ValueError "Length of values (1) does not match length of index" for any data with a token_seq or float_seq field, and for
# benchmark files: Series.agg(len) is the length of the series, no longer those of its elements.
def length_or_lengths(values):
    import pandas as pd

    return values.map(len) if isinstance(values, pd.Series) else len(values)


def mend_series_agg_len(module):
    import pandas as pd

    if int(pd.__version__.split(".")[0]) >= 3:
        module.len = length_or_lengths  # no series of one element's length is taken in these files


for _name in ("dataset", "sequential_dataset", "kg_dataset"):
    after_import(f"recbole.data.dataset.{_name}")(mend_series_agg_len)


# pandas >= 3: feat[field].fillna(inplace=True) fills a copy. No error: the padding row of token columns becomes -9223372036854775808,
# missing floats stay NaN.
@after_import("recbole.data.dataset.dataset")
def mend_fill_nan(module):
    original, kinds = module.Dataset._fill_nan, module.FeatureType

    @functools.wraps(original)
    def _fill_nan(self):
        for feat in [getattr(self, name) for name in self.feat_name_list]:
            for field in feat:
                if self.field2type[field] == kinds.TOKEN:
                    feat[field] = feat[field].fillna(0)
                elif self.field2type[field] == kinds.FLOAT:
                    feat[field] = feat[field].fillna(feat[field].mean())
        original(self)

    module.Dataset._fill_nan = _fill_nan


# pandas >= 3, the same in _load_feat: AttributeError "'float' object has no attribute 'split'" for an empty cell of a *_seq column.
@after_import("recbole.data.dataset.dataset")
def mend_empty_sequence_cells(module):
    import pandas as pd

    def read_csv(*args, **kwargs):
        table = pd.read_csv(*args, **kwargs)
        return table.fillna({column: "" for column in table.columns if column.endswith("_seq")})

    module.pd = Overlay(pd, read_csv=read_csv)
    chained = getattr(pd.errors, "ChainedAssignmentError", None)
    if chained is not None:  # the two patches above have done what these lines only try
        warnings.filterwarnings("ignore", category=chained, module=r"recbole\.data\.dataset\.dataset")


# No break, only noise on every run: pandas >= 3 hands out read-only arrays (RecBole makes tensors of them that it does not write to),
# torch >= 2.4 has a new name for the scaler.
@after_import("recbole")
def keep_quiet(_):
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable", module=r"recbole\.data\.dataset")
    warnings.filterwarnings("ignore", message=r"`torch\.cuda\.amp\.GradScaler", module=r"recbole\.trainer")


# Any version: ValueError "Default process group has not been initialized" after the automatic download of a data set in one process.
@after_import("recbole.data.dataset.dataset")
def wait_only_for_other_processes(module):
    distributed = module.torch.distributed

    def barrier(*args, **kwargs):
        if distributed.is_initialized():
            distributed.barrier(*args, **kwargs)

    module.torch = Overlay(module.torch, distributed=Overlay(distributed, barrier=barrier))


# Any version: FileExistsError "./log" when two runs begin at the same moment in a folder that has no log yet: RecBole looks, then makes.
@after_import("recbole.utils.utils")
def make_folders_beside_others(module):
    module.os = Overlay(module.os, makedirs=functools.partial(module.os.makedirs, exist_ok=True))


# scipy >= 1.13: AttributeError "'dok_matrix' object has no attribute '_update'" from LightGCN, NGCF, NCL, GCMC, SpectralCF, KGIN, MCCLK.
@after_import("recbole.model")
def mend_dok_matrix(_):
    from scipy.sparse import dok_matrix

    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, data: self._dict.update(data)


# Any version: loading SINE, which comes with any sequential model, turns torch's anomaly mode on for the whole process. Every operation
# then notes a stack trace and every gradient is searched for NaN: small networks train at half the speed.
@before_import(SINE)
def note_anomaly_mode():
    import torch

    note_anomaly_mode.wanted = torch.is_anomaly_enabled()


note_anomaly_mode.wanted = False


@after_import(SINE)
def keep_anomaly_mode(module):
    module.torch.autograd.set_detect_anomaly(note_anomaly_mode.wanted)


# Any version: AttributeError "'int' object has no attribute 'cpu'" with ItemCoverage, AveragePopularity, GiniIndex or TailPercentage:
# the collector moves all it holds to the CPU, counts of the data among it.
@after_import("recbole.evaluator.collector")
def mend_collector(module):
    original = module.Collector.get_data_struct

    @functools.wraps(original)
    def get_data_struct(self):
        held = self.data_struct._data_dict
        plain = {name: held.pop(name) for name in list(held) if not hasattr(held[name], "cpu")}
        returned = original(self)
        held.update(plain)
        returned._data_dict.update(copy.deepcopy(plain))
        return returned

    module.Collector.get_data_struct = get_data_struct
