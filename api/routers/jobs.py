"""/v1/jobs: featurize, train and evaluate in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api import examples
from api.errors import conflict
from api.security import Guarded, Needs
from api.state import Service, service_of
from service.job_inputs import require_inputs
from service.job_parameters import EvaluateParameters, FeaturizeParameters, JobType, TrainParameters
from service.jobs import Job, State
from service.strict import Strict

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(Needs("jobs"))], route_class=Guarded
)

ServiceOf = Annotated[Service, Depends(service_of)]
Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Id of the job.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="The same key with the same request gives the same job, however often it is sent.",
        examples=[examples.IDEMPOTENCY_KEY],
    ),
]
_SECONDS_BETWEEN_LOOKS = 0.3


class FeaturizeRequest(Strict):
    """Compute features."""

    type: Literal["featurize"]
    parameters: FeaturizeParameters


class TrainRequest(Strict):
    """Train a model."""

    type: Literal["train"]
    parameters: TrainParameters


class EvaluateRequest(Strict):
    """Compare a model with labels."""

    type: Literal["evaluate"]
    parameters: EvaluateParameters


JobRequest = Annotated[FeaturizeRequest | TrainRequest | EvaluateRequest, Field(discriminator="type")]


class JobOut(BaseModel):
    """A job and how far it is."""

    id: str
    type: JobType
    parameters: dict[str, Any]
    state: State
    created: str = Field(description="UTC, ISO 8601.")
    started: str | None
    ended: str | None
    done: int = Field(description="Units of work that are complete.")
    total: int | None = Field(description="Units of work in all; null before it is known.")
    unit: str | None = Field(description="What is counted.")
    error: str | None = Field(description="Why it failed.")
    result: dict[str, Any] | None = Field(
        description="Ids of what was made (store, model), and errors in meV/atom."
    )

    @classmethod
    def of(cls, job: Job) -> JobOut:
        """From the ledger."""
        return cls(**{name: getattr(job, name) for name in cls.model_fields})


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobOut]


@router.post(
    "",
    status_code=202,
    responses={
        202: {
            "headers": {
                "Location": {
                    "description": "Path of the job.",
                    "schema": {"type": "string"},
                    "example": f"/v1/jobs/{examples.JOB['id']}",
                }
            }
        }
    },
)
async def submit(
    body: JobRequest, service: ServiceOf, response: Response, idempotency_key: IdempotencyKey = None
) -> JobOut:
    """Accept a job; it is on disk when this answers, and survives the end of the server."""
    active, parameters, defaults = service.active, body.parameters.model_dump(mode="json"), {}
    if isinstance(body.parameters, EvaluateParameters) and body.parameters.model is None:
        defaults["model"] = active.id  # of this server: --model may have set it
    known = await run_in_threadpool(service.jobs.known, body.type, parameters, idempotency_key)
    if known is None:  # else it was accepted, whatever has changed since
        await run_in_threadpool(
            require_inputs, service.directory, service.jobs, body.parameters, active.ensemble
        )
    job, _ = await run_in_threadpool(
        service.jobs.submit,
        body.type,
        parameters,
        idempotency_key,
        defaults=defaults,
        max_queued=service.settings.max_jobs,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobOut.of(job)


@router.get("")
async def jobs(service: ServiceOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JobList:
    """The newest jobs."""
    return JobList(jobs=[JobOut.of(j) for j in await run_in_threadpool(service.jobs.all, limit)])


@router.get("/{job_id}")
async def job(job_id: Id, service: ServiceOf) -> JobOut:
    """One job."""
    return JobOut.of(await run_in_threadpool(service.jobs.get, job_id))


@router.delete("/{job_id}")
async def cancel(job_id: Id, service: ServiceOf) -> JobOut:
    """Ask for the end of a job; one that has ended stays as it is."""
    return JobOut.of(await run_in_threadpool(service.jobs.cancel, job_id))


@router.post(
    "/{job_id}/resume",
    status_code=202,
    responses=conflict("It has not ended, or has succeeded.", examples.JOB_NOT_ENDED),
)
async def resume(job_id: Id, service: ServiceOf) -> JobOut:
    """Let a job that failed or was cancelled wait again; it keeps its id and what it has computed."""
    return JobOut.of(
        await run_in_threadpool(service.jobs.resume, job_id, max_queued=service.settings.max_jobs)
    )


@router.get("/{job_id}/log", response_class=PlainTextResponse)
async def log(
    job_id: Id,
    service: ServiceOf,
    offset: Annotated[
        int | None, Query(ge=0, lt=2**63, description="Bytes to leave out: those that were read before.")
    ] = None,
) -> PlainTextResponse:
    """What the job has printed so far; its last megabyte, or the first after an offset."""
    await run_in_threadpool(service.jobs.get, job_id)
    return PlainTextResponse(await run_in_threadpool(service.directory.job_files().log_part, job_id, offset))


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Server-sent events named job: the job as JSON, whenever it has changed.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def events(job_id: Id, service: ServiceOf) -> EventSourceResponse:
    """The job whenever it changes, until it has ended."""
    first = await run_in_threadpool(service.jobs.get, job_id)
    return EventSourceResponse(_changes(service, first), ping=15)


async def _changes(service: Service, job: Job) -> AsyncIterator[ServerSentEvent]:
    shown: Job | None = None
    while True:
        if job != shown:
            shown = job
            yield ServerSentEvent(event="job", data=JobOut.of(job).model_dump_json())
        if job.has_ended or service.draining:
            return
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        job = await run_in_threadpool(service.jobs.get, job.id)
