"""Stage 1: collaborative embeddings learned by next-item prediction, while text embeddings are adapted and aligned to them."""

import torch
from torch import nn
from torch.nn import functional as F

from recbole_prorec.errors import InputError
from recbole_prorec.nn.losses import info_nce, item_cross_entropy
from recbole_prorec.nn.seen import seen_before
from recbole_prorec.nn.transformer import Dropout, HistoryEncoder, init_weights


class ModalityAdapter(nn.Module):
    """E_T = AdaLN(W E_S + b): text embeddings [.., D_text] into the space of the collaborative ones [.., D].

    AdaLN is read as LayerNorm with learnable gain and bias (arXiv 2502.06269; known to us from reviews)."""

    def __init__(self, text_size, width):
        super().__init__()
        self.project = nn.Linear(text_size, width)
        self.norm = nn.LayerNorm(width)
        init_weights(self.project)
        nn.init.constant_(self.norm.weight, 0.1)  # as small as the collaborative embeddings it is added to

    def forward(self, text):
        return self.norm(self.project(text))


class AlignmentModel(nn.Module):
    """The joint objective of stage 1, L_next_item + alignment_weight * L_align (arXiv 2502.06269).

    Next-item prediction is a causal self-attention encoder with full softmax on every position (in the place of the paper's DIN).

    Args:
        n_items: with padding. text_size: D_text. width: D. temperature: of InfoNCE. text_dropout: on the raw text embeddings.
        collaborative_dropout: share of the items that a training step knows by their texts alone, where text_as_input: E_C learns faster
            than the adaptation layer, and without it leaves little to what carries over to items with few interactions (ours).
        text_as_input: whether an item is E_C + E_T to the encoder and the softmax, or E_C alone, so that text acts through the alignment.
        encoder: n_layers, n_heads, inner_size, max_length, attention_dropout, hidden_dropout, adds_sum of the causal encoder.
    """

    def __init__(self, n_items, text_size, width, temperature, text_dropout, collaborative_dropout, text_as_input, encoder):
        super().__init__()
        self.temperature, self.text_as_input, self.collaborative_dropout = temperature, text_as_input, collaborative_dropout
        self.collaborative = nn.Embedding(n_items, width, padding_idx=0)
        self.adapter = ModalityAdapter(text_size, width)
        self.text_dropout = Dropout(text_dropout)
        self.encoder = HistoryEncoder(width, **encoder)
        nn.init.normal_(self.collaborative.weight, std=0.02)
        with torch.no_grad():
            self.collaborative.weight[0] = 0

    def set_text_size(self, text_size):
        """A new adaptation layer, for text embeddings of another size than the one built for."""
        device = self.collaborative.weight.device
        self.adapter = ModalityAdapter(text_size, self.collaborative.embedding_dim).to(device)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        weight = state_dict.get(prefix + "adapter.project.weight")
        if weight is not None and weight.shape[1] != self.adapter.project.in_features:
            self.set_text_size(weight.shape[1])  # a checkpoint brings the size of its text embeddings along
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def adapted(self, text):
        """Text embeddings [n_items, D_text] -> E_T [n_items, D], row 0 zero."""
        adapted = self.adapter(self.text_dropout(text))
        return adapted * (torch.arange(len(text), device=text.device) > 0).unsqueeze(1)

    def item_table(self, adapted):
        """What the encoder reads and scores [n_items, D], from E_T."""
        collaborative = self.collaborative.weight
        if not self.text_as_input:
            return collaborative
        if self.training and self.collaborative_dropout:
            collaborative = collaborative * (torch.rand(len(adapted), 1, device=adapted.device) >= self.collaborative_dropout)
        return collaborative + adapted

    def forward(self, inputs, table):
        """inputs [B, T] item ids, padded behind -> user states [B, T, D]."""
        return self.encoder(F.embedding(inputs, table))

    def losses(self, inputs, targets, text, exclude_seen=False):
        """inputs, targets [B, T] (target 0: not asked for) -> (L_next_item, L_align). exclude_seen: whether the items of the history are
        no answers."""
        adapted = self.adapted(text)
        table = self.item_table(adapted)
        wanted = targets > 0
        seen = seen_before(inputs, targets) if exclude_seen else None
        next_item = item_cross_entropy(self(inputs, table)[wanted], table, targets[wanted], seen)
        items = targets[wanted].unique()
        return next_item, info_nce(self.collaborative.weight[items], adapted[items], self.temperature)

    @torch.no_grad()
    def embeddings(self, text):
        """Final (E_C, E_T), each [n_items, D]. Call in eval mode."""
        return self.collaborative.weight.detach().clone(), self.adapted(text)


def integrated_embedding(kind, collaborative, adapted, text):
    """What is quantized, [n_items, .].

    sum: E_C + E_T, what stage 1 scores with, so that its products with the states are what the codes keep. concat: both halves
    normalised, side by side, the reading of the paper's third version; collaborative: E_C, of its first. semantic: the raw text embedding,
    as TIGER. naive_concat: raw E_C and raw text side by side, the combination that the paper argues against.
    """
    if kind == "concat":
        return torch.cat([F.normalize(collaborative, dim=1), F.normalize(adapted, dim=1)], dim=1)
    if kind == "naive_concat":
        return torch.cat([collaborative, text], dim=1)
    single = {"collaborative": collaborative, "semantic": text, "sum": collaborative + adapted}
    if kind not in single:
        raise InputError(f"integrated_embedding is {kind!r}; expected sum, concat, collaborative, semantic or naive_concat.")
    return single[kind]
