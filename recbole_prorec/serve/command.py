"""prorec serve."""

import errno
import socket
import sys

from recbole_prorec.errors import InputError
from recbole_prorec.inference.commands import CHECKPOINT, add_show_text, read_texts
from recbole_prorec.inference.recommender import load
from recbole_prorec.serve.batching import Batcher
from recbole_prorec.serve.limits import CONNECTIONS, SPARE, Limits

LIMITS = {"max_k": "items for each history", "max_histories": "histories of a request", "max_history": "items of a history",
          "max_body": "bytes of a request", "max_requests": "requests at the same time; more are told to come again (503)"}


def add_serve(commands):
    parser = commands.add_parser("serve", help="answer requests for recommendations over HTTP", epilog="GET /docs tells the rest.")
    parser.add_argument("--checkpoint", required=True, help=CHECKPOINT)
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="whom to answer: 127.0.0.1 (the default) this machine alone, 0.0.0.0 everyone")
    parser.add_argument("--beam-size", type=int, help="items that the beam looks at (default: the trained model's)")
    add_show_text(parser)
    parser.add_argument("--device", default="cpu", help="as torch calls it (default: cpu)")
    parser.add_argument("--max-batch", type=int, default=64, help="histories that are ranked together (default: 64)")
    parser.add_argument("--max-wait-ms", type=float, default=2.0, help="how long a history waits for others (default: 2)")
    for name, about in LIMITS.items():
        default = getattr(Limits, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"{about} (default: {default})")
    parser.set_defaults(run=serve)


def serve(args):
    server_class, config_class, create_app = _needed()
    limits = Limits(**{name: getattr(args, name) for name in LIMITS})
    with listen(args.host, args.port) as listener:
        recommender = load(args.checkpoint, args.beam_size, args.device)
        recommender.rank([[1]], 1)  # the first call takes longest
        batcher = Batcher(recommender.rank, args.max_batch, args.max_wait_ms)
        app = create_app(recommender, batcher, limits.of(recommender), read_texts(recommender, args))
        config = config_class(app, log_level="warning", lifespan="on", limit_concurrency=CONNECTIONS + SPARE, timeout_graceful_shutdown=10)
        print(f"prorec: {recommender.model} of {recommender.n_items} items at {_url(listener)}, described at {_url(listener)}/docs",
              file=sys.stderr, flush=True)
        server_class(config).run(sockets=[listener])


def _needed():
    try:
        from uvicorn import Config, Server

        from recbole_prorec.serve.app import create_app
    except ModuleNotFoundError as error:
        raise InputError(f'prorec serve needs FastAPI and uvicorn, and {error.name} is missing. Run: pip install ".[serve]"') from error
    return Server, Config, create_app


def listen(host, port):
    """A socket that listens, so that a port in use is known before the model is read."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}; expected 0 to 65535.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address, family=family, backlog=CONNECTIONS)
        # Connections inherit it. asyncio sets it on sockets that name their protocol alone; without it an answer, which goes out as head
        # and body, waits 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, UnicodeError) as error:
        in_use = getattr(error, "errno", None) == errno.EADDRINUSE
        why = "it is in use" if in_use else getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on port {port} of {host}: {why}. Give another --port{'' if in_use else ' or --host'}.") from error


def _url(listener):
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
