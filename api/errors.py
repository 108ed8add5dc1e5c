"""Every error as RFC 9457 ``application/problem+json``; one table says which status an error has."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from atomscatter.errors import (
    AtomscatterError,
    ConfigError,
    DataError,
    ModelError,
    StorageError,
    StoreError,
    StructureError,
    WorkerError,
)
from service.datasets import UnknownIdError
from service.deletion import InUseError
from service.disk import room_checked
from service.job_parameters import PARAMETERS
from service.jobs import JobStateError, KeyReusedError, QueueFullError
from service.registry import UnknownModelError, UnusableModelError
from service.state import StateDirectory
from service.uploads import UnsupportedUploadError, UploadError
from workers.prediction_pool import BusyError, OverrunError

PROBLEM = "application/problem+json"

STATUS: dict[type[Exception], int] = {
    StructureError: 422,
    UploadError: 422,
    DataError: 422,
    ConfigError: 422,
    UnsupportedUploadError: 415,
    ModelError: 500,
    UnknownModelError: 404,
    UnknownIdError: 404,
    KeyReusedError: 422,
    JobStateError: 409,
    InUseError: 409,
    BusyError: 503,
    QueueFullError: 503,
    OverrunError: 422,
    StoreError: 503,
    WorkerError: 503,
}
"""Status of the library's errors; a class that is not named has that of its nearest base."""

_TITLE = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Closed Request"}
"""Names of RFC 9110, where those of the interpreter depend on its version, and of what nobody sees."""

_SECONDS_UNTIL_A_JOB_ENDS = 60  # a guess
_MALFORMED = {"json_invalid", "missing_body"}


class StructuresError(AtomscatterError):
    """Structures of a request cannot be used; ``problems`` has (pointer, index, reason) for each, where the
    index is None for what is wrong with the request as a whole."""

    def __init__(self, problems: Sequence[tuple[str, int | None, str]], detail: str | None = None) -> None:
        super().__init__(detail or _summary(problems))
        self.problems = problems


STATUS[StructuresError] = 422


def _summary(problems: Sequence[tuple[str, int | None, str]]) -> str:
    """How many structures are at fault, or what else is the matter, after the field that it came in."""
    of_the_whole = [f"{place.split('/')[1]}: {reason}" for place, index, reason in problems if index is None]
    return "; ".join(of_the_whole) or f"{len(problems)} of the structures cannot be used"


class _ProblemResponse(JSONResponse):
    media_type = PROBLEM

    def render(self, content: Any) -> bytes:
        """UTF-8, with a question mark for what has no place in it: half a surrogate pair, which the name of
        a form's part can have in a character set of the sender's choice."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document; ``errors`` are objects with ``pointer``, ``detail`` and, for structures,
    ``index``."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLE.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return _ProblemResponse(body, status, headers=dict(headers or {}))


def conflict(description: str, detail: str) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route that may answer 409: when it does, and an example of what it says then."""
    example = {"type": "about:blank", "title": HTTPStatus.CONFLICT.phrase, "status": 409, "detail": detail}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        409: {"description": description, "content": {PROBLEM: {"schema": schema, "example": example}}},
    }


def add_error_handlers(app: FastAPI) -> None:
    """Make an app answer with problem documents only (unexpected errors: api.middleware.Observed)."""
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(AtomscatterError, _on_ours)


def pointer(parts: Sequence[str | int]) -> str:
    """JSON pointer (RFC 6901)."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)


def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # The rejected input is not repeated: it may be large, or hold numbers that are not JSON.
    found = [_one_invalid(e) for e in error.errors()[:100]]
    if any(e["type"] in _MALFORMED for e in error.errors()):
        return problem(400, "the body is not valid JSON", errors=found)
    n = len(error.errors())
    return problem(422, "1 field is not valid" if n == 1 else f"{n} fields are not valid", errors=found)


def _one_invalid(error: Mapping[str, Any]) -> dict[str, Any]:
    place, *rest = error["loc"]
    if rest and rest[0] in PARAMETERS:
        del rest[0]  # the kind of job that decided, which is no place in the body
    detail = error["msg"].removeprefix("Value error, ")  # pydantic's, before what our own checks say
    found: dict[str, Any] = {"detail": detail, "in": place, "pointer": pointer(rest)}
    if len(rest) > 1 and rest[0] == "structures" and isinstance(rest[1], int):
        found["index"] = rest[1]
    return found


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, OSError):  # forms are kept on disk, and the framework blames the sender
        try:
            with room_checked(Path(tempfile.gettempdir())):
                raise error.__cause__
        except StorageError as full:
            return _on_ours(request, full)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request))) or headers.get("Allow", "GET")
    return problem(error.status_code, str(error.detail), headers=headers)


def _methods(request: Request) -> set[str]:
    """Methods of a path, over all its routes: the framework names those of the first one only."""
    described: dict[str, Any] = request.app.openapi()["paths"]
    template = getattr(request.scope.get("route"), "path", "")
    return {method.upper() for method in described.get(template, {})}


def _on_ours(request: Request, error: Exception) -> JSONResponse:
    status = next(STATUS[kind] for kind in [*type(error).__mro__, AtomscatterError] if kind in STATUS)
    if isinstance(error, BusyError):
        return problem(status, str(error), headers={"Retry-After": str(error.retry_after)})
    if isinstance(error, QueueFullError):
        return problem(status, str(error), headers={"Retry-After": str(_SECONDS_UNTIL_A_JOB_ENDS)})
    if isinstance(error, StructuresError):
        errors = [{"pointer": p, "index": i, "detail": reason} for p, i, reason in error.problems]
        return problem(status, str(error), errors=errors)
    if isinstance(error, UploadError):
        errors = [{"pointer": "/file", "index": i, "detail": reason} for i, reason in error.problems]
        n = len(errors)
        return problem(
            status, "1 problem in the file" if n == 1 else f"{n} problems in the file", errors=errors
        )
    if isinstance(error, OverrunError):
        place = {"pointer": f"/{_field_of(request)}", "index": None, "detail": str(error)}
        return problem(status, str(error), errors=[place])
    if isinstance(error, ModelError) and status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _on_unusable_model(error)
    detail = _without_place(request, error) if isinstance(error, StoreError) else str(error)
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(status, detail, headers=headers)


def _on_unusable_model(error: ModelError) -> JSONResponse:
    # What is wrong with it names files of this server: that is for the log.
    structlog.get_logger().error("a stored model cannot be used", reason=str(error))
    name = f"model {error.model_id}" if isinstance(error, UnusableModelError) else "the model"
    detail = f"{name} is damaged, or not of this version; the log says more under the request id"
    return problem(500, detail)


def _without_place(request: Request, error: StoreError) -> str:
    """The message without where on this machine the state directory is; that is for the log."""
    structlog.get_logger().error("files of the service cannot be used", reason=str(error))
    directory: StateDirectory = request.app.state.service.directory
    return directory.without_place(str(error))


def _field_of(request: Request) -> str:
    """Field that the structures of a request came in."""
    path = request.url.path
    if path.endswith(("/file", "/datasets")):
        return "file"
    return "structure" if path.endswith("/radial-distribution") else "structures"


STATUS[AtomscatterError] = 500
