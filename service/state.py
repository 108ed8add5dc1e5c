"""Where things are in the service's state directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.datasets import DatasetStore
from service.job_files import JobFiles
from service.jobs import JobLedger
from service.registry import ModelRegistry
from service.runner_lock import RunnerLock


@dataclass(frozen=True)
class StateDirectory:
    """models/, datasets/, stores/<job id>, jobs/ and jobs.sqlite below one directory."""

    root: Path

    def registry(self) -> ModelRegistry:
        """The models."""
        return ModelRegistry(self.root / "models")

    def datasets(self) -> DatasetStore:
        """The data sets."""
        return DatasetStore(self.root / "datasets")

    def ledger(self) -> JobLedger:
        """The jobs."""
        return JobLedger(self.root / "jobs.sqlite")

    def store(self, job_id: str) -> Path:
        """Feature store that a job made."""
        return self.root / "stores" / job_id

    def job_files(self) -> JobFiles:
        """Requests, status and logs of jobs."""
        return JobFiles(self.root / "jobs")

    def runner_lock(self, place: str) -> RunnerLock:
        """What a process holds that looks after the jobs and starts them at ``place``."""
        return RunnerLock(self.root / "jobs" / "runner.lock", place)

    def without_place(self, text: str) -> str:
        """A message without where on this machine the directory is, for people who need not know."""
        for place in (self.root.absolute(), self.root.resolve()):
            text = text.replace(f"{place}/", "").replace(str(place), "the state directory")
        return text
