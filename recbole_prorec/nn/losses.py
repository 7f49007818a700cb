"""Cross-entropies as pure functions of tensors. Axes: P positions, N items, D width."""

import torch
from torch.nn import functional as F

from recbole_prorec.nn.matmul import fast_matmul
from recbole_prorec.nn.seen import exclude

BLOCK_ELEMENTS = 1_000_000  # of scores held at once: 4 MB stay in the processor's cache, and are no fresh pages
ROWS = 64  # blocks are multiples of it, the last one padded: oneDNN compiles a kernel for every new shape, at the cost of many products


class _ItemCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of softmax(hidden table^T) in blocks of positions: gradients are made on the way forward, so
    that [P, N] never stands whole and nothing is computed twice. Positions are columns of a block."""

    @staticmethod
    def forward(ctx, hidden, table, target, excluded):
        need_hidden, need_table = ctx.needs_input_grad[:2]
        unit = min(ROWS, max(1, BLOCK_ELEMENTS // len(table)))
        padded = hidden.new_zeros(-(-len(hidden) // unit) * unit, hidden.shape[1])
        padded[: len(hidden)] = hidden
        grad_hidden = torch.empty_like(padded) if need_hidden else None
        grad_table = torch.zeros_like(table) if need_table else None
        block = max(1, min(max(BLOCK_ELEMENTS // len(table) // unit, 1) * unit, len(padded)))
        room = hidden.new_empty(2, len(table) * block)
        total = hidden.new_zeros(())
        with fast_matmul(hidden.device):
            for begin in range(0, len(hidden), block):
                rows, known = slice(begin, min(begin + block, len(padded))), slice(begin, min(begin + block, len(hidden)))
                own, width = target[known], rows.stop - begin
                block_scores, block_probs = room[:, : len(table) * width].view(2, len(table), width)
                torch.mm(table, padded[rows].T, out=block_scores)
                if excluded is not None:
                    exclude(block_scores, excluded[known] - 1)
                torch.softmax(block_scores, 0, out=block_probs)
                scores, probs = block_scores[:, : len(own)], block_probs[:, : len(own)]
                log_norm = scores.amax(0) - probs.amax(0).log_()  # cheaper than logsumexp; the largest probability is no 0
                total += (log_norm - scores.gather(0, own.unsqueeze(0)).squeeze(0)).sum()
                if need_hidden:
                    torch.mm(block_probs.T, table, out=grad_hidden[rows])
                    grad_hidden[known] -= table[own]
                if need_table:  # what is padded is 0 in `padded`, and adds nothing
                    grad_table.addmm_(block_probs, padded[rows]).index_add_(0, own, hidden[known], alpha=-1)
        ctx.save_for_backward(grad_hidden if grad_hidden is None else grad_hidden[: len(hidden)], grad_table)
        ctx.scale = 1 / max(len(hidden), 1)
        return total * ctx.scale

    @staticmethod
    def backward(ctx, grad):
        grad_hidden, grad_table = ctx.saved_tensors
        scale = grad * ctx.scale
        return (None if grad_hidden is None else grad_hidden * scale), (None if grad_table is None else grad_table * scale), None, None


def item_cross_entropy(hidden, table, target, excluded=None):
    """Mean over positions of -log softmax(hidden table^T)[target] over all items but padding, which is row 0 of the table.

    Args:
        hidden: [P, D]. table: [N, D]. target: [P], in 1 .. N - 1. excluded: [P, T] items that are no answers at a position, 0 for none;
            not the target. None: all items are.
    """
    return _ItemCrossEntropy.apply(hidden.to(table.dtype), table[1:], target - 1, excluded)


def info_nce(a, b, temperature):
    """Symmetric InfoNCE (arXiv 1807.03748) between two views of the same items: same row positive, other rows negative, cosine.

    Args:
        a, b: [n, D]. temperature: divides the cosines, above 0.
    """
    logits = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
    same = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
