"""The service answers as Recommender.recommend does, whatever arrives together, and refuses what it cannot hold."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from markov_data import write_markov_dataset
from pipeline import Run
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from uvicorn import Config, Server

from recbole_prorec.command import main
from recbole_prorec.errors import InputError
from recbole_prorec.inference.checkpoint import read_checkpoint
from recbole_prorec.inference.recommender import Recommender, load
from recbole_prorec.serve.app import create_app
from recbole_prorec.serve.batching import Batcher
from recbole_prorec.serve.command import listen
from recbole_prorec.serve.limits import Limits

HISTORIES = [["i1", "i2", "i3"], ["i40"], [f"i{i}" for i in range(30)], ["i7", "i7", "i9"]]
FUZZ = settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        yield Run(write_markov_dataset(folder)).fit()


@pytest.fixture(scope="module")
def recommender(run):
    return load(run.trainer.saved_model_file)


@contextlib.contextmanager
def serving(recommender, batcher=None, text_of=None, **limits):
    """A client of a service in a thread."""
    app = create_app(recommender, batcher or Batcher(recommender.rank), Limits(**limits).of(recommender), text_of)
    with listen("127.0.0.1", 0) as listener:
        server = Server(Config(app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20) as client:
            try:
                yield client
            finally:
                server.should_exit = True
                thread.join()


@pytest.fixture(scope="module")
def service(recommender):
    with serving(recommender) as client:
        yield client


def answer(client, histories, **more):
    response = client.post("/recommend", json={"histories": histories, **more})
    assert response.status_code == 200, response.text
    found = response.json()["recommendations"]
    return [row["items"] for row in found], [row["scores"] for row in found]


def close(found, wanted):
    """The same lists, and scores that differ by no more than the rounding of another batch."""
    assert found[0] == wanted[0]
    for row, values in zip(found[1], wanted[1]):
        np.testing.assert_allclose(row, values, rtol=1e-4)


# The same answers

def test_the_service_the_call_the_command_and_recbole_give_every_test_user_the_same(run, recommender, service, tmp_path):
    from recbole.utils.case_study import full_sort_topk

    rows, keys_of = run.test_data.dataset.inter_feat, run.dataset.field2id_token["item_id"]
    histories = [keys_of[ids[:length]].tolist() for ids, length in zip(rows["item_id_list"], rows["item_length"])]
    values, items = full_sort_topk(rows["user_id"].tolist(), run.model, run.test_data, k=20)
    wanted = recommender.recommend(histories, k=20)
    close((keys_of[items].tolist(), values.tolist()), wanted)
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps({"history": history}) + "\n" for history in histories), encoding="utf-8")
    words = ["--checkpoint", run.trainer.saved_model_file, "--histories", str(file), "--output", str(out), "--k", "20"]
    assert main(["recommend", *words]) == 0
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    close(([line["items"] for line in lines], [line["scores"] for line in lines]), wanted)
    with ThreadPoolExecutor(8) as clients:  # every user alone, many at the same time
        found = list(clients.map(lambda history: answer(service, [history], k=20), histories))
    close(([keys[0] for keys, _ in found], [scores[0] for _, scores in found]), wanted)


@pytest.mark.parametrize("ranking, fusion_scope", [("generative", "beam"), ("fused", "beam"), ("fused", "all")])
def test_requests_that_differ_in_k_and_seen_items_are_answered_alike_together_and_alone(run, ranking, fusion_scope):
    stored = read_checkpoint(run.trainer.saved_model_file)
    changed = replace(stored, settings={**stored.settings, "ranking": ranking, "fusion_scope": fusion_scope})
    recommender = Recommender(changed, "changed")
    asked = [([history], k, seen) for history in HISTORIES for k in (1, 7, 20) for seen in (False, True)]
    batcher = Batcher(recommender.rank, max_wait_ms=100)
    with serving(recommender, batcher) as client, ThreadPoolExecutor(len(asked)) as clients:
        found = list(clients.map(lambda words: answer(client, words[0], k=words[1], exclude_seen=words[2]), asked))
    assert batcher.n_histories == len(asked) and batcher.n_batches < len(asked)
    for each, words in zip(found, asked):
        close(each, recommender.recommend(*words))


def test_texts_stand_beside_keys(recommender):
    text_of = {key: f"the {key}" for key in recommender.item_keys}
    with serving(recommender, text_of=text_of) as client:
        found = client.post("/recommend", json={"histories": [["i1"]], "k": 3}).json()["recommendations"][0]
        assert found["texts"] == [f"the {key}" for key in found["items"]]
        assert client.get("/items/i5").json()["text"] == "the i5"


# Batches

def told_apart(ids, k, exclude_seen):
    """In the place of Recommender.rank: an answer that says what was asked."""
    return [[f"{history} {exclude_seen} {rank}" for rank in range(k)] for history in ids], [list(range(k)) for _ in ids]


def test_every_request_gets_its_own_answer_in_batches_no_larger_than_allowed():
    sizes = []

    def rank(ids, k, exclude_seen):
        sizes.append(len(ids))
        return told_apart(ids, k, exclude_seen)

    async def asks(batcher, draw):
        await asyncio.sleep(draw.random() / 100)
        words = [[draw.randrange(99)] for _ in range(draw.randrange(1, 9))], draw.randrange(1, 5), draw.random() < 0.5
        return [(keys, scores) for keys, scores in zip(*told_apart(*words))] == await batcher.recommend(*words)

    async def all_of_them():
        async with Batcher(rank, max_batch=5, max_wait_ms=1) as batcher:
            return await asyncio.gather(*(asks(batcher, random.Random(seed)) for seed in range(100)))

    assert all(asyncio.run(all_of_them())) and max(sizes) == 5


def test_a_batch_gathers_while_another_is_ranked_even_if_none_waits():
    begun, go_on = threading.Event(), threading.Event()

    def rank(ids, k, exclude_seen):
        begun.set()
        go_on.wait(5)
        return told_apart(ids, k, exclude_seen)

    async def one_then_nine():
        async with Batcher(rank, max_wait_ms=0) as batcher:
            first = asyncio.create_task(batcher.recommend([[0]], 1, False))
            await asyncio.to_thread(begun.wait, 5)
            others = [asyncio.create_task(batcher.recommend([[i]], 1, False)) for i in range(1, 10)]
            await asyncio.sleep(0.01)
            go_on.set()
            await asyncio.gather(first, *others)
            return batcher.n_batches

    assert asyncio.run(one_then_nine()) == 2


def test_a_batch_that_fails_fails_alone():
    def rank(ids, k, exclude_seen):
        if [13] in ids:
            raise RuntimeError("no luck")
        return told_apart(ids, k, exclude_seen)

    async def a_bad_one_and_a_good_one():
        async with Batcher(rank) as batcher:
            with pytest.raises(RuntimeError, match="no luck"):
                await batcher.recommend([[13], [13]], 1, False)
            return await batcher.recommend([[1]], 1, False)

    assert asyncio.run(a_bad_one_and_a_good_one()) == [(["[1] False 0"], [0])]


# Items

def test_any_item_key_can_be_asked_for(run):
    stored = read_checkpoint(run.trainer.saved_model_file)
    odd = ["a/b", "/", "ü ß 日本", "50% off?#&", "two\nlines", "end\n", "end", "//x", "a/../b;c"]
    recommender = Recommender(replace(stored, item_keys=(stored.item_keys[0], *odd, *stored.item_keys[len(odd) + 1:])), "odd")
    with serving(recommender) as client:
        for number, key in enumerate(odd, start=1):
            found = client.get(f"/items/{quote(key, safe='')}").json()
            assert found == {"key": key, "codes": recommender.network.codes[number].tolist()}
        assert client.get("/items/a/b").json()["key"] == "a/b"


@pytest.mark.parametrize("key", ["x", "i1\n", "i1/", "", "\u2028", "I1"])
def test_an_unknown_item_is_named_and_not_guessed(service, key):
    response = service.get(f"/items/{quote(key, safe='')}")
    assert response.status_code == 404 and response.json()["unknown_keys"] == [key]


def test_unknown_keys_of_histories_are_named(service):
    response = service.post("/recommend", json={"histories": [["i1", "x"], ["i2"], ["y", "x"]]})
    assert response.status_code == 422 and response.json()["unknown_keys"] == ["x", "y"]
    assert "does not know" in response.json()["detail"]


def test_health_says_what_is_served(service, recommender):
    assert service.get("/health").json() == {"status": "ok", "model": "PRORec", "ranking": recommender.settings["ranking"], "n_items": 60,
                                             "max_length": 20, "requests": 0}


# Limits

@pytest.mark.parametrize("body, said", [
    ({"histories": [["i1"]], "k": 21}, "k: Input should be less than or equal to 20"),
    ({"histories": [["i1"]], "k": 0}, "k: Input should be greater"),
    ({"histories": [["i1"]], "k": "5"}, "k: Input should be a valid integer"),
    ({"histories": [["i1"]] * 65}, "histories: List should have at most 64"),
    ({"histories": [["i1"] * 1001]}, "histories.0: List should have at most 1000"),
    ({"histories": [["i1"], []]}, "histories.1: List should have at least 1"),
    ({"histories": [[50]]}, "histories.0.0: Input should be a valid string"),
    ({"histories": [["i1"]], "topk": 5}, "topk: Extra inputs"),
    ({}, "histories: Field required"),
    ({"histories": [[f"i{i}" for i in range(45)]], "k": 16, "exclude_seen": True}, "history 1: k is 16, but only 15 of 60"),
])
def test_what_cannot_be_answered_is_one_clear_422(service, body, said):
    response = service.post("/recommend", json=body)
    assert response.status_code == 422 and said in response.json()["detail"]


@pytest.mark.parametrize("body, status", [
    (b"{", 422), (b"", 422), (b'{"k": "\xff"}', 400), (b"[" * 100_000, 400), (b'{"k": ' + b"9" * 5000 + b"}", 400), (b'{"k": NaN}', 422),
    (b'{"histories": [["\\ud800"]]}', 422), (b'{"histories": [["\\u0000"]]}', 422),
])
def test_bytes_that_are_no_request_are_refused(service, body, status):
    response = service.post("/recommend", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status and response.json()["detail"]


@pytest.mark.parametrize("body", [b" " * 3_000_000, [b" " * 1000] * 3000], ids=["with its length", "in chunks"])
def test_a_body_that_is_too_large_is_refused(service, body):
    response = service.post("/recommend", content=body if isinstance(body, bytes) else iter(body))
    assert response.status_code == 413 and "1048576 bytes" in response.json()["detail"]


def test_a_body_that_never_ends_is_refused_while_it_comes(service):
    with socket.create_connection((service.base_url.host, service.base_url.port), timeout=5) as connection:
        connection.sendall(b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"20000\r\n" + b" " * 0x20000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_not_waited_for(recommender):
    with serving(recommender, body_seconds=0.1) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=5) as connection:
            connection.sendall(b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert client.get("/health").json()["requests"] == 0


def test_a_full_service_says_so_stays_healthy_and_recovers(recommender):
    go_on = threading.Event()

    def rank(*words):
        go_on.wait(10)
        return recommender.rank(*words)

    with serving(recommender, Batcher(rank, max_wait_ms=0), max_requests=3) as client, ThreadPoolExecutor(3) as clients:
        inside = [clients.submit(answer, client, [["i1"]]) for _ in range(3)]
        deadline = time.monotonic() + 10
        while client.get("/health").json()["requests"] < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = client.post("/recommend", json={"histories": [["i1"]]})
        go_on.set()
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1" and "Try again" in refused.json()["detail"]
        assert all(future.result() for future in inside)
        assert answer(client, [["i1"]]) and client.get("/health").json()["requests"] == 0


# The OpenAPI page

@pytest.fixture(scope="module")
def described(service):
    return schemathesis.openapi.from_url(f"{service.base_url}/openapi.json")


CHECKED = [check for check in CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]  # item keys may be unknown


def known(case):
    """With items that the model knows, if it is a request at all."""
    with contextlib.suppress(TypeError, KeyError):
        case.body = {**case.body, "histories": [[f"i{len(str(key)) % 60}" for key in history] for history in case.body["histories"]]}
    return case


@pytest.mark.parametrize("label, mode, change", [
    ("POST /recommend", "positive", None), ("POST /recommend", "positive", known), ("POST /recommend", "negative", None),
    ("POST /recommend", "negative", known), ("GET /items/{key}", "positive", None), ("GET /health", "positive", None),
])
def test_no_request_gets_an_answer_that_the_openapi_page_does_not_announce(described, label, mode, change):
    operation = described.find_operation_by_label(label)

    @FUZZ
    @given(operation.as_strategy(generation_mode=GenerationMode(mode)))
    def fuzz(case):
        (change(case) if change else case).call_and_validate(checks=CHECKED)

    fuzz()


# The command

def test_the_command_serves_on_loopback_until_interrupted(run, recommender):
    item_file = str(Path(run.dataset.dataset_path, "tiny.item"))
    words = ["serve", "--checkpoint", run.trainer.saved_model_file, "--port", "0", "--show-text", item_file, "--text-template", "{title}"]
    process = subprocess.Popen([sys.executable, "-m", "recbole_prorec.command", *words], stderr=subprocess.PIPE, text=True,
                               cwd=Path(__file__).parents[1], env={**os.environ, "OMP_NUM_THREADS": "1"},
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a job in the background ignores it
    try:
        said = process.stderr.readline()
        url = said.split()[6].rstrip(",")
        assert "PRORec of 60 items" in said and url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, timeout=20) as client:
            close(answer(client, HISTORIES, k=5), recommender.recommend(HISTORIES, k=5))
            assert client.get("/items/i5").json()["text"].startswith("The ")
            assert client.get("/docs").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130 and process.stderr.read() == "prorec: interrupted\n"
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_an_answer_does_not_wait_for_an_acknowledgement():
    """By the option, not by the clock: with it off, every answer takes 40 ms more."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_one_clear_message(run, capsys):
    with listen("127.0.0.1", 0) as listener:
        port = str(listener.getsockname()[1])
        assert main(["serve", "--checkpoint", run.trainer.saved_model_file, "--port", port]) == 2
    error = capsys.readouterr().err
    assert f"cannot listen on port {port} of 127.0.0.1: it is in use. Give another --port." in error and error.count("\n") == 1


