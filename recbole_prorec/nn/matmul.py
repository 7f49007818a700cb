"""oneDNN's float32 matrix products, where they are exact: on some processors they take half the time of the default ones."""

import contextlib
import functools
import logging

import torch

logger = logging.getLogger(__name__)
MAX_RELATIVE_ERROR = 1e-5  # float32 products of this size are exact to about 3e-7; real bfloat16 arithmetic errs by about 3e-3


@contextlib.contextmanager
def fast_matmul(device):
    """Within the block, float32 products on a CPU are oneDNN's, provided that their error is that of float32.

    For large products, or shapes that come again: oneDNN compiles a kernel for every new shape, which takes milliseconds.

    torch.backends.mkldnn.matmul.fp32_precision = "bf16" allows oneDNN to take a product over. Some processors then really compute in
    bfloat16, others only get a better float32 kernel; the error tells which. The setting of before is put back at the end.
    """
    matmul = getattr(getattr(torch.backends, "mkldnn", None), "matmul", None)
    if torch.device(device).type != "cpu" or matmul is None or not hasattr(matmul, "fp32_precision"):
        yield
        return
    before = matmul.fp32_precision
    try:
        if _is_exact():
            matmul.fp32_precision = "bf16"
        yield
    finally:
        matmul.fp32_precision = before


@functools.cache
def _is_exact():
    """Not measured by its speed too: a choice by the clock could differ between a run and its continuation, and with it the last digits."""
    matmul, before = torch.backends.mkldnn.matmul, torch.backends.mkldnn.matmul.fp32_precision
    a, b = (torch.randn(512, 512, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a.double() @ b.double()
    try:
        matmul.fp32_precision = "bf16"
        error = ((a @ b).double() - exact).norm() / exact.norm()
    finally:
        matmul.fp32_precision = before
    use = bool(error < MAX_RELATIVE_ERROR)
    logger.info("float32 products by oneDNN have a relative error of %.0e: %s.", error, "used for large products" if use else "not used")
    return use
