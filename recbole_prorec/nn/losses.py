"""Cross-entropies as pure functions of tensors. Axes: P positions, N items, D width."""

import torch
from torch.nn import functional as F

BLOCK_ELEMENTS = 4_000_000  # of logits held at once: 16 MB


class _LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of softmax(hidden table^T) in blocks of positions: gradients are made on the way forward, so
    that [P, N] never stands whole and nothing is computed twice."""

    @staticmethod
    def forward(ctx, hidden, table, target):
        need_hidden, need_table, _ = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_table = torch.zeros_like(table) if need_table else None
        block = max(1, BLOCK_ELEMENTS // len(table))
        total = hidden.new_zeros(())
        for rows in torch.arange(len(hidden), device=hidden.device).split(block):
            rows = slice(int(rows[0]), int(rows[-1]) + 1)
            logits = hidden[rows] @ table.T
            logits[:, 0] = float("-inf")  # padding is no item
            log_norm = logits.logsumexp(1, keepdim=True)
            total += (log_norm.squeeze(1) - logits.gather(1, target[rows, None]).squeeze(1)).sum()
            prob = logits.sub_(log_norm).exp_()
            prob.scatter_add_(1, target[rows, None], -torch.ones_like(log_norm))
            if need_hidden:
                grad_hidden[rows] = prob @ table
            if need_table:
                grad_table += prob.T @ hidden[rows]
        ctx.save_for_backward(grad_hidden, grad_table)
        ctx.scale = 1 / max(len(hidden), 1)
        return total * ctx.scale

    @staticmethod
    def backward(ctx, grad):
        grad_hidden, grad_table = ctx.saved_tensors
        scale = grad * ctx.scale
        return (None if grad_hidden is None else grad_hidden * scale), (None if grad_table is None else grad_table * scale), None


def item_cross_entropy(hidden, table, target):
    """Mean over positions of -log softmax(hidden table^T)[target], over all items but padding (row 0).

    Args:
        hidden: [P, D]. table: [N, D], row 0 padding. target: [P] item ids in 1 .. N - 1.
    """
    return _LinearCrossEntropy.apply(hidden, table, target)


def info_nce(a, b, temperature):
    """Symmetric InfoNCE (arXiv 1807.03748) between two views of the same items: same row positive, other rows negative, cosine.

    Args:
        a, b: [n, D]. temperature: divides the cosines, above 0.
    """
    logits = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
    same = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
