"""Time and memory of a conversion: Beauty in the raw format of 2014, as it is, with reviews ten times as long, ten times as many.

  python benchmarks/dataset_scripts.py FOLDER      FOLDER holds Beauty/interactions.csv.gz and Beauty/items.jsonl.gz

Each conversion is a process of its own, held to one core; memory is its peak resident size.
"""

import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SENTENCE = 'It\'s a "fine" cream, my skin feels smoother after a week. '  # eight of them are about the mean length of a review
MIB = 1024


def write_reviews(path, rows, n_sentences, n_copies):
    with gzip.open(path, "wt", compresslevel=1) as file:
        for user, item, moment in rows:
            review = {"reviewerID": user, "asin": item, "reviewText": SENTENCE * n_sentences, "overall": 5.0}
            file.write((json.dumps({**review, "unixReviewTime": int(moment)}) + "\n") * n_copies)


def write_metadata(path, items, n_unseen=20):
    """The real metadata name some twenty items for each that is in the 5-core."""
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for line in items:
            item = json.loads(line)
            asin = item.pop("item_id")
            for key in [asin, *(f"X{n}{asin}" for n in range(n_unseen))]:
                file.write(repr({"asin": key, **item, "related": {"also_bought": ["B000000000"] * 50}}) + "\n")


def one_core():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(label, reviews, metadata, folder):
    command = [sys.executable, "-m", "dataset_scripts.amazon2014", "--reviews", reviews, "--meta", metadata, "--name", "Beauty"]
    start = time.perf_counter()
    command += ["--overwrite", "--output", folder]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, preexec_fn=one_core)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{label}: the conversion failed")
    seconds, processor = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    size, memory = reviews.stat().st_size / MIB**2, usage.ru_maxrss / MIB
    print(f"{label:24} {size:9.1f} {seconds:8.1f} {processor:8.1f} {memory:9.0f}", flush=True)


def main(data):
    with gzip.open(data / "Beauty" / "interactions.csv.gz", "rt") as file:
        rows = sorted(list(csv.reader(file))[1:], key=lambda row: row[1])  # the raw file is grouped by item
    with tempfile.TemporaryDirectory() as folder:
        reviews, metadata = Path(folder) / "reviews.json.gz", Path(folder) / "meta.json.gz"
        with gzip.open(data / "Beauty" / "items.jsonl.gz", "rt", encoding="utf-8") as items:
            write_metadata(metadata, items)
        print(f"{'':24} {'file MiB':>9} {'seconds':>8} {'CPU s':>8} {'peak MiB':>9}")
        for label, n_sentences, n_copies in [("as it is", 8, 1), ("reviews 10x as long", 80, 1), ("10x as many reviews", 8, 10)]:
            write_reviews(reviews, rows, n_sentences, n_copies)
            measure(label, reviews, metadata, folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
