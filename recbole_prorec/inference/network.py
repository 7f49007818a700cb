"""A trained model as it is stored, and its network out of that."""

from dataclasses import dataclass

import torch
from torch import nn

from recbole_prorec.errors import InputError
from recbole_prorec.model.ranking import PRORecRanking, encoder_arguments
from recbole_prorec.nn.transformer import HistoryEncoder
from recbole_prorec.tokenizer.semantic_ids import SemanticIds

# What the network and its ranking are built from, what item texts are made by, and how new items get their codes.
SETTINGS = ("MAX_ITEM_LIST_LENGTH", "hidden_size", "n_layers", "n_heads", "inner_size", "hidden_dropout_prob", "attn_dropout_prob",
            "history_sum", "alignment_input", "decoder_size", "decoder_layers", "decoder_heads", "decoder_inner_size",
            "decoder_dropout_prob", "ranking", "fusion_scope", "beam_size", "text_template", "ITEM_ID_FIELD", "field_separator",
            "encoding", "text_encoder", "text_embedding_file", "integrated_embedding", "quantizer")
ADAPTER = "aligner.adapter."


@dataclass
class StoredModel:
    """What a checkpoint or an export holds.

    Args:
        model: its name. settings: {name: value} of SETTINGS. item_keys: [n_items], row 0 padding. weights: {name: tensor}, codes included.
        adaptation: what new items need, {name: tensor}: the frozen `codebooks`, the weights of stage 1's adaptation layer, and `n_trained`,
            the items that were trained on, padding included. A model of before has but a part of it, or nothing.
    """

    model: str
    settings: dict
    item_keys: tuple
    weights: dict
    adaptation: dict

    @property
    def codebook_size(self):
        return len(self.weights["generator.decoder.output.0.weight"])


class PRORecNetwork(PRORecRanking, nn.Module):
    """What PRORec needs in order to rank: of stage 1 the encoder alone, and no RecBole."""

    def __init__(self, settings, n_items, n_levels, codebook_size):
        super().__init__()
        self.n_items, self.n_levels, self.codebook_size = n_items, n_levels, codebook_size
        self.beam_size = min(settings["beam_size"], n_items - 1)
        self.aligner = nn.ModuleDict({"encoder": HistoryEncoder(settings["hidden_size"], **encoder_arguments(settings))})
        self.add_ranking(settings)


NETWORKS = {"PRORec": PRORecNetwork}


def check_known(model, source):
    if model not in NETWORKS:
        raise InputError(f"{source} holds a trained {model}; expected {' or '.join(NETWORKS)}. Give a checkpoint of one of these.")


def build(stored, source):
    """The network of a `StoredModel`, in evaluation mode. source: the file to be named in an error."""
    try:
        n_levels = stored.weights["codes"].shape[1]
        network = NETWORKS[stored.model](stored.settings, len(stored.item_keys), n_levels, stored.codebook_size)
        wanted = network.state_dict().keys()
        network.load_state_dict({name: tensor for name, tensor in stored.weights.items() if name in wanted})
        SemanticIds(stored.item_keys, network.codes.numpy(), stored.codebook_size)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # RuntimeError is torch's word for weights of other names and shapes
        raise InputError(f"{source} cannot be made into a {stored.model}: {_first_lines(error)}. It is damaged, or of another version of "
                         "recbole_prorec; make it again with this one.") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
        raise InputError(f"{source} has weights that are no numbers; train the model again, with a lower learning_rate perhaps.")
    return network.eval()


def _first_lines(error, n_lines=2):
    return " ".join(line.strip() for line in str(error).splitlines()[:n_lines]).rstrip(".:")
