"""Recall and NDCG of the items that users took, by any way of scoring all items. Axes: B users, N items, of which item 0 is padding.

Items of a history are no candidates, whatever the way: a user's own items are the nearest neighbours of their mean text."""

import numpy as np
import torch
from torch.nn import functional as F

from recbole_prorec.compare.ranks import metric_per_user

TOPK = (5, 10, 20)
LATEST = 5  # items of a history whose mean text embedding the nearest-neighbour baseline asks for
BATCH_SIZE = 256


@torch.inference_mode()
def measure(ways, asked, among):
    """way -> {metric: mean over users}, with "random" beside the ways.

    Args:
        ways: name -> function, histories (lists of item ids) -> scores [B, N]. asked: [(history, target), ...] in item ids.
        among: [N] the candidates, as a mask.
    """
    ranks, n_candidates = {way: [] for way in ways}, []
    for first in range(0, len(asked), BATCH_SIZE):
        histories, targets = zip(*asked[first : first + BATCH_SIZE])
        allowed = candidates(histories, targets, among)
        n_candidates.append(allowed.sum(1))
        for way, score in ways.items():
            ranks[way].append(ranks_of(score(histories), torch.tensor(targets), allowed))
    return {**{way: metrics_of(torch.cat(found)) for way, found in ranks.items()}, "random": metrics_of_chance(torch.cat(n_candidates))}


def candidates(histories, targets, among):
    """[B, N]: what is left of `among` without each history, but always with the target."""
    allowed = among.repeat(len(targets), 1)
    for row, (history, target) in enumerate(zip(histories, targets)):
        allowed[row, list(history)] = False
        allowed[row, target] = True
    allowed[:, 0] = False
    return allowed


def ranks_of(scores, targets, allowed):
    """How many candidates stand before each target, and how many beside it at the same score: [B, 2]."""
    own = scores.gather(1, targets.unsqueeze(1))
    return torch.stack([((scores > own) & allowed).sum(1), ((scores == own) & allowed).sum(1) - 1], dim=1)


def metrics_of(ranks):
    """Of `ranks_of`, expected over all orders of those beside."""
    above, tied = ranks.numpy().T
    return _named(lambda k: [metric_per_user(name, k, above, tied).mean() for name in ("recall", "ndcg")])


def metrics_of_chance(n_candidates):
    """The expectation of a random order, in which every rank of n is as likely."""
    n = n_candidates.double()
    total = torch.cat([torch.zeros(1), (1 / torch.log2(torch.arange(max(TOPK)) + 2.0)).cumsum(0)]).double()
    return _named(lambda k: ((n.clamp(max=k) / n).mean(), (total[n_candidates.clamp(max=k)] / n).mean()))


def _named(recall_and_ndcg):
    return {f"{name}@{k}": float(value) for k in TOPK for name, value in zip(("recall", "ndcg"), recall_and_ndcg(k))}


def model_scores(recommender):
    """The trained model as a way: its exact scores of all items, so that no beam stands in between."""
    network = recommender.network

    def score(histories):
        latest = [torch.tensor(history[-recommender.max_length :]) for history in histories]
        lengths = torch.tensor([len(history) for history in latest])
        return network.exact_scores(torch.nn.utils.rnn.pad_sequence(latest, batch_first=True), lengths)

    return score


def text_scores(text):
    """text [N, D_text], as a way: cosine of every item's text to the mean text of a history's latest items."""
    text = torch.from_numpy(np.ascontiguousarray(text))
    unit = F.normalize(text, dim=1)
    return lambda histories: F.normalize(torch.stack([text[list(history[-LATEST:])].mean(0) for history in histories]), dim=1) @ unit.T
