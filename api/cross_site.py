"""Pages of other sites may not make a browser send requests that change something or cost something."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})  # browsers keep their answers from other sites


class OwnSite:
    """Refuse requests of other sites with 403, except those of origins that are named.

    A server without keys on this machine would otherwise do what any page says that is open in a browser
    here. Requests of other programs have none of these headers.

    Args:
        app: what it wraps.
        origins: that may send requests, as ``cors_origins``; "*" are all.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if (
            scope["type"] == "http"
            and scope["method"] not in _HARMLESS
            and self._foreign(Headers(scope=scope))
        ):
            refusal = problem(403, "requests of pages of another site are refused; cors_origins allows some")
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _foreign(self, headers: Mapping[str, str]) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self.origins or "*" in self.origins:
            return False
        if site == "same-origin":  # also where a proxy has changed the Host
            return False
        if site == "cross-site":
            return True
        return origin is not None and urlsplit(origin).netloc != headers.get("host", "").lower()