@pytest.mark.parametrize("words, said", [
    (["--port", "70000"], "--port is 70000; expected 0 to 65535"), (["--port", "0", "--max-requests", "513"], "expected at most 512"),
    (["--port", "0", "--max-k", "0"], "max_k is 0; expected at least 1"), (["--port", "0", "--max-wait-ms", "-1"], "max_wait_ms -1"),
    (["--port", "0", "--checkpoint", "gone.pth"], "gone.pth cannot be read"),
])
def test_flags_that_cannot_be_are_one_clear_message(run, capsys, words, said):
    assert main(["serve", "--checkpoint", run.trainer.saved_model_file, *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("prorec: ") and error.count("\n") == 1


def test_a_host_that_nobody_knows_is_one_clear_message(run, capsys, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert main(["serve", "--checkpoint", run.trainer.saved_model_file, "--host", "nowhere", "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert "of nowhere: Name or service not known. Give another --port or --host." in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["fastapi", "uvicorn"])
def test_without_the_extra_the_command_says_what_to_install(run, monkeypatch, capsys, name):
    for module in [module for module in sys.modules if module.startswith("recbole_prorec.serve.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["serve", "--checkpoint", run.trainer.saved_model_file]) == 2
    assert f'{name} is missing. Run: pip install ".[serve]"' in capsys.readouterr().err


def test_a_batch_of_none_is_refused():
    with pytest.raises(InputError, match="max_batch is 0"):
        Batcher(told_apart, max_batch=0)
