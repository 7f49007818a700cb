"""What the models read from RecBole's config, refused before any training where it cannot work."""

import math

from recbole_prorec.errors import InputError
from recbole_prorec.tokenizer.quantizer import QUANTIZERS
from recbole_prorec.tokenizer.residual_kmeans import fitting_codebook_size

COMMON_CHOICES = {"loss_type": ("CE",), "quantizer": QUANTIZERS, "learning_rate_decay": ("cosine", "none")}
LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")  # RecBole's, without that of sparse gradients, which no parameter of ours has
CHOICES = {"ranking": ("generative", "fused", "stage1"), "fusion_scope": ("beam", "all"), "alignment_input": ("both", "collaborative"),
           "integrated_embedding": ("sum", "concat", "collaborative", "semantic", "naive_concat"), "exclude_seen": ("auto", True, False),
           "history_sum": (True, False), **COMMON_CHOICES}
TIGER_CHOICES = {"backbone": ("encoder_decoder", "causal"), **COMMON_CHOICES}
COMMON_AT_LEAST = {"n_levels": 1, "codebook_size": 2, "rqvae_epochs": 1, "beam_size": 1, "n_layers": 1, "n_heads": 1, "hidden_size": 1,
                   "decoder_layers": 1, "window_stride": 1, "MAX_ITEM_LIST_LENGTH": 1, "text_batch_size": 1, "epochs": 0,
                   "stopping_step": 0, "eval_step": 0}
AT_LEAST = {**COMMON_AT_LEAST, "decoder_heads": 1, "decoder_size": 1, "inner_size": 1, "decoder_inner_size": 1, "alignment_epochs": 1,
            "alignment_stopping_step": 0, "text_embedding_size": 1}
MOST = {"alignment_weight": math.inf, "distillation_weight": 1, "text_whitening": 1}  # and at least 0
TIGER_AT_LEAST = {**COMMON_AT_LEAST, "head_size": 1, "inner_size": 1}
TEXTS = {"text_template": True, "text_encoder": False, "text_embedding_file": True, "cache_dir": False}  # name: whether it may be empty
COMMON_DROPOUTS = ("hidden_dropout_prob", "attn_dropout_prob", "decoder_dropout_prob")
DROPOUTS = (*COMMON_DROPOUTS, "text_dropout_prob", "collaborative_dropout_prob")
RATES = ("learning_rate", "warm_learning_rate", "alignment_learning_rate")


def check_settings(config, n_items):
    """Raise InputError for the first of PRORec's settings that cannot work with a catalogue of n_items (padding included)."""
    _check_values(config, CHOICES, AT_LEAST, DROPOUTS)
    for name, most in MOST.items():
        if not _is_number(config[name]) or not 0 <= config[name] <= most:
            raise InputError(f"{name} is {config[name]!r}; expected a number from 0 {'on' if most == math.inf else f'to {most}'}.")
    _check_positive(config, ("alignment_temperature", *RATES))
    for width, heads in (("hidden_size", "n_heads"), ("decoder_size", "decoder_heads")):
        if config[width] % config[heads]:
            raise InputError(f"{width} {config[width]} is no multiple of {heads} {config[heads]}; choose one that is.")
    _check_common(config, n_items)


def check_tiger_settings(config, n_items):
    """The same for TIGER's."""
    _check_values(config, TIGER_CHOICES, TIGER_AT_LEAST, COMMON_DROPOUTS)
    _check_positive(config, ("learning_rate",))
    _check_common(config, n_items)


def _check_values(config, choices, at_least, dropouts):
    for name, known in choices.items():
        if config[name] not in known:
            raise InputError(f"{name} is {config[name]!r}; expected one of {', '.join(map(str, known))}.")
    for name, least in at_least.items():
        if type(config[name]) is not int or config[name] < least:
            raise InputError(f"{name} is {config[name]!r}; expected a whole number of at least {least}.")
    for name in dropouts:
        if not _is_number(config[name]) or not 0 <= config[name] < 1:
            raise InputError(f"{name} is {config[name]!r}; a dropout rate lies in [0, 1).")


def _check_positive(config, names):
    for name in names:
        if not _is_number(config[name]) or not config[name] > 0:
            raise InputError(f"{name} is {config[name]!r}; expected a number above 0.")


def _is_number(value):
    return type(value) in (int, float)


def _check_common(config, n_items):
    for name, may_be_empty in TEXTS.items():
        if not isinstance(config[name], str) and not (may_be_empty and config[name] is None):
            raise InputError(f"{name} is {config[name]!r}; expected text. In a yaml file write it in quotes.")
    if not _is_number(config["average_decay"]) or not 0 <= config["average_decay"] < 1:
        raise InputError(f"average_decay is {config['average_decay']!r}; the decay of a moving average lies in [0, 1), 0 for no average.")
    if str(config["learner"]).lower() not in LEARNERS:
        raise InputError(f"learner is {config['learner']!r}; expected one of {', '.join(LEARNERS)}.")
    if not _is_number(config["weight_decay"]) or not config["weight_decay"] >= 0:
        raise InputError(f"weight_decay is {config['weight_decay']!r}; expected a number from 0 on.")
    if config["clip_grad_norm"] and not isinstance(config["clip_grad_norm"], dict):
        raise InputError(f"clip_grad_norm is {config['clip_grad_norm']!r}; expected a dictionary, such as {{'max_norm': 5}}.")
    if config["backbone"] != "encoder_decoder" and config["window_stride"] > config["MAX_ITEM_LIST_LENGTH"]:
        raise InputError(f"window_stride {config['window_stride']} is above MAX_ITEM_LIST_LENGTH {config['MAX_ITEM_LIST_LENGTH']}: "
                         "targets would be left out. Set it to that length or less.")
    if not config["single_spec"]:
        raise InputError(f"{config['model']} trains in one process, but nproc or world_size asks for several. Run it with --nproc=1.")
    _check_ranking(config, n_items)
    _check_codes(config, n_items)


def _check_ranking(config, n_items):
    metrics, modes = map(str.lower, as_list(config["metrics"])), config["eval_args"]["mode"].values()
    if "gauc" in metrics and "full" in modes and config["ranking"] != "stage1":
        raise InputError("metrics asks for GAUC, which needs a score of every item, and lists of generated items have none of the others. "
                         "Leave GAUC out" + (", or set ranking to stage1." if config["ranking"] else "."))
    largest = max(as_list(config["topk"]))
    if config["beam_size"] < largest:
        raise InputError(f"beam_size {config['beam_size']} is below the largest topk {largest}: the beam could not fill the list. "
                         f"Set beam_size to {largest} or more.")
    if n_items < 3:
        raise InputError("the catalogue has one item alone, of which nothing is to be learned. Loosen the filters "
                         "(item_inter_num_interval, user_inter_num_interval), or use a larger data set.")
    if n_items - 1 < largest:
        raise InputError(f"the catalogue has {n_items - 1} items, but topk asks for {largest}. Lower topk, or loosen the filters "
                         "(item_inter_num_interval, user_inter_num_interval).")


def as_list(value):
    return value if isinstance(value, list) else [value]


def _check_codes(config, n_items):
    size = fitting_codebook_size(config["codebook_size"], n_items - 1)
    n_codes = size ** (config["n_levels"] + 1)
    if n_codes < n_items - 1:
        raise InputError(f"{config['n_levels']} levels of {size} codes and one more against collisions name {n_codes} items at most, but "
                         f"the catalogue has {n_items - 1}. Raise n_levels or codebook_size.")
