"""``atomscatter jobs``: look at jobs, end them, and let them go on."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from cli import options
from cli.followed import EXIT_CODES, as_mapping, follow, report
from cli.job_access import JobsAddress, State, access

app = typer.Typer(
    help="Look at the jobs of a state directory or a server, end and resume them. Each call first asks the "
    "cluster what has become of its jobs, and starts what waits for its own place.",
    no_args_is_help=True,
)
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.", show_default=False)]


@app.command("list")
def show_all(
    limit: Annotated[int, typer.Option(help="How many; the newest first.", min=1, max=1000)] = 20,
    address: JobsAddress = None,
    state: State = None,
    as_json: options.AsJson = False,
) -> None:
    """Jobs, the newest first."""
    with access(address, state) as found:
        jobs = found.jobs.jobs(limit)
    if as_json:
        typer.echo(json.dumps([as_mapping(job) for job in jobs], allow_nan=False))
        return
    from service.tables import rich_table, terminal

    rows = [
        [job.id, job.type, job.state, f"{job.done}/{job.total} {job.unit}" if job.total else "", job.created]
        for job in jobs
    ]
    terminal().print(rich_table("jobs", ("id", "type", "state", "done", "created (UTC)"), rows))


@app.command()
def show(
    job_id: JobId,
    follow_it: Annotated[bool, typer.Option("--follow", help="Watch it until it has ended.")] = False,
    address: JobsAddress = None,
    state: State = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """One job; with --follow, exit codes as those of submit."""
    with access(address, state) as found:
        job = found.jobs.job(job_id)
        if follow_it:
            job = follow(found, job, quiet=quiet)
    if as_json or follow_it:
        report(job, as_json=as_json, quiet=quiet)
    else:
        for name, value in as_mapping(job).items():
            if value is not None:
                typer.echo(f"{name}: {value}")
    if follow_it:
        raise typer.Exit(EXIT_CODES[job.state])


@app.command()
def logs(
    job_id: JobId,
    follow_it: Annotated[bool, typer.Option("--follow", help="Go on until the job has ended.")] = False,
    address: JobsAddress = None,
    state: State = None,
) -> None:
    """What a job has printed: its last megabyte; with --follow, all of it until it has ended."""
    with access(address, state) as found:
        job = found.jobs.job(job_id)
        if not follow_it:
            sys.stdout.write(found.jobs.log(job_id).decode("utf-8", "replace"))
            return
        job = follow(found, job, lines=True)
    raise typer.Exit(EXIT_CODES[job.state])


@app.command()
def cancel(
    job_id: JobId,
    lost: Annotated[
        bool,
        typer.Option(
            "--lost", help="Its cluster is gone for good: count it as cancelled if that cannot be asked."
        ),
    ] = False,
    address: JobsAddress = None,
    state: State = None,
    quiet: options.Quiet = False,
) -> None:
    """End a job, and wait until it has ended; one that has ended stays as it is."""
    with access(address, state) as found:
        job = found.jobs.write_off(job_id) if lost else found.jobs.cancel(job_id)
        job = follow(found, job, quiet=quiet)
    report(job, as_json=False, quiet=quiet)


@app.command()
def resume(
    job_id: JobId,
    address: JobsAddress = None,
    state: State = None,
    quiet: options.Quiet = False,
) -> None:
    """Run a job again that failed or was cancelled, and watch it; features that it has made are kept.

    Exit codes as those of submit.
    """
    with access(address, state) as found:
        job = follow(found, found.jobs.resume(job_id), quiet=quiet)
    report(job, as_json=False, quiet=quiet)
    raise typer.Exit(EXIT_CODES[job.state])
