"""Requests per second and latency of prorec serve, for 1, 8 and 32 clients, with and without micro-batching.

  python benchmarks/serving.py CHECKPOINT [--beam-size 20] [--seconds 4] [--rounds 3]

Every client sends its next request, one history of up to 20 items and k = 10, when it has the last answer. Service and clients are
processes of their own that share the machine. With micro-batching is the default of `prorec serve`, without
is `--max-batch 1`. The variants run in turn, in an order that turns from round to round; latencies are those of all rounds together.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from recbole_prorec import load
from recbole_prorec.compare.machine import commit, machine, versions

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = (1, 8, 32)
BATCHING = {"with": (), "without": ("--max-batch", "1")}


@contextlib.contextmanager
def running(checkpoint, *words):
    """prorec serve in a process of its own -> its address."""
    command = [sys.executable, "-m", "recbole_prorec.command", "serve", "--checkpoint", str(checkpoint), "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stderr.readline()
        address = re.search(r"http://[^\s,]+", said)
        if not address:
            sys.exit(said + process.stderr.read())
        yield address.group()
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def load_of(url, keys, n_clients, seconds):
    """Latencies in seconds of the answers to so many clients."""
    words = [sys.executable, str(ROOT / "benchmarks" / "clients.py"), url, str(n_clients), str(seconds)]
    done = subprocess.run(words, input=keys, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds + 60)
    return json.loads(done.stdout)


def measure(args, keys):
    """{(clients, batching): (rates of the rounds, latencies)}."""
    variants = [(n, batching) for n in CLIENTS for batching in BATCHING]
    found = {variant: ([], []) for variant in variants}
    with contextlib.ExitStack() as stack:
        urls = {name: stack.enter_context(running(args.checkpoint, "--beam-size", str(args.beam_size), *words))
                for name, words in BATCHING.items()}
        for number in range(args.rounds):
            turn = number % len(variants)
            for variant in variants[turn:] + variants[:turn]:
                latencies = load_of(urls[variant[1]], keys, variant[0], args.seconds)
                found[variant][0].append(len(latencies) / args.seconds)
                found[variant][1].extend(latencies)
            print(f"round {number + 1} of {args.rounds} done", file=sys.stderr, flush=True)
    return found


def table(found):
    lines = ["| clients | micro-batching | requests/s | lowest | highest | p50, ms | p95, ms | p99, ms |", "|---" * 8 + "|"]
    for (n_clients, batching), (rates, latencies) in found.items():
        cuts = statistics.quantiles(latencies, n=100, method="inclusive")
        numbers = [statistics.median(rates), min(rates), max(rates), *(1000 * cuts[p - 1] for p in (50, 95, 99))]
        lines.append(f"| {n_clients} | {batching} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")
    return "\n".join(lines)


def write(args, found, model):
    made, where = {**versions(), **{name: metadata.version(name) for name in ("fastapi", "uvicorn", "httpx")}}, machine()
    about = [" ".join(text.split()) for text in __doc__.split("\n\n") if not text.startswith("  ")]
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    conditions = (f"{model}, beam {args.beam_size}, {args.rounds} rounds of {args.seconds:g} s, OMP_NUM_THREADS {threads}. "
                  f"Commit {commit()}; {where['cpu']}, {where['cores']} cores, {where['system']}; "
                  + ", ".join(map(" ".join, made.items())) + ".")
    command = f"`python benchmarks/serving.py {' '.join(args.words)}`"
    text = "\n\n".join(["# Serving", command, *about, table(found), conditions]) + "\n"
    Path(args.output).write_text(text, encoding="utf-8")


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("checkpoint")
    flags.add_argument("--beam-size", type=int, default=20)
    flags.add_argument("--seconds", type=float, default=4, help="of each measurement")
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--output", default=ROOT / "results" / "serving.md")
    args = flags.parse_args()
    args.words = [Path(word).name if word == args.checkpoint else word for word in sys.argv[1:]]
    model = load(args.checkpoint)
    found = measure(args, json.dumps(model.item_keys[1:]))
    write(args, found, f"{model.model} ({model.settings['ranking']}) of {model.n_items:,} items")


if __name__ == "__main__":
    main()
