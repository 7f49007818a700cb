"""Freed pages stay with the process."""

import subprocess
import sys

import pytest
from recbole.quick_start import quick_start as stock

from recbole_prorec import quick_start, registry
from recbole_prorec.compare import worker
from recbole_prorec.compare.plan import make_comparison
from recbole_prorec.nn import memory

PAGE_FAULTS = """
import resource, sys, torch
from recbole_prorec.nn.memory import keep_pages
if sys.argv[1] == "kept":
    keep_pages("cpu")
for _ in range(3):
    torch.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not memory._set(), reason="mallopt is glibc's, and an old one takes no threshold that large")
def test_a_tensor_as_large_as_the_last_one_takes_its_pages():
    ran = (subprocess.run([sys.executable, "-c", PAGE_FAULTS, way], capture_output=True, text=True, check=True)
           for way in ("kept", "fresh"))
    kept, fresh = (int(process.stdout.split()[-1]) for process in ran)
    assert kept < fresh / 4


def test_another_libc_is_left_alone(monkeypatch):
    def none(name):
        raise OSError("no such library")

    monkeypatch.setattr(memory.ctypes, "CDLL", none)
    assert memory._set.__wrapped__() is False


@pytest.fixture
def kept(monkeypatch):
    """Gets an element whenever the process is told to keep its pages."""
    times = []
    monkeypatch.setattr(memory, "_set", lambda: times.append(True))
    monkeypatch.setattr(registry.Protocol, "for_all_models", False)
    monkeypatch.setattr(stock, "run_recboles", stock.run_recboles)
    return times


def test_run_recbole_keeps_pages_for_recboles_own_models(kept, monkeypatch):
    monkeypatch.setattr(stock, "run", lambda *args, **kwargs: None)
    monkeypatch.setattr("sys.argv", ["run_recbole", "--model=SASRec"])
    assert quick_start.main() == 0
    assert kept


def test_a_comparison_keeps_pages_for_recboles_own_models(kept, tiny_dataset, tmp_path):
    settings = {key: value for key, value in tiny_dataset.config.items() if key not in ("metrics", "topk", "seed")}
    run, = make_comparison({"name": "x", "datasets": [tiny_dataset.dataset], "seeds": [1], "settings": settings, "entries": ["BPR"]}).runs()
    worker.build(run, str(tmp_path))
    assert kept
