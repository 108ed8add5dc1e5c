"""Starts the jobs of a ledger one after the other, each in a process of its own, and notices how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import structlog

from atomscatter.errors import AtomscatterError
from service.jobs import MAX_ATTEMPTS, Job
from service.state import StateDirectory

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_END = 20.0  # after SIGTERM, before SIGKILL
_PROGRAM_ROOT = Path(__file__).resolve().parents[1]


class JobRunner:
    """A thread that works on the ledger of a state directory.

    Job processes have sessions of their own: when the server is killed they go on, note their end in the
    ledger, and the next server takes them over. When the server ends properly, the running job is ended and
    queued again; the next server starts it, and features that are there already are not computed again.

    Args:
        state: the directory.
        address: of a running Ray cluster, ``host:port``; None: each job starts a local Ray.
    """

    def __init__(self, state: StateDirectory, address: str | None = None) -> None:
        self._state = state
        self._address = address
        self._ledger = state.ledger()
        self._child: tuple[str, subprocess.Popen[bytes]] | None = None
        self._asked_to_end: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the running job, which stays queued, and the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for job in self._ledger.in_state("running", "cancelling"):
            self._end(job)

    @property
    def alive(self) -> bool:
        """Whether jobs are being looked after."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                self._look()
            except AtomscatterError as error:  # a full disk, say: look again later
                self._log.error("the job ledger cannot be used", reason=str(error))
                self._stop.wait(2.0)

    def _look(self) -> None:
        busy = False
        for job in self._ledger.in_state("running", "cancelling"):
            if self._is_running(job):
                busy = True
                if job.state == "cancelling":
                    self._ask_to_end(job)
            else:
                self._gone(job)
        if self._child is not None and self._child[1].poll() is None:
            busy = True  # it has not taken its job yet, or is about to end
        if not busy:
            waiting = self._ledger.in_state("queued")
            if waiting:
                self._launch(waiting[0])

    def _launch(self, job: Job) -> None:
        if job.attempts >= MAX_ATTEMPTS:
            self._ledger.finish(job.id, "failed", error=f"its process died {MAX_ATTEMPTS} times")
            return
        self._ledger.attempt(job.id)
        log = self._state.log(job.id)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "workers.job", str(self._state.root.absolute()), job.id]
        if self._address is not None:
            command.append(self._address)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=_PROGRAM_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._child = (job.id, process)

    def _gone(self, job: Job, *, blameless: bool = False) -> None:
        """The process has ended, perhaps without saying how."""
        if self._ledger.get(job.id).has_ended:  # it said so a moment ago
            return
        self._kill_group(job)
        if job.state == "cancelling":
            self._ledger.finish(job.id, "cancelled")
        else:
            if not blameless:
                self._log.warning("the process of a job died", job=job.id, attempt=job.attempts)
            self._ledger.requeue(job.id, blameless=blameless)

    def _is_running(self, job: Job) -> bool:
        if self._child is not None and self._child[0] == job.id and self._child[1].poll() is not None:
            return False
        try:
            process = psutil.Process(job.pid)
            same = abs(process.create_time() - (job.pid_started or 0)) < 1
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def _ask_to_end(self, job: Job) -> None:
        """SIGTERM once, and SIGKILL to all that is left after a while."""
        assert job.pid is not None, "a running job has a process"
        first = self._asked_to_end.setdefault(job.id, time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            if time.monotonic() - first > _SECONDS_TO_END:
                os.killpg(job.pid, signal.SIGKILL)
            elif time.monotonic() - first < _SECONDS_BETWEEN_LOOKS / 2:
                os.kill(job.pid, signal.SIGTERM)

    def _kill_group(self, job: Job) -> None:
        # What a killed process left behind: its local Ray.
        if job.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(job.pid, signal.SIGKILL)

    def _end(self, job: Job) -> None:
        deadline = time.monotonic() + _SECONDS_TO_END
        self._asked_to_end.pop(job.id, None)
        while self._is_running(job):
            self._ask_to_end(job)
            if time.monotonic() > deadline + 2:
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._gone(job, blameless=True)
