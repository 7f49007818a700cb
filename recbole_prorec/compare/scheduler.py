"""Runs in child processes, some at a time; a run that fails is told of and the others go on."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict

from recbole_prorec.compare.machine import ROOT

POLL_SECONDS = 0.2


def run_all(runs, folder, jobs, threads, command):
    """Train and test the runs -> {name: reason} of those that failed."""
    waiting, active, failed = list(runs), {}, {}
    with tempfile.TemporaryDirectory(prefix=".checkpoints-", dir=folder) as checkpoints:
        try:
            while waiting or active:
                while waiting and len(active) < jobs:
                    run = waiting.pop(0)
                    given = {"run": asdict(run), "folder": str(folder), "checkpoints": checkpoints, "command": command}
                    active[run.name] = _start(given, folder / f"{run.name}.log", threads), time.perf_counter()
                time.sleep(POLL_SECONDS)
                for name in [name for name, (process, _) in active.items() if process.poll() is not None]:
                    failed.update(_finish(name, *active.pop(name), folder, f"{len(runs) - len(waiting) - len(active)}/{len(runs)}"))
        finally:
            _stop([process for process, _ in active.values()])
    return failed


def _start(given, log, threads):
    """The child reads what to do from stdin and writes all it says to its log."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    with open(log, "wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "recbole_prorec.compare.worker"], stdin=subprocess.PIPE, stdout=file, stderr=file,
                                   env=environment)
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    return process


def _finish(name, process, started, folder, counted):
    """Say how it went; {name: reason} if it failed."""
    took = f"{time.perf_counter() - started:.0f} s"
    if process.returncode == 0:
        print(f"[{counted}] {name}: done in {took}", flush=True)
        return {}
    log = folder / f"{name}.log"
    reason = f"{_last_line(log)} (exit code {process.returncode}, {log})"
    print(f"[{counted}] {name}: FAILED after {took}: {reason}", flush=True)
    return {name: reason}


def _stop(processes):
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def _last_line(log):
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
