"""Where the processes of jobs run: beside the server, or on a Ray cluster through its Jobs API."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil  # type: ignore[import-untyped]

from atomscatter.errors import ConfigError, WorkerError
from service.job_files import JobFiles
from service.jobs import Job
from service.state import StateDirectory

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

LOCAL = "local"
_PROGRAM_ROOT = Path(__file__).resolve().parents[1]
_MARK = "ATOMSCATTER_JOB"
_SECONDS_FOR_AN_ANSWER = 10.0
_SECONDS_FOR_A_START = 120.0  # a submission waits for the node's agent, which starts after the dashboard
_MOST_LAST_WORDS = 10_000  # characters
_RAY_REDIRECTIONS = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


class JobPlace(Protocol):
    """Starts, watches and ends the process of a job."""

    on_cluster: bool
    """Whether processes join a running cluster; they may then outlive the server and its machine."""
    name: str
    """Tells places apart: the cluster's address, or ``local``."""

    def launch(self, job: Job) -> None:
        """Start the process of this attempt. Raises WorkerError when that cannot be done now."""

    def alive(self, job: Job) -> bool:
        """Whether the process of this attempt runs, or will. Raises WorkerError when that cannot be said."""

    def ask_to_end(self, job: Job) -> None:
        """SIGTERM to the process."""

    def kill(self, job: Job) -> None:
        """SIGKILL to all that is left of this attempt."""

    def last_words(self, job: Job) -> str:
        """What is known of the end of an attempt and not in the job's log. Raises WorkerError."""

    def check(self) -> None:
        """Raise WorkerError when no job could be started now."""


class LocalProcesses:
    """Processes on this machine, in sessions of their own: the end of the server is not theirs."""

    on_cluster = False
    name = LOCAL

    def __init__(self, state: StateDirectory) -> None:
        self._root = state.root.absolute()
        self._files: JobFiles = state.job_files()
        self._children: list[subprocess.Popen[bytes]] = []

    def launch(self, job: Job) -> None:
        """Start a process that holds the job's lock until it ends, whatever becomes of this one."""
        with self._files.lock(job.id).open("w") as lock, self._files.log(job.id).open("ab") as log:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkerError(f"job {job.id} still has a process") from None
            child = subprocess.Popen(
                [sys.executable, "-m", "workers.job", str(self._root), job.id],
                cwd=_PROGRAM_ROOT,
                env=os.environ | {_MARK: job.id},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        self._children.append(child)

    def alive(self, job: Job) -> bool:
        """Whether the lock is held."""
        self._children = [child for child in self._children if child.poll() is None]
        try:
            with self._files.lock(job.id).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True

    def ask_to_end(self, job: Job) -> None:
        """SIGTERM to the process itself; it ends its Ray."""
        for process in self._marked(job):
            with contextlib.suppress(psutil.Error):
                if "workers.job" in process.cmdline():
                    process.send_signal(signal.SIGTERM)

    def kill(self, job: Job) -> None:
        """SIGKILL to the process and its Ray."""
        for process in self._marked(job):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def last_words(self, job: Job) -> str:
        """Nothing: all that it printed is in the log."""
        return ""

    def check(self) -> None:
        """A process can always be started."""

    def _marked(self, job: Job) -> Iterator[psutil.Process]:
        """Processes that inherited the job's mark: their numbers may belong to others by now."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == job.id:
                    yield process


class RayJobs:
    """Jobs of a Ray cluster. All nodes must share the state directory under the same path.

    Args:
        state: the directory.
        address: of the cluster's dashboard, ``http://host:8265``.

    Raises:
        ConfigError: the address is of another form.
    """

    on_cluster = True

    def __init__(self, state: StateDirectory, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise ConfigError(f"the address of Ray's Jobs API is like http://host:8265, not {address!r}")
        self.name = address.rstrip("/")
        self._root = state.root.absolute()
        self._address = address
        self._known: JobSubmissionClient | None = None
        self._connecting = threading.Lock()

    def launch(self, job: Job) -> None:
        """Submit the attempt under an id of its own; submitted twice it is one."""
        entrypoint = shlex.join(["exec", "python", "-m", "workers.job", str(self._root), job.id])
        with _explained(self._address, self._connect) as client:
            try:
                client.submit_job(entrypoint=entrypoint, submission_id=_submission_id(job))
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise

    def alive(self, job: Job) -> bool:
        """Whether Ray says that it is waiting or running."""
        return self._is_active(_submission_id(job))

    def ask_to_end(self, job: Job) -> None:
        """Ray sends SIGTERM, and SIGKILL a little later."""
        with _explained(self._address, self._connect) as client:
            client.stop_job(_submission_id(job))

    def kill(self, job: Job) -> None:
        """Ray ends what a job has left behind."""

    def last_words(self, job: Job) -> str:
        """What it said before it found its log: a node without the package or the state directory."""
        with _explained(self._address, self._connect) as client:
            message = client.get_job_info(_submission_id(job)).message or ""
            return f"{client.get_job_logs(_submission_id(job))[-_MOST_LAST_WORDS:]}{message}\n"

    def check(self) -> None:
        """Whether the cluster answers and lets us in; its version it would tell anybody."""
        self._is_active("atomscatter-check")

    def _is_active(self, submission_id: str) -> bool:
        with _explained(self._address, self._connect) as client:
            try:
                return not client.get_job_status(submission_id).is_terminal()
            except RuntimeError as error:
                if "does not exist" in str(error):  # the cluster is another one by now
                    return False
                raise

    def _connect(self) -> JobSubmissionClient:
        with self._connecting:
            if self._known is None:
                self._known = job_client(self._address)
            return self._known


def place_named(state: StateDirectory, name: str) -> JobPlace:
    """The place of this name (``JobPlace.name``). Raises ConfigError."""
    return LocalProcesses(state) if name == LOCAL else RayJobs(state, name)


def job_client(address: str) -> JobSubmissionClient:
    """Client of the Jobs API at ``http://host:8265``, which gives up when there is no answer for a while.

    Raises:
        ConnectionError: nothing answers.
        RuntimeError: what answers is no Ray, or refuses (a token is asked for).
    """
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **arguments: Any) -> Any:
            seconds = _SECONDS_FOR_A_START if method == "POST" else _SECONDS_FOR_AN_ANSWER
            arguments.setdefault("timeout", seconds)
            return super()._do_request(method, endpoint, **arguments)

    # They would silently redirect to another cluster.
    redirections = {name: os.environ.pop(name) for name in _RAY_REDIRECTIONS if name in os.environ}
    try:
        return Client(address)
    finally:
        os.environ.update(redirections)


@contextlib.contextmanager
def _explained(address: str, connect: Any) -> Iterator[JobSubmissionClient]:
    try:
        yield connect()
    except Exception as error:  # of Ray, requests and urllib3
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorkerError(f"Ray's Jobs API at {address} cannot be used: {reason}{_hint(reason)}") from error


def _hint(reason: str) -> str:
    refused = any(word in reason for word in ("401", "403", "Unauthorized", "token"))
    return " (RAY_AUTH_MODE=token and the cluster's token belong into the environment)" if refused else ""


def _submission_id(job: Job) -> str:
    return f"atomscatter-{job.id}-{job.attempts}"
