"""Lets in as many requests and as much of each as the service can hold. A body is read here, so that no later reader sees one too large."""

import asyncio

from starlette.requests import ClientDisconnect

from recbole_prorec.serve.problem import Refusal, problem


class Gate:
    """ASGI middleware. Applies to requests with a body; the others are cheap, and health must be told of a full service too."""

    def __init__(self, app, limits):
        self.app, self.limits, self.inside = app, limits, 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        if self.inside >= self.limits.max_requests:
            full = Refusal(503, f"{self.inside} requests are being answered, as many as this service takes. Try again soon.")
            return await problem(full)(scope, receive, send)
        self.inside += 1
        try:
            await self._pass(scope, receive, send)
        finally:
            self.inside -= 1

    async def _pass(self, scope, receive, send):
        try:
            body = await self._body(scope, receive)
        except Refusal as error:
            return await problem(error)(scope, receive, send)
        except ClientDisconnect:
            return
        await self.app(scope, _replay(body, receive), send)

    async def _body(self, scope, receive):
        length = dict(scope["headers"]).get(b"content-length", b"0")
        self._check(int(length) if length.isdigit() else 0)  # one that lies is found out below
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return await self._read(receive)
        except TimeoutError:
            raise Refusal(408, f"The body did not arrive within {self.limits.body_seconds:g} s.") from None

    async def _read(self, receive):
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            self._check(len(body))
            more = message.get("more_body", False)
        return bytes(body)

    def _check(self, n_bytes):
        if n_bytes > self.limits.max_body:
            raise Refusal(413, f"The body is larger than {self.limits.max_body} bytes. Send fewer histories at once.")


def _replay(body, receive):
    """A receive() that gives the body, then what comes after it."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replayed():
        return next(messages, None) or await receive()

    return replayed
