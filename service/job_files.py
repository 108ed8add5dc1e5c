"""What the process of a job and its runner tell each other, as files: this works across machines, too.

The runner writes the request and reads the status; the process reads the request and writes the status. Each
file is replaced as a whole. The ledger belongs to the server alone: SQLite's WAL mode is not made for file
systems that several machines share.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from atomscatter.errors import ConfigError
from atomscatter.version import package_version
from service.jobs import Job


@dataclass(frozen=True)
class JobRequest:
    """What a process has to do."""

    id: str
    type: str
    parameters: dict[str, Any]
    attempt: int
    on_cluster: bool
    """Whether it runs on a node of a Ray cluster, which it joins; else it starts a local Ray."""
    place: str = ""
    """Where the attempt was started: address of the cluster, or ``local``."""
    version: str = ""
    """Of the package that wrote it; empty: not known."""

    def require_own_version(self) -> None:
        """Raise ConfigError when another version of the package wrote it: it may mean another thing."""
        own = package_version()
        if self.version and own and self.version != own:
            raise ConfigError(
                f"job {self.id} is from atomscatter {self.version}, and the node that it runs on has {own}: "
                "install the same version on all nodes"
            )


@dataclass(frozen=True)
class JobStatus:
    """How far an attempt is; ``state`` is running, succeeded or failed."""

    attempt: int
    state: str = "running"
    done: int = 0
    total: int | None = None
    unit: str | None = None
    error: str | None = None
    result: dict[str, Any] | None = None


_T = TypeVar("_T", JobRequest, JobStatus)


class JobFiles:
    """The files of one directory: ID.request.json, ID.status.json, ID.lock and ID.log."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_request(self, job: Job, *, on_cluster: bool, place: str) -> None:
        """Before an attempt is started."""
        request = JobRequest(
            job.id, job.type, job.parameters, job.attempts, on_cluster, place, package_version() or ""
        )
        self._replace(f"{job.id}.request.json", asdict(request))

    def request(self, job_id: str) -> JobRequest:
        """What :meth:`write_request` wrote. Raises OSError, when there is none."""
        return self._read(f"{job_id}.request.json", JobRequest)

    def write_status(self, job_id: str, status: JobStatus) -> None:
        """How far it is, or how it ended."""
        self._replace(f"{job_id}.status.json", asdict(status))

    def status(self, job_id: str, attempt: int) -> JobStatus | None:
        """What this attempt said last; None when it has said nothing yet, or nothing that can be read."""
        # ValueError: no JSON; TypeError: no object, or one without a key that this version needs.
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            found = self._read(f"{job_id}.status.json", JobStatus)
            if found.attempt == attempt:
                return found
        return None

    def lock(self, job_id: str) -> Path:
        """Held by a local process as long as it lives."""
        return self.root / f"{job_id}.lock"

    def log(self, job_id: str) -> Path:
        """What all attempts have printed."""
        return self.root / f"{job_id}.log"

    def log_part(self, job_id: str, offset: int | None = None, size: int = 2**20) -> bytes:
        """At most ``size`` bytes of the log from an offset on (beyond the end: none); None: the last ones."""
        with contextlib.suppress(FileNotFoundError), self.log(job_id).open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            start = max(0, length - size) if offset is None else offset
            if start < length:  # file systems refuse to seek to the largest offsets that may be asked for
                file.seek(start)
                return file.read(size)
        return b""

    def append_log(self, job_id: str, text: str) -> None:
        """Add to the log what was learned about a process that has ended."""
        with self.log(job_id).open("a", encoding="utf-8") as file:
            file.write(text)

    def _read(self, name: str, kind: type[_T]) -> _T:
        """What is in a file; keys that only another version of the package knows are passed over."""
        values = json.loads((self.root / name).read_text(encoding="utf-8"))
        known = {field.name for field in fields(kind)}
        return kind(**{key: value for key, value in dict(values).items() if key in known})

    def _replace(self, name: str, content: dict[str, Any]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        draft = self.root / f".{name}.{os.getpid()}"
        with draft.open("w", encoding="utf-8") as file:
            json.dump(content, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.root / name)
