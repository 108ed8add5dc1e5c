"""What a request must bring before its body is read: a key with the scope, and a media type that is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response, params
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader

from api.state import service_of

_FORM = "multipart/form-data"
_JSON = "application/json"


class Needs(APIKeyHeader):
    """Dependency: the request has a key with this scope, when the service uses keys; 401 or 403 otherwise.

    The framework resolves dependencies after it has read the body; routes of the class Guarded ask before.
    """

    def __init__(self, scope: str) -> None:
        super().__init__(
            name="X-API-Key",
            scheme_name="APIKeyHeader",
            description="Needed only when the server was started with keys.",
            auto_error=False,
        )
        self.scope = scope

    async def __call__(self, request: Request) -> None:  # type: ignore[override]
        """Raise HTTPException unless the key has the scope."""
        keys = service_of(request).keys
        if keys is None:
            return
        key = request.headers.get(self.model.name)
        found = keys.find(key) if key else None
        if found is None:
            raise HTTPException(401, "a valid X-API-Key is needed", {"WWW-Authenticate": "ApiKey"})
        request.state.key = found.name  # for the log
        if self.scope not in found.scopes:
            raise HTTPException(403, f"key {found.name} does not have the scope {self.scope}")


class Guarded(APIRoute):
    """A route that reads a body only from those who may send it, and of the kind that it takes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, after the checks."""
        handle = super().get_route_handler()
        needs = [d.dependency for d in self.dependencies if isinstance(d.dependency, Needs)]
        expected = _media_type(self)

        async def guarded(request: Request) -> Response:
            for need in needs:
                await need(request)
            if expected is not None:
                _check_media_type(request, expected)
            return await handle(request)

        return guarded


def _media_type(route: APIRoute) -> str | None:
    """What a route reads; None: it has no body."""
    if route.body_field is None:
        return None
    return _FORM if isinstance(route.body_field.field_info, params.Form) else _JSON


def _check_media_type(request: Request, expected: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    similar = expected == _JSON and given.startswith("application/") and given.endswith("+json")
    if given != expected and not similar:
        raise HTTPException(415, f"Content-Type must be {expected}, not {given or 'missing'}")
