"""Cross-entropies as pure functions of tensors. Axes: P positions, N items, D width."""

import torch
from torch.nn import functional as F

from recbole_prorec.nn.matmul import fast_matmul
from recbole_prorec.nn.seen import exclude

# Scores held at once: 4 MB stay in a processor's cache, and are no fresh pages; a GPU wants few launches.
BLOCK_ELEMENTS = {"cpu": 1_000_000, "cuda": 64_000_000}
LANES = 16  # softmax over columns takes half as long again where the rows are no multiple of a vector register
ROWS = 64  # blocks are multiples of it, the last one padded: oneDNN compiles a kernel for every new shape, at the cost of many products


def block_width(n_items, device):
    """Positions of a block of scores [n_items, positions] on a torch.device."""
    width = max(1, BLOCK_ELEMENTS.get(device.type, BLOCK_ELEMENTS["cpu"]) // n_items)
    return width if width < LANES else width - width % LANES


class _ItemCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of softmax(hidden table^T) in blocks of positions: gradients are made on the way forward, so
    that [P, N] never stands whole and nothing is computed twice. Positions are columns of a block."""

    @staticmethod
    def forward(ctx, hidden, table, target, excluded):
        need_hidden, need_table = ctx.needs_input_grad[:2]
        widest = block_width(len(table), hidden.device)
        unit = min(ROWS, widest)
        padded = hidden.new_zeros(-(-len(hidden) // unit) * unit, hidden.shape[1])
        padded[: len(hidden)] = hidden
        grad_hidden = torch.empty_like(padded) if need_hidden else None
        grad_table = torch.zeros_like(table) if need_table else None
        block = max(1, min(widest // unit * unit, len(padded)))
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
                total -= _log_probs(*(of.gather(0, own.unsqueeze(0)).squeeze(0) for of in (probs, scores)), scores).sum()
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


def _log_probs(own_probs, own_scores, scores):
    """log softmax(scores, 0) at one place of each column [P], from its probability and its score there: no pass over all scores [N, P],
    unless a probability is too small to be a float."""
    if own_probs.min() >= torch.finfo(own_probs.dtype).tiny:
        return own_probs.log()
    return own_scores - scores.logsumexp(0)


class _InfoNCE(torch.autograd.Function):
    """Both cross-entropies of the rows and the columns of a b^T against their diagonal, gradients made on the way forward: each [n, n] is
    written once."""

    @staticmethod
    def forward(ctx, a, b):
        logits = a @ b.T
        of_rows, of_columns = torch.softmax(logits, 1), torch.softmax(logits, 0)
        own = logits.diagonal()
        log_probs = _log_probs(of_rows.diagonal(), own, logits.T) + _log_probs(of_columns.diagonal(), own, logits)
        grad = of_rows.add_(of_columns).mul_(0.5 / len(a))
        grad.diagonal().sub_(1 / len(a))
        ctx.save_for_backward(grad @ b, grad.T @ a)
        return -log_probs.mean() / 2

    @staticmethod
    def backward(ctx, grad):
        return tuple(grad * own for own in ctx.saved_tensors)


def info_nce(a, b, temperature):
    """Symmetric InfoNCE (arXiv 1807.03748) between two views of the same items: same row positive, other rows negative, cosine.

    Args:
        a, b: [n, D]. temperature: divides the cosines, above 0.
    """
    return _InfoNCE.apply(F.normalize(a, dim=-1) / temperature, F.normalize(b, dim=-1))
