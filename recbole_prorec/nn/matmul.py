"""The faster of the processor's two float32 matrix products, where it is as exact."""

import contextlib
import functools
import logging
import time

import torch

logger = logging.getLogger(__name__)
MAX_RELATIVE_ERROR = 1e-5  # float32 products of this size are exact to about 3e-7; real bfloat16 arithmetic errs by about 3e-3


@contextlib.contextmanager
def fast_matmul(device):
    """Within the block, float32 products on a CPU go the way that was measured faster, provided that its error is that of float32.

    torch.backends.mkldnn.matmul.fp32_precision = "bf16" allows oneDNN to take a product over. Some processors then really compute in
    bfloat16, others only get a better float32 kernel; the error tells which. The setting of before is put back at the end.
    """
    matmul = getattr(getattr(torch.backends, "mkldnn", None), "matmul", None)
    if torch.device(device).type != "cpu" or matmul is None or not hasattr(matmul, "fp32_precision"):
        yield
        return
    before = matmul.fp32_precision
    try:
        if _is_faster_and_exact():
            matmul.fp32_precision = "bf16"
        yield
    finally:
        matmul.fp32_precision = before


@functools.cache
def _is_faster_and_exact():
    matmul, before = torch.backends.mkldnn.matmul, torch.backends.mkldnn.matmul.fp32_precision
    a, b = (torch.randn(512, 512, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a.double() @ b.double()
    plain_seconds = _seconds(a, b)
    try:
        matmul.fp32_precision = "bf16"
        error, seconds = ((a @ b).double() - exact).norm() / exact.norm(), _seconds(a, b)
    finally:
        matmul.fp32_precision = before
    use = bool(error < MAX_RELATIVE_ERROR and seconds < 0.9 * plain_seconds)
    logger.info("float32 products by oneDNN take %.2f of the time, relative error %.0e: %s.", seconds / plain_seconds, error,
                "used in training and evaluation" if use else "not used")
    return use


def _seconds(a, b):
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - begin)
    return sorted(times)[3]
