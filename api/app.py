"""The FastAPI application."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from api import examples
from api.cross_site import OwnSite
from api.errors import PROBLEM, add_error_handlers
from api.middleware import REQUEST_ID, HeadAsGet, LimitedBody, Observed, WhileAwaited
from api.routers import datasets, health, jobs, models, predictions, properties, structures
from api.schemas import Problem
from api.state import Service
from atomscatter.version import package_version
from service.settings import ServeSettings

STATIC = Path(__file__).parent / "static"

_CHANGE_NOTHING = re.compile("/v1/(predictions|properties|structures)")

DESCRIPTION = (
    "Energies of periodic atomic structures from wavelet scattering features and averaged sparse linear "
    "models, with uncertainties, and properties that follow from them. Lengths are in Angstrom, energies in "
    "eV, moduli in GPa."
)
_STATUSES = {
    400: "Malformed JSON",
    401: "No valid key",
    403: "Key without the scope, or a page of another site",
    404: "Unknown id",
    413: "Body too large",
    415: "Format that is not read",
    422: "Content that cannot be used; fields and structures are named",
    503: "Too much work is waiting; see Retry-After",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, text in _STATUSES.items()
}
_RESPONSES[503]["headers"] = {
    "Retry-After": {
        "description": "Seconds after which another try may help.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 2,
    }
}


def create_app(settings: ServeSettings | None = None) -> FastAPI:
    """An application with its own processes and models; nothing starts before its lifespan does."""
    settings = settings or ServeSettings()
    service = Service(settings)
    service.metrics.build.info({"version": package_version() or "0"})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
            yield
        finally:
            service.stop()

    app = FastAPI(
        title="Atomscatter",
        version=package_version() or "0",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # from /static, see _add_page: the framework's own comes from another server
        redoc_url=None,
        redirect_slashes=False,  # to an address that the sender's Host header makes
        responses=_RESPONSES,
    )
    app.state.service = service
    add_error_handlers(app)
    for router in (
        structures.router,
        predictions.router,
        properties.router,
        models.router,
        datasets.router,
        jobs.router,
        health.router,
    ):
        app.include_router(router)
    _add_page(app)
    _describe(app)

    def limit_of(path: str) -> int:
        if path == "/v1/datasets":
            return settings.max_dataset_bytes
        return settings.max_file_bytes if path.endswith("/file") else settings.max_body_bytes

    # The last one is outermost. CORS is: other origins are told of errors, too.
    app.add_middleware(WhileAwaited, paths=_CHANGE_NOTHING)
    app.add_middleware(LimitedBody, limit_of=limit_of)
    app.add_middleware(HeadAsGet)
    app.add_middleware(OwnSite, origins=settings.cors_origins)
    app.add_middleware(Observed, metrics=service.metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=[REQUEST_ID, "Location", "Retry-After"],
        )
    return app


def _add_page(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")


def _describe(app: FastAPI) -> None:
    """Put examples into the OpenAPI schema, and the problem document in place of FastAPI's own errors."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            components = schema["components"]["schemas"]
            components["Problem"] = Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                components.pop(name, None)
            for name in components:
                if name.startswith("Body_"):  # the framework's name for a form; see api.forms
                    components[name]["additionalProperties"] = False
            for name, example in examples.OF_SCHEMA.items():
                components[name]["examples"] = [example]  # here: the framework drops what is null in them
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
