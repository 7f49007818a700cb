"""What a number was made with: commit, machine, versions."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

import recbole_prorec

PACKAGES = ("recbole", "torch", "numpy", "scipy", "pandas", "faiss-cpu", "sentence-transformers")
ROOT = Path(recbole_prorec.__file__).resolve().parents[1]


def versions():
    found = {"python": platform.python_version(), "recbole_prorec": recbole_prorec.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit():
    """The checkout's commit, with " (changed since)" if files differ from it; "unknown" if the package does not run from a checkout."""
    try:
        _git("ls-files", "--error-unmatch", "recbole_prorec/__init__.py")
        return _git("rev-parse", "HEAD") + (" (changed since)" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments):
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout.strip()


def machine():
    gpu = {"gpu": _gpu()} if torch.cuda.is_available() else {}
    return {"cpu": _cpu_model(), "cores": os.cpu_count(), **gpu, "system": platform.platform()}


def processors(found):
    """The processors of what `machine` found, in words."""
    return found["cpu"] + (f" and {found['gpu']}" if "gpu" in found else "")


def _gpu():
    """Its name and, where products are not of float32's precision (TF32, bfloat16), what torch calls theirs."""
    precision = torch.get_float32_matmul_precision()
    return torch.cuda.get_device_name() + ("" if precision == "highest" else f" (float32_matmul_precision: {precision})")


def _cpu_model():
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
