"""Runs in child processes, some at a time; a run that fails is told of and the others go on."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict

from recbole_prorec.compare.machine import ROOT

POLL_SECONDS = 0.2


def run_all(runs, folder, jobs, threads, command, say=print):
    """Train and test the runs -> {name: reason} of those that failed."""
    waiting, active, failed = list(runs), {}, {}
    n_runs, done = len(waiting), 0
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                run = waiting.pop(0)
                active[run.name] = _start(run, folder, threads, command), time.perf_counter()
            time.sleep(POLL_SECONDS)
            for name, (process, started) in list(active.items()):
                if process.poll() is None:
                    continue
                del active[name]
                done += 1
                if process.returncode:
                    failed[name] = f"{_last_line(folder / f'{name}.log')} (exit code {process.returncode}, {folder / name}.log)"
                took = f"{time.perf_counter() - started:.0f} s"
                say(f"[{done}/{n_runs}] {name}: " + (f"FAILED after {took}: {failed[name]}" if name in failed else f"done in {took}"), flush=True)
    finally:
        for process, _ in active.values():
            process.terminate()
        for process, _ in active.values():
            process.wait()
    return failed


def _start(run, folder, threads, command):
    """The child reads what to do from stdin and writes all it says to <run>.log."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    with open(folder / f"{run.name}.log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "recbole_prorec.compare.worker"], stdin=subprocess.PIPE, stdout=log, stderr=log,
                                   env=environment)
    process.stdin.write(json.dumps({"run": asdict(run), "folder": str(folder), "command": command}).encode())
    process.stdin.close()
    return process


def _last_line(log):
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
