"""In-modality distillation: two heads on the user state give back what quantization lost."""

import torch
from torch import nn

from recbole_prorec.nn.losses import linear_cross_entropy


class DistillationHeads(nn.Module):
    """One head per modality on the user state, scored against that modality's frozen stage-1 embeddings.

    The heads' scores add up to one softmax over all items: score(i) = h_C(state) . E_C[i] + h_T(state) . E_T[i], so that the integrated
    embedding [E_C, E_T] is the teacher (arXiv 2502.06269, abstract of v3; the softmax is our choice). The teacher is never trained.

    Args:
        width: D, of states and embeddings.
    """

    def __init__(self, width):
        super().__init__()
        self.collaborative = nn.Linear(width, width)
        self.semantic = nn.Linear(width, width)

    def start_from(self, weights):
        """Begin as weights[0] and weights[1] times the identity: with the encoder of stage 1 that is the score of stage 1."""
        with torch.no_grad():
            for head, weight in zip((self.collaborative, self.semantic), weights):
                head.weight.copy_(weight * torch.eye(len(head.weight)))
                head.bias.zero_()

    def forward(self, states):
        """states [P, D] -> [P, 2 D], to be multiplied with [E_C, E_T]."""
        return torch.cat([self.collaborative(states), self.semantic(states)], dim=-1)

    def loss(self, states, teacher, target, visit=None):
        """Cross-entropy over the rows of the teacher. states [P, D], teacher [N, 2 D] = [E_C, E_T] of the items in any order, target [P]
        rows of it; visit: see `linear_cross_entropy`."""
        return linear_cross_entropy(self(states), teacher.detach(), target, visit)

    def log_probs(self, states, teacher):
        """log p(item | heads) [P, n_items]; -inf for padding."""
        scores = self(states) @ teacher.T
        scores[:, 0] = float("-inf")
        return scores.log_softmax(-1)
