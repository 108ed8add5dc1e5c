"""Probes and metrics for operators."""

from __future__ import annotations

import contextlib
import math
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.state import Service, service_of
from atomscatter.errors import StoreError, WorkerError
from service.disk import free_mib

router = APIRouter(tags=["operation"])

ServiceOf = Annotated[Service, Depends(service_of)]


class Health(BaseModel):
    """What a probe is told."""

    status: str
    model: str | None = None


@router.get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/health/ready")
async def ready(service: ServiceOf) -> Health:
    """The model is loaded and predictions can be made."""
    if not service.ready:
        raise HTTPException(503, "the service is starting or ending", {"Retry-After": "1"})
    return Health(status="ok", model=service.active.id)


@router.get("/health/jobs")
async def jobs(service: ServiceOf) -> Health:
    """Jobs are being started; the Ray cluster that they are meant for answers, or did a few seconds ago."""
    try:
        await service.check_jobs()
    except WorkerError as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from error
    return Health(status="ok")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: ServiceOf) -> PlainTextResponse:
    """Metrics in Prometheus' text format."""
    shown = service.metrics
    shown.pending.set(service.pool.pending)
    shown.lost.by_reason = service.pool.lost
    shown.state_free.set(math.nan)
    with contextlib.suppress(OSError):
        shown.state_free.set(2**20 * await run_in_threadpool(free_mib, service.directory.root.absolute()))
    try:
        counts = await run_in_threadpool(service.jobs.counts)
    except StoreError:  # the other numbers are wanted all the more, and old ones would be taken for new
        counts = {}
    shown.jobs.clear()
    for state, count in counts.items():
        shown.jobs.labels(state).set(count)
    return PlainTextResponse(shown.text(), media_type=CONTENT_TYPE_LATEST)
