"""Keys and scopes of requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import APIKeyHeader

from api.state import Service, service_of

_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="Needed only when the server was started with keys."
)


def needs(scope: str) -> Callable[..., None]:
    """Dependency: the request has a key with this scope, when the service uses keys; 401 or 403 otherwise."""

    def check(
        key: Annotated[str | None, Depends(_header)], service: Annotated[Service, Depends(service_of)]
    ) -> None:
        if service.keys is None:
            return
        found = service.keys.find(key) if key else None
        if found is None:
            raise HTTPException(401, "a valid X-API-Key is needed", {"WWW-Authenticate": "ApiKey"})
        if scope not in found.scopes:
            raise HTTPException(403, f"key {found.name} does not have the scope {scope}")

    return check
