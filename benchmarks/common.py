"""How everything here is measured: variants in turn, on one thread, by processor seconds.

Rates are per CPU second of the whole process, so that other work on the machine costs them little. In every round each variant runs once,
in an order that turns, and the machine's matrix products are measured beside them; what is told is the median of the rounds, with the
lowest and the highest. Import this module before torch: it sets the number of threads."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import contextlib  # noqa: E402
import ctypes  # noqa: E402
import gc  # noqa: E402
import json  # noqa: E402
import re  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from importlib import metadata  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.flop_counter import flop_registry  # noqa: E402

from recbole_prorec.compare.machine import commit, machine, versions  # noqa: E402
from recbole_prorec.nn.matmul import fast_matmul  # noqa: E402

torch.set_num_threads(1)
RESULTS = Path(__file__).resolve().parents[1] / "results" / "performance"
PEERS = ("cornac", "torch-rechub", "transformers")
ATEN = torch.ops.aten
FORMULAS = {**flop_registry, ATEN.addmm_: flop_registry[ATEN.addmm],
            ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[ATEN._scaled_dot_product_flash_attention]}  # missing there
PRODUCT, COPY = 1024, 2**26  # rows of the square matrices, bytes of the copied tensor


def alternate(variants, rounds, seconds):
    """variants: {name: run}, where run() does some work and says how many samples that was.

    Returns:
        {name: [samples per CPU second, round by round]}, and {"GFLOP/s", "GB/s"} of the machine in the same rounds.
    """
    for run in variants.values():  # first calls allocate, compile and load
        run()
    rates, peaks, names = {name: [] for name in variants}, [], list(variants)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            rates[name].append(rate(variants[name], seconds))
        peaks.append((product_rate(), copy_rate()))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return rates, dict(zip(("GFLOP/s", "GB/s"), map(statistics.median, zip(*peaks))))


def rate(run, seconds):
    """Samples per CPU second, of as many calls as `seconds` take and one at least."""
    gc.collect()
    done, started = 0, time.process_time()
    while True:
        done += run()
        spent = time.process_time() - started
        if spent >= seconds:
            return done / spent


def product_rate(seconds=0.2):
    """GFLOP/s of float32 matrix products: the faster of torch's default and oneDNN's where that is exact."""
    a = torch.randn(PRODUCT, PRODUCT)

    def run():
        a @ a
        return 2 * PRODUCT**3 / 1e9

    plain = rate(run, seconds)
    with fast_matmul("cpu"):
        run()
        return max(plain, rate(run, seconds))


def copy_rate(seconds=0.1):
    """GB/s read and written by copies that fit in no cache."""
    source = torch.zeros(COPY, dtype=torch.uint8)
    target = torch.empty_like(source)

    def run():
        target.copy_(source)
        return 2 * COPY / 1e9

    run()  # fresh pages cost more than the copy
    return rate(run, seconds)


class Counter(TorchDispatchMode):
    """Operations of matrix products by torch's own formulas, and bytes of all tensors that operators read and write, views apart: what
    would move if nothing stayed in a cache. (torch's FlopCounterMode fails on generate() without gradients.)"""

    def __init__(self):
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        if not func.is_view:
            self.bytes += sum(x.numel() * x.element_size() for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor))
        return out


def count(run):
    """One call of run() -> {"MFLOP", "MB"} per sample."""
    with Counter() as counter:
        n_samples = run()
    return {"MFLOP": counter.flops / n_samples / 1e6, "MB": counter.bytes / n_samples / 1e6}


def extra_memory(run):
    """MiB that one call takes at most on top of what the process holds; None where the system does not tell (Linux does)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _status("VmRSS")
        run()
        return (_status("VmHWM") - before) / 1024


def _status(name):
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1))


def measure(variants, unit, rounds, seconds, reference, products=True):
    """Rates, operations, bytes and memory of the variants -> rows of a table, and the machine's rates of the same minutes.

    Args:
        variants: as of `alternate`. unit: what a sample is, as "users". reference: the name that ratios are of.
        products: whether the work is torch's, so that its operations and bytes can be counted.
    """
    rates, peak = alternate(variants, rounds, seconds)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    rows = []
    for name, run in variants.items():
        row = {"variant": name, f"{unit}/s": middle[name], "lowest": min(rates[name]), "highest": max(rates[name]),
               f"{reference} / this": middle[reference] / middle[name]}
        if products:
            row |= count(run)
            row["% of peak"] = 100 * middle[name] * row["MFLOP"] / 1e3 / peak["GFLOP/s"]
        rows.append({**row, "extra MiB": extra_memory(run)})
    return rows, peak


def goal(what, wanted, row, unit, peak):
    """A line of the table of goals, with the floor: what the row's operations alone would allow at the machine's measured rate."""
    possible = peak["GFLOP/s"] * 1e3 / row["MFLOP"] if row["MFLOP"] else None
    reached = row[f"{unit}/s"]
    return {"goal": what, "wanted": wanted, "reached": reached, "met": bool(reached >= wanted), "at the measured peak": possible,
            "GFLOP/s": peak["GFLOP/s"], "MFLOP": row["MFLOP"]}


def save(name, command, title, about, tables, goals=(), peak=None):
    """One part of results/performance.md: tables are (title, rows); see write.py."""
    found = {**versions(), **{name: metadata.version(name) for name in PEERS if _installed(name)}}
    part = {"title": title, "about": about, "goals": list(goals), "peak": peak,
            "tables": [{"title": heading, "rows": rows} for heading, rows in tables],
            "conditions": {"command": command, "commit": commit(), "machine": machine(), "threads": torch.get_num_threads(),
                           "versions": found}}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(part, indent=1) + "\n", encoding="utf-8")


def existing_file(path):
    """Of a flag: its absolute path."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file; name one that is there")
    return os.path.abspath(path)


def _installed(name):
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
