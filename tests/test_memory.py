"""Freed pages stay with the process."""

import subprocess
import sys

import pytest

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
