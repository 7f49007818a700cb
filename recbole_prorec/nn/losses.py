"""Cross-entropies as pure functions of tensors. Axes: P positions, N items, D width."""

import torch
from torch.nn import functional as F

BLOCK_ELEMENTS = 1_000_000  # of scores held at once: 4 MB stay in the processor's cache, and are no fresh pages


class _LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of softmax(hidden table^T) in blocks of positions: gradients are made on the way forward, so
    that [P, N] never stands whole and nothing is computed twice."""

    @staticmethod
    def forward(ctx, hidden, table, target, visit):
        need_hidden, need_table = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_table = torch.zeros_like(table) if need_table else None
        block = max(1, min(BLOCK_ELEMENTS // len(table), len(hidden)))
        all_scores, all_probs = hidden.new_empty(2, block, len(table))
        total = hidden.new_zeros(())
        for begin in range(0, len(hidden), block):
            rows = slice(begin, min(begin + block, len(hidden)))
            own = target[rows]
            scores, probs = all_scores[: len(own)], all_probs[: len(own)]
            torch.mm(hidden[rows], table.T, out=scores)
            torch.softmax(scores, 1, out=probs)
            log_norm = scores.amax(1) - probs.amax(1).log_()  # cheaper than logsumexp; the largest probability is no 0
            total += (log_norm - scores.gather(1, own.unsqueeze(1)).squeeze(1)).sum()
            if visit is not None:
                visit(rows, scores, probs)
            if need_hidden:
                torch.mm(probs, table, out=grad_hidden[rows])
                grad_hidden[rows] -= table[own]
            if need_table:
                grad_table.addmm_(probs.T, hidden[rows]).index_add_(0, own, hidden[rows], alpha=-1)
        ctx.save_for_backward(grad_hidden, grad_table)
        ctx.scale = 1 / max(len(hidden), 1)
        return total * ctx.scale

    @staticmethod
    def backward(ctx, grad):
        grad_hidden, grad_table = ctx.saved_tensors
        scale = grad * ctx.scale
        return (None if grad_hidden is None else grad_hidden * scale), (None if grad_table is None else grad_table * scale), None, None


def linear_cross_entropy(hidden, table, target, visit=None):
    """Mean over positions of -log softmax(hidden table^T)[target].

    Args:
        hidden: [P, D]. table: [N, D]. target: [P] rows of the table.
        visit: called as visit(rows, scores, probs) with every block of positions, a slice of P and two [R, N] that are overwritten
            behind it, where somebody wants the softmax too.
    """
    return _LinearCrossEntropy.apply(hidden.to(table.dtype), table, target, visit)


def item_cross_entropy(hidden, table, target):
    """`linear_cross_entropy` over all items but padding, which is row 0 of the table: targets in 1 .. N - 1."""
    return linear_cross_entropy(hidden, table[1:], target - 1)


def info_nce(a, b, temperature):
    """Symmetric InfoNCE (arXiv 1807.03748) between two views of the same items: same row positive, other rows negative, cosine.

    Args:
        a, b: [n, D]. temperature: divides the cosines, above 0.
    """
    logits = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
    same = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
