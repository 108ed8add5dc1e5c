"""Watching a job: a bar on a terminal, the job's own log lines elsewhere."""

from __future__ import annotations

import codecs
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from atomscatter.errors import WorkerError
from cli.job_access import Access

if TYPE_CHECKING:
    from service.jobs import Job

EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 3}
DETACHED = 130
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_OF_PATIENCE = 120.0
_Show = Callable[["Job"], None]


def follow(found: Access, job: Job, *, lines: bool | None = None, quiet: bool = False) -> Job:
    """Watch a job until it has ended; what is shown goes to standard error.

    Args:
        found: where it is.
        job: the job.
        lines: show its log lines, and no bar; None: if standard error is no terminal.
        quiet: show nothing.

    Raises:
        typer.Exit: with code 130 on Ctrl-C; the job goes on.
        WorkerError: nothing could be learned about it for two minutes.
    """
    as_lines = not sys.stderr.isatty() if lines is None else lines
    showing = contextlib.nullcontext(_nothing) if quiet else _lines(found) if as_lines else _bar()
    try:
        with showing as show:
            while True:
                show(job)
                if job.has_ended:
                    return job
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                job = next_look(found, job.id)
    except KeyboardInterrupt:
        typer.echo(_farewell(found, job), err=True)
        raise typer.Exit(DETACHED) from None


def summary(job: Job) -> str:
    """One line: what became of a job."""
    text = f"job {job.id} ({job.type}): {job.state}"
    if job.total and not job.has_ended:
        text += f", {job.done} of {job.total} {job.unit}"
    if job.error:
        text += f": {job.error}"
    if job.result:
        text += ": " + ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in job.result.items()
            if not isinstance(value, dict)
        )
    return text


def report(job: Job, *, as_json: bool, quiet: bool = False) -> None:
    """How a job is: as JSON on standard output, or a line on standard error."""
    if as_json:
        typer.echo(json.dumps(as_mapping(job), allow_nan=False))
    elif not quiet or job.error:
        typer.echo(summary(job), err=True)


def as_mapping(job: Job) -> dict[str, Any]:
    """The keys that ``GET /v1/jobs/ID`` has, too."""
    values = asdict(job)
    del values["attempts"], values["attempts_before"]
    return values


def _nothing(_: Job) -> None:
    """Show nothing."""


def next_look(found: Access, job_id: str) -> Job:
    """The job as it is now, started if it was its turn; a cluster or server that is away is waited for.

    Raises WorkerError when it is away for two minutes.
    """
    deadline = time.monotonic() + _SECONDS_OF_PATIENCE
    warned = False
    while True:
        try:
            return found.jobs.job(job_id)
        except WorkerError as error:
            if time.monotonic() > deadline:
                again = found.command(f"jobs show {job_id}")
                raise WorkerError(f"{error} (job {job_id} may go on; look again with: {again})") from error
            if not warned:
                typer.echo(f"Waiting: {error}", err=True)
                warned = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def _lines(found: Access) -> Iterator[_Show]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offset = 0
    state = None

    def show(job: Job) -> None:
        nonlocal offset, state
        if job.state != state and not job.has_ended:  # the end is told by whoever follows
            state = job.state
            typer.echo(f"job {job.id} is {state}", err=True)
        while part := found.jobs.log(job.id, offset):
            offset += len(part)
            typer.echo(decoder.decode(part), err=True, nl=False)

    yield show


@contextlib.contextmanager
def _bar() -> Iterator[_Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, count="")

        def show(job: Job) -> None:
            count = f"{job.done}/{job.total} {job.unit}" if job.total else ""
            bar.update(
                task, description=f"{job.type} {job.state}", completed=job.done, total=job.total, count=count
            )

        yield show


def _farewell(found: Access, job: Job) -> str:
    goes_on = "goes on"
    if job.state == "queued" and not found.is_server:
        goes_on = "is queued, and starts when somebody looks at the jobs after those before it"
    again = found.command(f"jobs show {job.id} --follow")
    return f"\nDetached: job {job.id} {goes_on}. Look again with: {again}"
