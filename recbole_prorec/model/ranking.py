"""How a trained model ranks, in plain torch: the recommenders inside RecBole and those that run without it share every line of it.
Axes: B users, T history, M items of a list, D width."""

import contextlib

import numpy as np
import torch
from torch.nn import functional as F

from recbole_prorec.generation.beam_search import ClosedPaths, beam_search, exact_search, score_all
from recbole_prorec.generation.generator import Generator
from recbole_prorec.generation.trie import Trie

SCORED_AT_ONCE = 64  # users for whom all items count: bounds memory, and what is small is fast


class CodeRanking:
    """The codes of a torch module as a buffer, and lists of items by beam search.

    The module has n_items, n_levels, codebook_size, beam_size and a `decoder`.
    """

    _trie = None

    def add_codes(self):
        """The buffer of codes, filled with placeholders, so that an untrained model works."""
        self.register_buffer("codes", placeholder_codes(self.n_items, self.n_levels, self.codebook_size))
        self.register_load_state_dict_post_hook(_forget)

    def forget(self):
        """Drop what is derived from parameters and buffers."""
        self._trie = None

    def _apply(self, fn, recurse=True):  # every move to another device or dtype comes through here
        self.forget()
        return super()._apply(fn, recurse)

    @property
    def trie(self):
        if self._trie is None:
            self._trie = Trie(self.codes)
        return self._trie

    @property
    def is_exhaustive(self):
        """Whether the best of all items are found, so that a list may be longer than the beam."""
        return False

    def beam_scores(self, states):
        """Log-probabilities of the beam's items, -inf elsewhere: [B, n_items]."""
        return self._scatter(*beam_search(self.decoder, states, self.trie, self.beam_size))

    def _scatter(self, items, scores):
        return scores.new_full((len(items), self.n_items), float("-inf")).scatter_(1, items, scores)


