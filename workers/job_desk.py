"""Jobs of a state directory without a server: what ``atomscatter submit`` and ``atomscatter jobs`` do.

Nothing stays behind that would look after the jobs: each call first notes what has happened since the last
one, on the cluster and in the directory, and starts what waits for its own place: the cluster whose address
it was given, else this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog

from atomscatter.errors import ConfigError, DataError, WorkerError
from service.datasets import DatasetReading, describe
from service.job_inputs import require_inputs
from service.job_parameters import PARAMETERS, EvaluateParameters
from service.jobs import Job
from service.settings import CLUSTER_PATIENCE
from service.state import StateDirectory
from service.uploads import UploadError
from workers.job_places import LOCAL
from workers.job_runner import JobRunner

_MOST_PROBLEMS = 20


class JobDesk:
    """The jobs of one state directory, seen by one user for the time of a command.

    Args:
        state: the directory; on a cluster, one that all nodes see under the same path.
        address: Jobs API of a Ray cluster, ``http://host:8265``; None: each job starts a local Ray.
        patience: as of :class:`JobRunner`, for commands that follow a job.

    Raises:
        ConfigError: a process on another machine looks after the jobs (the ledger must not be opened here
            then), or the address is of another form.
    """

    def __init__(
        self, state: StateDirectory, address: str | None, patience: float = CLUSTER_PATIENCE
    ) -> None:
        self._runner = JobRunner(state, address, patience)
        self._ledger = self._runner.open()
        self._state = state
        self._files = state.job_files()

    def check(self) -> None:
        """Raise WorkerError when no job could be started now."""
        self._runner.check()

    def add_dataset(self, file: Path, path_key: str | None, energy_key: str | None) -> str:
        """Keep a training set; its id. Raises DataError that names bad structures, UnsupportedUploadError."""
        reading, datasets = DatasetReading(path_key, energy_key), self._state.datasets()
        with file.open("rb") as content, datasets.received(content) as path:
            try:
                found = describe(file.name, path, reading)
            except UploadError as error:
                reasons = [_place(file, index) + reason for index, reason in error.problems]
                raise DataError("\n".join(reasons[:_MOST_PROBLEMS])) from error
            return datasets.add(path, reading, found).id

    def submit(self, kind: str, parameters: dict[str, Any]) -> Job:
        """Accept a job for this place; the next look starts it, if no other one is active.

        Raises:
            ConfigError: another process starts the jobs of this directory, at another place; or what the job
                needs does not go together.
            UnknownIdError, ModelError: what the job needs is not there.
        """
        self._require_own_place()
        wanted = PARAMETERS[kind].model_validate(parameters)
        if isinstance(wanted, EvaluateParameters) and wanted.model is None:
            # Now: another model may be active when the job starts.
            wanted = wanted.model_copy(update={"model": self._state.registry().active})
        require_inputs(self._state, self._ledger, wanted)
        job, _ = self._ledger.submit(kind, wanted.model_dump(mode="json"), place=self._runner.place)
        return job

    def jobs(self, limit: int) -> list[Job]:
        """The newest jobs first; as they were at the last look, if the cluster cannot be asked now."""
        self._look()
        return self._ledger.all(limit)

    def job(self, job_id: str) -> Job:
        """One job, as it was at the last look if the cluster cannot be asked now. Raises UnknownIdError."""
        self._look()
        return self._ledger.get(job_id)

    def _look(self) -> None:
        try:
            self._runner.look_or_give_up()
        except WorkerError as error:
            structlog.get_logger().warning(
                "the jobs are shown as they were last seen; cancel --lost gives up one whose cluster is gone",
                reason=str(error),
            )

    def log(self, job_id: str, offset: int | None = None) -> bytes:
        """A part of what the job has printed, see :meth:`service.job_files.JobFiles.log_part`."""
        self._ledger.get(job_id)
        return self._files.log_part(job_id, offset)

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job. Raises UnknownIdError."""
        self._ledger.cancel(job_id)
        return self.job(job_id)

    def resume(self, job_id: str) -> Job:
        """Let a job that failed or was cancelled wait again, for this place.

        Raises:
            ConfigError: another process starts the jobs of this directory, at another place; or this desk has
                no address, and the job is one of a cluster.
            UnknownIdError, JobStateError: it is not there, has not ended, or has succeeded.
        """
        before = self._ledger.place(job_id)
        if self._runner.place == LOCAL and before not in (LOCAL, None):
            raise ConfigError(
                f"job {job_id} was one of the cluster at {before}; --address has to name that one, or another"
            )
        self._require_own_place()
        self._ledger.resume(job_id, place=self._runner.place)
        return self.job(job_id)

    def _require_own_place(self) -> None:
        """Raise ConfigError when another process starts the jobs, at another place."""
        holder = self._runner.take_or_holder()
        if holder is not None and holder.place != self._runner.place:
            raise ConfigError(
                f"{self._state.root}: process {holder.pid} starts the jobs of this directory at "
                f"{holder.place}, not at {self._runner.place}"
            )

    def write_off(self, job_id: str) -> Job:
        """A job whose cluster is gone for good counts as cancelled.

        Raises:
            ConfigError: what has become of it can be said, so that it can be cancelled.
            UnknownIdError: there is no such job.
        """
        job = self._ledger.get(job_id)
        if not job.has_ended and (place := self._runner.answering_place(job)) is not None:
            raise ConfigError(
                f"--lost: {place} can be asked about job {job_id}, which is {job.state}; "
                "cancel it without --lost"
            )
        self._ledger.finish(job_id, "cancelled", error="written off: nobody could be asked about it")
        return self._ledger.get(job_id)

    def close(self) -> None:
        """Leave the jobs to others."""
        self._runner.leave()
        self._ledger.close()


def _place(file: Path, index: int | None) -> str:
    return f"{file}: " if index is None else f"{file}, structure {index}: "
