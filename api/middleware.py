"""What happens around every request: its id, its log line, its metrics, the limit of its body, HEAD, and what
becomes of it when its sender hangs up."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from urllib.parse import quote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from api.metrics import Metrics

REQUEST_ID = "x-request-id"

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

# Any word is a method, and each label that was counted stays: what no route has is counted as one.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


# Those who ask all the time; what they are told is in the log only when it is no good news.
_ASKED_ALL_THE_TIME = re.compile("/health/.*|/metrics")


class _BodyTooLargeError(Exception):
    """The body has more bytes than the route accepts."""


class Observed:
    """Request id (the sender's, if it is harmless), one log line, metrics, security headers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
        request_id = given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex
        status, started, streaming = 500, False, False
        scope.setdefault("state", {})  # of the request: routes note in it whose key it has

        async def with_headers(message: Message) -> None:
            nonlocal status, started, streaming
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream"):
                    streaming = True  # answered; what follows lasts as long as a job
                    self.metrics.in_flight.dec()
                headers = {REQUEST_ID: request_id, **_SECURITY_HEADERS}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in headers.items()),
                ]
            await send(message)

        began = time.perf_counter()
        self.metrics.in_flight.inc()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, with_headers)
            except Exception as error:
                # Here, not in a handler of the framework: that one is outside, where no id is known.
                self._log.error("unexpected error", path=_one_line(scope["path"]), exc_info=error)
                if started:
                    raise
                refusal = problem(500, "an unexpected error; the log has it under the request id")
                await refusal(scope, receive, with_headers)
            finally:
                if not streaming:
                    self.metrics.in_flight.dec()
                self._note(scope, status, time.perf_counter() - began, streaming)

    def _note(self, scope: Scope, status: int, seconds: float, streaming: bool) -> None:
        # The route's pattern, not the path: paths are the senders' invention.
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        if not streaming:
            self.metrics.seconds.labels(route).observe(seconds)
        key = scope["state"].get("key")
        self._log.log(
            logging.DEBUG if status < 400 and _ASKED_ALL_THE_TIME.fullmatch(route) else logging.INFO,
            "request",
            method=scope["method"],
            path=_one_line(scope["path"]),
            status=status,
            milliseconds=round(1000 * seconds, 1),
            client=_one_line(scope["client"][0]) if scope.get("client") else None,
            **({"key": key} if key else {}),
        )


def _one_line(text: str) -> str:
    """Of a sender's invention, as it may be in a log: without line ends, and what else steers a terminal."""
    return quote(text, safe="/:", errors="replace")


class HeadAsGet:
    """Answer HEAD where GET is answered, without the body: routes of the framework know GET only.

    Except for streams of events, whose end, the only thing that is left of them, is that of a job.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].endswith("/events"):
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        inner = {**scope, "method": "GET"}  # a copy: the server keeps to what it was asked
        try:
            await self.app(inner, receive, without_body)
        finally:
            scope["route"] = inner.get("route")


class WhileAwaited:
    """End the work on a request when its sender hangs up: others wait for the processes that it would take.

    Args:
        app: what it wraps.
        paths: of requests that change nothing, and may end anywhere.
    """

    def __init__(self, app: ASGIApp, paths: re.Pattern[str]) -> None:
        self.app = app
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not self.paths.match(scope["path"]):
            await self.app(scope, receive, send)
            return
        complete = asyncio.Event()
        answering = False

        async def noting_the_end() -> Message:
            message = await receive()
            if not message.get("more_body"):
                complete.set()
            return message

        async def noting_the_answer(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        async def hung_up() -> None:
            await complete.wait()  # until then the messages are the app's
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self.app(scope, noting_the_end, noting_the_answer))
        watch = asyncio.create_task(hung_up())
        try:
            await asyncio.wait([work, watch], return_when=asyncio.FIRST_COMPLETED)
            if answering or work.done():  # after an answer, servers say that the sender has gone
                await work
            else:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                await problem(499, "the sender has hung up")(scope, receive, send)  # for log and metrics
        finally:
            work.cancel()
            watch.cancel()


class LimitedBody:
    """Refuse bodies above a limit with 413, whether or not they announce their length.

    Args:
        app: what it wraps.
        limit_of: path -> largest body in bytes.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self.app = app
        self.limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(scope["path"])
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        refusal = problem(413, f"the body has more than {limit} bytes", headers={"Connection": "close"})
        if announced.isdigit() and int(announced[:20]) > limit:
            await refusal(scope, receive, send)
            return
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _BodyTooLargeError
            return message

        async def noting(message: Message) -> None:
            nonlocal started
            # Frameworks turn an error while reading into one of their own: the true reason goes out.
            if message["type"] == "http.response.start" and received > limit and not started:
                started = True
                await refusal(scope, receive, send)
                return
            if received > limit and started:
                return
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counted, noting)
        except _BodyTooLargeError:
            if not started:
                await refusal(scope, receive, send)
