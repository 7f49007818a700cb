"""Whether full_sort_topk, Recommender.recommend, prorec recommend and prorec serve give the same lists of a checkpoint.

  python benchmarks/same_answers.py CHECKPOINT [--k 10] [--users N]     run where the checkpoint's data_path leads to its data

All test users go through all four ways. Rounding depends on the batch: places of a list whose items differ while their scores do not (by
less than 1e-5, or 1e-5 of them) are counted as ties; any other difference ends it with exit code 1.
"""

import argparse
import json
import logging
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from serving import running

import recbole_prorec
from recbole_prorec.command import main as prorec

ROUNDING, CLIENTS, USERS_AT_ONCE = 1e-5, 8, 256


def by_recbole(checkpoint, k, n_users):
    """(histories, keys, scores) of the test users."""
    from recbole.quick_start import load_data_and_model
    from recbole.utils.case_study import full_sort_topk

    _, model, dataset, _, _, test_data = load_data_and_model(checkpoint)
    rows, keys_of = test_data.dataset.inter_feat, np.array(dataset.field2id_token[dataset.iid_field])
    users = rows[dataset.uid_field][:n_users]
    found = [full_sort_topk(users[first:first + USERS_AT_ONCE].tolist(), model, test_data, k=k, device=model.device)
             for first in range(0, len(users), USERS_AT_ONCE)]
    ids, lengths = rows[model.ITEM_SEQ], rows[model.ITEM_SEQ_LEN]
    histories = [keys_of[row[:length]].tolist() for row, length in zip(ids[:n_users].numpy(), lengths[:n_users].tolist())]
    return histories, [keys_of[row].tolist() for _, items in found for row in items.cpu().numpy()], \
        [row for values, _ in found for row in values.cpu().tolist()]


def by_command(checkpoint, histories, k):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        source.write_text("".join(json.dumps({"history": history}) + "\n" for history in histories), encoding="utf-8")
        code = prorec(["recommend", "--checkpoint", checkpoint, "--histories", str(source), "--k", str(k), "--output", str(target)])
        if code:
            sys.exit(code)
        lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    return [line["items"] for line in lines], [line["scores"] for line in lines]


def by_service(checkpoint, histories, k):
    """One user a request, several clients: batches of whoever comes together."""
    with running(checkpoint) as url, httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(CLIENTS) as clients:
        def ask(history):
            response = client.post("/recommend", json={"histories": [history], "k": k}).raise_for_status()
            return response.json()["recommendations"][0]

        found = list(clients.map(ask, histories))
    return [row["items"] for row in found], [row["scores"] for row in found]


def differences(found, wanted):
    """(lists with ties in another order, lists that differ otherwise)."""
    ties = others = 0
    for keys, scores, wanted_keys, wanted_scores in zip(*found, *wanted):
        if len(keys) != len(wanted_keys) or not np.allclose(scores, wanted_scores, rtol=ROUNDING, atol=ROUNDING):
            others += 1
        elif keys != wanted_keys:
            ties += 1
    return ties, others


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("checkpoint")
    flags.add_argument("--k", type=int, default=10)
    flags.add_argument("--users", type=int, help="the first so many alone")
    args = flags.parse_args()
    sys.argv[1:] = []  # RecBole would read them
    histories, *wanted = by_recbole(args.checkpoint, args.k, args.users)
    ways = {"Recommender.recommend": lambda: recbole_prorec.load(args.checkpoint).recommend(histories, args.k),
            "prorec recommend": lambda: by_command(args.checkpoint, histories, args.k),
            "prorec serve": lambda: by_service(args.checkpoint, histories, args.k)}
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    failed = False
    for name, way in ways.items():
        ties, others = differences(way(), wanted)
        failed |= others > 0
        print(f"{name}: {len(histories) - ties - others} of {len(histories)} lists of {args.k} are full_sort_topk's, {ties} but for ties, "
              f"{others} are not", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
