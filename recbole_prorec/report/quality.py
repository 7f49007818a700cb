"""How well the test items are found, by kinds of items and users, and where the beam loses them."""

import numpy as np
import torch

from recbole_prorec.generation.beam_search import beam_search

N_GROUPS = 5
BATCH_SIZE = 256


def recommended(recommender, histories, k):
    """Item ids [U, k] of the best recommendations, 0 behind the last where a history leaves fewer than k."""
    keys, _ = recommender.rank(histories, k)
    return np.array([[recommender.item_id[key] for key in row] + [0] * (k - len(row)) for row in keys])


def recall_and_ndcg(lists, targets):
    """Of one target each: recall [U], whether it is in the list; ndcg [U], 1 / log2(1 + its place)."""
    hits = lists == targets[:, None]
    return hits.any(1).astype(float), (hits / np.log2(np.arange(2, hits.shape[1] + 2))).sum(1)


def by_group(values, recall, ndcg):
    """Metrics of the users in groups of as equal size as ties allow, by `values` [U]: rows of numbers."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, N_GROUPS + 1), method="lower"))
    group = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    return [{"from": int(values[group == g].min()), "to": int(values[group == g].max()), **metrics(recall[group == g], ndcg[group == g])}
            for g in np.unique(group)]


def metrics(recall, ndcg):
    """Means with standard errors (of the mean, from the spread over users; none of a single user)."""
    row = {"users": len(recall)}
    for name, values in (("recall", recall), ("ndcg", ndcg)):
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        row |= {name: float(values.mean()), f"{name}_error": error}
    return row


class Prefixes:
    """A trie cut off below `length` levels: its leaves are the prefixes, so that the search over it ends as the beam stands there."""

    def __init__(self, trie, length):
        self.levels, self.n_levels, self.log_probs = trie.levels[:length], length, trie.log_probs
        is_whole = length == trie.n_levels
        nodes = trie.item_leaf if is_whole else trie.path_node[:, length]
        self.leaf_item = torch.arange(1, int(nodes.max()) + 2, device=nodes.device)  # node + 1, because 0 says that there is none
        self.item_prefix = nodes + 1


@torch.inference_mode()
def beam_survival(recommender, cases):
    """[U, L] whether the prefix of the target is in the beam behind every level."""
    network = recommender.network
    prefixes = [Prefixes(network.trie, length) for length in range(1, network.n_levels + 1)]
    rows = []
    for first in range(0, len(cases.targets), BATCH_SIZE):
        batch = slice(first, first + BATCH_SIZE)
        states, closed = _states(recommender, cases.histories[batch])
        targets = torch.from_numpy(cases.targets[batch]).to(states.device)
        rows.append(torch.stack([_found(network, states, prefix, closed, targets) for prefix in prefixes], dim=1).cpu().numpy())
    return np.concatenate(rows)


def beam_numbers(survives):
    """Per level: the share of users whose target is still in the beam, and the share that is lost at this very level."""
    left = survives.mean(0)
    lost = -np.diff(left, prepend=1.0)
    return [{"level": level + 1, "in_beam": float(share), "lost_here": float(gone)} for level, (share, gone) in enumerate(zip(left, lost))]


def _states(recommender, histories):
    latest = [torch.tensor(history[-recommender.max_length:]) for history in histories]
    lengths = torch.tensor([len(history) for history in latest], device=recommender.device)
    inputs = torch.nn.utils.rnn.pad_sequence(latest, batch_first=True).to(recommender.device)
    return recommender.network.user_states(inputs, lengths), recommender.network.closed_paths(inputs)


def _found(network, states, prefix, closed, targets):
    found, _ = beam_search(network.decoder, states, prefix, network.beam_size, closed)
    return (found == prefix.item_prefix[targets].unsqueeze(1)).any(1)
