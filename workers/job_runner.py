"""Starts the jobs of a ledger one after the other, each in a process of its own, and notices how they end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from functools import cached_property

import structlog

from atomscatter.errors import AtomscatterError, ConfigError, WorkerError
from service.jobs import MAX_ATTEMPTS, Job, JobLedger
from service.runner_lock import Holder
from service.settings import CLUSTER_PATIENCE
from service.state import StateDirectory
from workers.job_places import LOCAL, JobPlace, place_named

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_AFTER_TROUBLE = 2.0
_SECONDS_TO_END = 20.0  # after SIGTERM, before SIGKILL


class JobRunner:
    """Works on the ledger of a state directory, in a thread or whenever it is asked to look.

    One process at a time does so; the others wait until it has ended.

    A queued job waits for the place that it was submitted or resumed for, and a command that only passes by
    (:meth:`look`) starts those of its own place alone: ``jobs list`` on a laptop must not run there what was
    meant for a cluster. The state directory of a server is the server's: once started (:meth:`start`) it
    takes over whatever is queued, so that jobs do not wait for an address that it had before. Jobs of which
    no place is known, which a server has only just accepted, are started by anybody.

    When the server is killed its job goes on, writes down how it ends, and the next server reads that. When
    the server ends properly, a job on this machine is ended and queued again, and features that are there
    already will not be computed again; one on a cluster goes on.

    Args:
        state: the directory.
        address: Jobs API of a Ray cluster, ``http://host:8265``; None: each job starts a local Ray.
        patience: seconds without an answer of the cluster after which its job counts as failed; it can be
            resumed.

    Raises:
        ConfigError: the address is of another form.
    """

    def __init__(
        self, state: StateDirectory, address: str | None = None, patience: float = CLUSTER_PATIENCE
    ) -> None:
        self._files = state.job_files()
        self._place = place_named(state, LOCAL if address is None else address)
        self._state = state
        self._patience = patience
        self._places = {self._place.name: self._place, "": self._place}
        self._lock = state.runner_lock(self._place.name)
        self._told = False  # that another process looks after the jobs
        self._told_of: list[str] = []  # places that jobs wait for
        self._asked_to_end: dict[tuple[str, int], float] = {}  # attempts, and when each was last asked
        self._unanswered: set[tuple[str, int]] = set()  # attempts that a cluster may have, or not
        self._answered = time.monotonic()  # when a look went well, or the first could have
        self._trouble: str | None = None  # why the thread's last look failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._log = structlog.get_logger()

    @cached_property
    def _ledger(self) -> JobLedger:
        """Opened when the lock is held: several machines must not use it at the same time."""
        return self._state.ledger()

    def open(self) -> JobLedger:
        """The ledger, for all who need it in this process, which looks after the jobs if no other one does.

        Raises:
            ConfigError: a process on another machine looks after the jobs.
            StoreError: the ledger cannot be used.
        """
        # First: two machines must not use the ledger at the same time.
        holder = self.take_or_holder()
        if holder is not None and holder.host != socket.gethostname():
            raise ConfigError(
                f"{self._state.root}: its jobs are looked after by process {holder.pid} on {holder.host}; "
                "if that is a server, give its address"
            )
        return self._ledger

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and a job that runs on this machine: it stays queued."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_SECONDS_TO_END)
        try:
            if not self._place.on_cluster and self._lock.acquire():
                for job in self._ledger.in_state("running", "cancelling"):
                    if self._place_of(job) is self._place:
                        self._end(job)
        except (AtomscatterError, OSError) as error:  # the job goes on, and the next server finds it
            self._log.error("the running job cannot be ended", reason=str(error))
        self.leave()

    def take(self) -> bool:
        """Whether this process looks after the jobs from now on; False while another one does."""
        taken = self._lock.acquire()
        if not taken and not self._told:
            self._log.warning("another process looks after the jobs", holder=self._lock.holder())
        self._told = not taken
        return taken

    def take_or_holder(self) -> Holder | None:
        """None when this process looks after the jobs from now on, else the one that does."""
        while not self._lock.acquire():
            holder = self._lock.holder()
            if holder is not None:
                return holder
            time.sleep(_SECONDS_BETWEEN_LOOKS)  # it has only just taken the lock, or given it back
        return None

    def leave(self) -> None:
        """Let another process look after the jobs; they go on."""
        self._lock.release()

    def check(self) -> None:
        """Raise WorkerError when no job could be started now."""
        self._place.check()

    @property
    def place(self) -> str:
        """Where jobs are started: the cluster's address, or ``local``."""
        return self._place.name

    @property
    def alive(self) -> bool:
        """Whether jobs are being looked after, and the last look went well."""
        return self._thread.is_alive() and self._trouble is None

    def _run(self) -> None:
        while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
            if not self._looked():
                self._stop.wait(_SECONDS_AFTER_TROUBLE)

    def _looked(self) -> bool:
        """Look; whether it went well."""
        try:
            if self.take():
                self._ledger.take_over(self._place.name)
            self.look_or_give_up()
        except Exception as error:  # without this thread jobs would be accepted and never started
            self._tell_of_trouble(error)
            return False
        if self._trouble is not None:
            self._log.info("jobs are looked after again")
        self._trouble = None
        return True

    def _tell_of_trouble(self, error: Exception) -> None:
        """Once: the same is met with every two seconds, perhaps for days."""
        reason = f"{type(error).__name__}: {error}"
        if reason == self._trouble:
            return
        self._trouble = reason
        if isinstance(error, AtomscatterError | OSError):  # a full disk, a cluster that is away
            self._log.error("jobs cannot be looked after", reason=str(error))
        else:
            self._log.error("jobs cannot be looked after", exc_info=error)

    def look_or_give_up(self) -> None:
        """:meth:`look`; the active job fails when its cluster has not answered for the runner's patience."""
        try:
            self.look()
            self._answered = time.monotonic()
        except WorkerError as error:
            if time.monotonic() - self._answered > self._patience:
                self._give_up(error)
            raise

    def _give_up(self, error: WorkerError) -> None:
        with contextlib.suppress(AtomscatterError, OSError):  # the ledger's disk: the next round tries again
            for job in self._ledger.in_state("running", "cancelling"):
                self._log.error("a job is given up", job=job.id, reason=str(error))
                # Without the reason, which names the cluster: users of a service need not know where it is.
                told = (
                    f"its cluster could not be used for {self._patience:.0f} s; the log says why. "
                    "Resume the job when it can be"
                )
                self._ledger.finish(job.id, "failed" if job.state == "running" else "cancelled", error=told)

    def look(self) -> None:
        """Note what the active job has written and whether it has ended, else start the next.

        Does nothing while another process looks after the jobs. Raises WorkerError, StoreError, OSError; the
        next look may succeed.
        """
        if not self.take():
            return
        active = self._ledger.in_state("running", "cancelling")
        attempts = {(job.id, job.attempts) for job in active}
        self._asked_to_end = {key: when for key, when in self._asked_to_end.items() if key in attempts}
        self._unanswered &= attempts
        for job in active:
            alive = self._place_of(job).alive(job)
            if not self._noted(job) and alive and job.state == "cancelling":
                self._ask_to_end(job)
            elif not alive:
                self._gone(job, blameless=(job.id, job.attempts) in self._unanswered)
        if not active:
            self._launch_next()

    def _place_of(self, job: Job) -> JobPlace:
        """Where this attempt was started, perhaps by a process with another address."""
        try:
            request = self._files.request(job.id)
        except FileNotFoundError:  # it was not started
            return self._place
        name = request.place if request.attempt == job.attempts else ""
        if name not in self._places:
            self._places[name] = place_named(self._state, name)
        return self._places[name]

    def answering_place(self, job: Job) -> str | None:
        """Where this attempt was started, if that place can say what has become of it."""
        place = self._place_of(job)
        try:
            place.alive(job)
        except WorkerError:
            return None
        return place.name

    def _noted(self, job: Job) -> bool:
        """Take over what the process has written; whether it has ended."""
        status = self._files.status(job.id, job.attempts)
        if status is None:
            return False
        if (status.done, status.total, status.unit) != (job.done, job.total, job.unit):
            self._ledger.progress(job.id, status.done, status.total, status.unit)
        if status.state == "succeeded":
            self._ledger.finish(job.id, "succeeded", result=status.result)
        elif status.state == "failed":
            self._ledger.finish(job.id, "failed", error=status.error)
        return status.state != "running"

    def _launch_next(self) -> None:
        waiting = self._ledger.waiting(self._place.name)
        if not waiting:
            self._tell_of_others()
            return
        if waiting[0].is_out_of_attempts:
            error = f"its process died {MAX_ATTEMPTS} times; the log may say why"
            self._ledger.finish(waiting[0].id, "failed", error=error)
            return
        # In this order a server that is killed in between leaves a job that runs and has no process: the next
        # one queues it again.
        self._place.check()
        job = self._ledger.start(waiting[0].id, self._place.name)
        if job is not None:
            sent = False
            try:
                self._files.write_request(job, on_cluster=self._place.on_cluster, place=self._place.name)
                sent = self._place.on_cluster
                self._place.launch(job)
            except (AtomscatterError, OSError):
                # A cluster may have it all the same, when only the answer was lost: the next look asks.
                if sent:
                    self._unanswered.add((job.id, job.attempts))
                else:
                    self._ledger.requeue(job.id, blameless=True)
                raise

    def _tell_of_others(self) -> None:
        """Say once, for which other places jobs wait: nothing is started there from here."""
        places = self._ledger.waiting_elsewhere(self._place.name)
        if places and places != self._told_of:
            self._log.warning("jobs wait for another place", places=places, here=self._place.name)
        self._told_of = places

    def _gone(self, job: Job, *, blameless: bool = False) -> None:
        """The process has ended; perhaps it said how after the last look, perhaps it did not."""
        if self._noted(job):
            return
        self._place_of(job).kill(job)
        if job.state == "cancelling":
            self._ledger.finish(job.id, "cancelled")
        else:
            with contextlib.suppress(WorkerError):
                self._files.append_log(job.id, self._place_of(job).last_words(job))
            if not blameless:
                self._log.warning("the process of a job died", job=job.id, attempt=job.attempts)
            self._ledger.requeue(job.id, blameless=blameless)

    def _ask_to_end(self, job: Job) -> None:
        """SIGTERM, and after a while SIGKILL to all that is left; a cluster is asked again instead."""
        attempt, place = (job.id, job.attempts), self._place_of(job)
        asked = self._asked_to_end.get(attempt)
        if asked is not None and time.monotonic() - asked <= _SECONDS_TO_END:
            return
        if asked is None or place.on_cluster:
            place.ask_to_end(job)
            self._asked_to_end[attempt] = time.monotonic()  # not earlier: one that failed is sent again
        else:
            place.kill(job)

    def _end(self, job: Job) -> None:
        deadline = time.monotonic() + _SECONDS_TO_END + 2
        self._asked_to_end.pop((job.id, job.attempts), None)
        while self._place.alive(job) and time.monotonic() < deadline:
            self._ask_to_end(job)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._gone(job, blameless=True)
