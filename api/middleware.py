"""What happens around every request: its id, its log line, its metrics, and the limit of its body."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

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
        status, started = 500, False

        async def with_headers(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
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
                self._log.error("unexpected error", path=scope["path"], exc_info=error)
                if started:
                    raise
                refusal = problem(500, "an unexpected error; the log has it under the request id")
                await refusal(scope, receive, with_headers)
            finally:
                self.metrics.in_flight.dec()
                self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern, not the path: paths are the senders' invention.
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        self._log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=round(1000 * seconds, 1),
        )


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