class PRORecRanking(CodeRanking):
    """PRORec's network of stage 2, the embeddings that stage 1 made, and both of its rankings. The module has stage 1's encoder too, as
    `aligner.encoder`: fused ranking is by both stages."""

    _table = _integrated = _beams = None

    def add_ranking(self, settings, exclude_seen=False):
        """settings: those of properties/model/PRORec.yaml, by name. exclude_seen: whether items of the history are no answers; what is
        loaded later says it too."""
        width, self.ranking, self.fusion_scope = settings["hidden_size"], settings["ranking"], settings["fusion_scope"]
        self.text_as_input = settings["alignment_input"] == "both"
        decoder = {"n_layers": settings["decoder_layers"], "n_heads": settings["decoder_heads"],
                   "inner_size": settings["decoder_inner_size"], "attention_dropout": settings["decoder_dropout_prob"],
                   "hidden_dropout": settings["decoder_dropout_prob"]}
        self.generator = Generator(self.n_levels, self.codebook_size, width, encoder_arguments(settings), settings["decoder_size"], decoder)
        self.register_buffer("aligned", torch.zeros(self.n_items, 2 * width))
        self.add_codes()
        self.register_buffer("fusion_weight", torch.tensor(1.0))
        self.register_buffer("exclude_seen", torch.tensor(exclude_seen))

    def forget(self):
        super().forget()
        self._table = self._integrated = None

    def train(self, mode=True):
        self._table = None
        return super().train(mode)

    @property
    def decoder(self):
        return self.generator.decoder

    @property
    def is_exhaustive(self):
        return self.ranking == "fused" and self.fusion_scope == "all"

    @property
    def integrated(self):
        """What stage 1 reads and scores, [n_items, D]: E_C + E_T, or with `alignment_input: collaborative` E_C. Computed once."""
        if self._integrated is None:
            collaborative, adapted = self.aligned.chunk(2, dim=1)
            self._integrated = collaborative + adapted if self.text_as_input else collaborative
        return self._integrated

    def item_table(self):
        """What the encoder reads [n_items, D]; computed once in evaluation."""
        if self.training or torch.is_grad_enabled():  # a kept table would hold a graph, and no model with one can be copied
            return self.make_table()
        if self._table is None:
            self._table = self.make_table().detach()  # E_C alone is a Parameter, and torch would register it under this name too
        return self._table

    def make_table(self):
        return self.generator.item_table(self.codes, self.aligned)

    def user_states(self, inputs, lengths):
        """inputs [B, T] item ids padded behind, lengths [B] -> the user states behind the last items [B, D]."""
        return last(self.generator(F.embedding(inputs[:, : int(lengths.max())], self.item_table())), lengths)

    def stage1_states(self, inputs, lengths):
        """The same by stage 1."""
        return last(self.aligner.encoder(F.embedding(inputs[:, : int(lengths.max())], self.integrated)), lengths)

    def best(self, inputs, lengths, size, exclude_seen=None):
        """The `size` best items that are found of every user, best first: items [B, M] and scores [B, M], as of `rank`. inputs [B, T],
        lengths [B]. exclude_seen: None is what the model was trained for."""
        if self.is_exhaustive:
            return self._best_of_all(inputs, lengths, size, exclude_seen)
        items, scores = self._beam(inputs, lengths, size, exclude_seen)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return items.gather(1, order), scores

    def rank(self, inputs, lengths):
        """Scores [B, n_items] by `ranking` and `fusion_scope`, -inf for items that are not ranked."""
        find = self._best_of_all if self.is_exhaustive else self._beam
        return self._scatter(*find(inputs, lengths, self.beam_size))

    def exact_scores(self, inputs, lengths, exclude_seen=None):
        """Scores of all items by `ranking`, as a beam that holds them all would give them: [B, n_items], -inf for padding and for what is
        excluded."""
        scores = self.code_scores(self.user_states(inputs, lengths))
        if self.ranking == "fused":  # padding stays -inf: 0 x -inf is nan
            scores[:, 1:] += self.fusion_weight * self.stage1_log_probs(inputs, lengths)[:, 1:]
        return self.without_seen(scores, inputs, exclude_seen)

    def without_seen(self, scores, inputs, exclude_seen=None):
        """Scores [B, n_items], -inf for the items of each history [B, T] if they are excluded; None is what the model was trained for."""
        return scores.scatter(1, inputs, float("-inf")) if self.excludes(exclude_seen) else scores

    def stage1_log_probs(self, inputs, lengths):
        """log p(item | history) by stage 1: [B, n_items]; -inf for padding."""
        scores = self.stage1_scores(inputs, lengths)
        scores[:, 0] = float("-inf")
        return scores.log_softmax(-1)

    def stage1_scores(self, inputs, lengths):
        """The same up to a constant per user, and with a score of padding: [B, n_items]."""
        return self.stage1_states(inputs, lengths) @ self.integrated.T

    @contextlib.contextmanager
    def kept_beams(self):
        """Within the block no states are searched twice, while neither the network nor the codes change: for rankings of the same beams."""
        self._beams = {}
        try:
            yield
        finally:
            self._beams = None

    def closed_paths(self, inputs, exclude_seen=None):
        """To the items of each history [B, T] if they are excluded, else None; None is what the model was trained for."""
        return ClosedPaths(self.trie, inputs) if self.excludes(exclude_seen) else None

    def excludes(self, exclude_seen=None):
        """Whether items of the history are no answers; None is what the model was trained for."""
        return self.exclude_seen if exclude_seen is None else exclude_seen

    def _search(self, states, size, closed):
        if self._beams is None:
            return beam_search(self.decoder, states, self.trie, size, closed)
        key = size, states.cpu().numpy().tobytes()
        if key not in self._beams:
            self._beams[key] = beam_search(self.decoder, states, self.trie, size, closed)
        return self._beams[key]

    def _beam(self, inputs, lengths, size, exclude_seen=None):
        items, scores = self._search(self.user_states(inputs, lengths), size, self.closed_paths(inputs, exclude_seen))
        if self.ranking == "fused":  # log p(item) of stage 1 up to a constant per user, at a cost independent of the catalogue
            scores = scores + self.fusion_weight * torch.einsum("bd,bmd->bm", self.stage1_states(inputs, lengths), self.integrated[items])
        return items, scores

    def _best_of_all(self, inputs, lengths, size, exclude_seen=None):
        """As `_beam`, of all items."""
        found = []
        for some, n in zip(inputs.split(SCORED_AT_ONCE), lengths.split(SCORED_AT_ONCE)):
            prior = self.without_seen(self.fusion_weight * self.stage1_scores(some, n), some, exclude_seen)
            found.append(exact_search(self.decoder, self.user_states(some, n), self.trie, prior, size))
        return [torch.cat(parts) for parts in zip(*found)]

    def code_scores(self, states):
        """Exact log-probabilities of all items: [B, n_items]."""
        return torch.cat([score_all(self.decoder, some, self.trie) for some in states.split(SCORED_AT_ONCE)])


def encoder_arguments(settings):
    """The causal encoder of both stages, from the settings by name."""
    return {"n_layers": settings["n_layers"], "n_heads": settings["n_heads"], "inner_size": settings["inner_size"],
            "max_length": settings["MAX_ITEM_LIST_LENGTH"], "attention_dropout": settings["attn_dropout_prob"],
            "hidden_dropout": settings["hidden_dropout_prob"], "adds_sum": settings["history_sum"]}


def last(states, lengths):
    """states [B, T, D] at the last item of each history: [B, D]."""
    return states[torch.arange(len(states), device=states.device), lengths - 1]


def _forget(module, incompatible_keys):
    """A hook of torch's; a function of the file, because a lambda could not be pickled with the module."""
    module.forget()


def placeholder_codes(n_items, n_levels, codebook_size):
    """The digits of the item id, [n_items, L]: unique codes before there are real ones."""
    ids, digits = np.maximum(np.arange(n_items) - 1, 0), []
    for _ in range(n_levels):  # step by step: a power of the codebook_size may be more than 64 bits hold
        ids, digit = np.divmod(ids, codebook_size)
        digits.insert(0, digit)
    return torch.from_numpy(np.stack(digits, axis=1))
