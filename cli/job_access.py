"""The way to the jobs: a running server, or a state directory and, maybe, a Ray cluster."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from atomscatter.errors import ConfigError, WorkerError

if TYPE_CHECKING:
    from atomscatter.client import Client
    from service.jobs import Job

_SECONDS_FOR_AN_ANSWER = 5.0
_REFUSALS = (401, 403)
JobsAddress = Annotated[
    str | None,
    typer.Option(
        help="Dashboard of a Ray head (http://head:8265), whose nodes share the state directory, or a "
        "running atomscatter server (http://host:8000). Default: $ATOMSCATTER_JOBS_ADDRESS, else each job "
        "starts a local Ray.",
        show_default=False,
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        help="Directory of models, data sets and jobs; a Ray head's nodes see it under the same path, and a "
        "server has its own. Default: $ATOMSCATTER_STATE, else (not for new jobs of a Ray head) "
        "atomscatter-state.",
        show_default=False,
    ),
]


class Jobs(Protocol):
    """What can be done with jobs, whoever keeps them."""

    def add_dataset(self, file: Path, path_key: str | None, energy_key: str | None) -> str:
        """Keep a training set; its id."""

    def submit(self, kind: str, parameters: dict[str, Any]) -> Job:
        """Accept a job."""

    def jobs(self, limit: int) -> list[Job]:
        """The newest jobs first."""

    def job(self, job_id: str) -> Job:
        """One job, as it is now."""

    def log(self, job_id: str, offset: int | None = None) -> bytes:
        """The last megabyte of what a job has printed, or the first one after ``offset`` bytes."""

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job."""

    def resume(self, job_id: str) -> Job:
        """Let a job that failed or was cancelled wait again."""

    def write_off(self, job_id: str) -> Job:
        """Count a job as cancelled that nobody can be asked about."""


@dataclass(frozen=True)
class Access:
    """Jobs, and the options that lead another command to them."""

    jobs: Jobs
    options: str
    is_server: bool

    def command(self, words: str) -> str:
        """Command line, e.g. ``atomscatter jobs show ID --address ...``."""
        return f"atomscatter {words} {self.options}".rstrip()


@contextlib.contextmanager
def access(address: str | None, state: Path | None, *, new: bool = False) -> Iterator[Access]:
    """Find out what is at the address, for the time of a ``with`` block.

    Args:
        address, state: as given by the user; settings stand in for None.
        new: make a state directory that is not there.

    Raises:
        ConfigError: no state directory, or none named for new jobs of a Ray head; an address of another form;
            ``--state`` with a server.
        WorkerError: nothing answers at the address, or neither a Ray head nor a server does.
    """
    from service.logs import configure_logging
    from service.settings import ServeSettings, read_settings

    configure_logging()  # standard output is for what the commands print
    settings = read_settings(ServeSettings, state=state, jobs_address=address)
    address = settings.jobs_address
    if address is not None and _is_server(address):
        if state is not None:
            raise ConfigError(f"--state: the server at {address} has its own state directory")
        yield from _server(address)
        return
    if new and address is not None and "state" not in settings.model_fields_set:
        raise ConfigError(
            f"--address {address} is a Ray head: --state has to name a directory that its nodes see under "
            f"the same path; {settings.state}, the default, is of this machine"
        )
    yield from _desk(address, settings.state, settings.cluster_patience, new)


def _server(address: str) -> Iterator[Access]:
    from atomscatter.client import Client
    from service.settings import ClientSettings, read_settings

    key = read_settings(ClientSettings).api_key
    with Client(address, key=None if key is None else key.get_secret_value()) as client:
        yield Access(ServerJobs(client), f"--address {shlex.quote(address)}", is_server=True)


def _desk(address: str | None, root: Path, patience: float, new: bool) -> Iterator[Access]:
    from service.state import StateDirectory
    from workers.job_desk import JobDesk

    if not new and not (root / "jobs.sqlite").is_file():
        raise ConfigError(f"{root}: has no jobs (--state names another directory, --address a server)")
    with contextlib.closing(JobDesk(StateDirectory(root), address, patience)) as desk:
        desk.check()
        options = f"--state {shlex.quote(str(root))}"
        if address is not None:
            options = f"--address {shlex.quote(address)} {options}"
        yield Access(desk, options, is_server=False)


def _is_server(address: str) -> bool:
    """Whether a server of ours is at the address, and no Ray head."""
    import httpx

    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"--address is like http://head:8265 (a Ray head) or http://host:8000, not {address!r}"
        )
    try:
        with httpx.Client(base_url=address, timeout=_SECONDS_FOR_AN_ANSWER) as client:
            version = client.get("/api/version")
            if version.is_success or version.status_code in _REFUSALS:  # a head that asks for a token
                return False
            if client.get("/health/live").is_success:
                return True
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise WorkerError(f"nothing answers at {address}: {error or type(error).__name__}") from error
    raise WorkerError(f"{address}: neither a Ray head's dashboard nor an atomscatter server")


class ServerJobs:
    """The jobs of a running server. Refusals are ServiceError, trouble with the server WorkerError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def add_dataset(self, file: Path, path_key: str | None, energy_key: str | None) -> str:
        """See :class:`Jobs`."""
        keys = {"path_key": path_key, "energy_key": energy_key}
        with _told_apart():
            answer = self._client.upload(file, **{name: key for name, key in keys.items() if key is not None})
        return str(answer["id"])

    def submit(self, kind: str, parameters: dict[str, Any]) -> Job:
        """See :class:`Jobs`."""
        with _told_apart():
            return _job(self._client.submit(kind, **parameters))

    def jobs(self, limit: int) -> list[Job]:
        """See :class:`Jobs`."""
        with _told_apart():
            return [_job(body) for body in self._client.jobs(limit)]

    def job(self, job_id: str) -> Job:
        """See :class:`Jobs`."""
        with _told_apart():
            return _job(self._client.job(job_id))

    def log(self, job_id: str, offset: int | None = None) -> bytes:
        """See :class:`Jobs`."""
        with _told_apart():
            return self._client.log(job_id, offset)

    def cancel(self, job_id: str) -> Job:
        """See :class:`Jobs`."""
        with _told_apart():
            return _job(self._client.cancel(job_id))

    def resume(self, job_id: str) -> Job:
        """See :class:`Jobs`."""
        with _told_apart():
            return _job(self._client.resume(job_id))

    def write_off(self, job_id: str) -> Job:
        """Raises ConfigError: the server knows what has become of its jobs."""
        raise ConfigError(f"--lost: job {job_id} is looked after by a server")


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    from atomscatter.client import ServiceError

    try:
        yield
    except ServiceError as error:
        if error.status is None or error.status in (429, 500, 502, 503, 504):
            raise WorkerError(str(error)) from error
        raise


def _job(body: dict[str, Any]) -> Job:
    """From the server's JSON, which does not tell the attempts."""
    from service.jobs import Job

    values: dict[str, Any] = {field.name: body.get(field.name) for field in fields(Job)}
    return Job(**values | {"attempts": 0, "attempts_before": 0})
