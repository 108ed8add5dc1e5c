"""The ledger of jobs.

It is an SQLite file in WAL mode. A job that was acknowledged is on disk; every change is one
transaction, so a killed process leaves the state before or after it. States: queued -> running -> succeeded,
failed or cancelled; "cancelling" between the wish and the end of the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from atomscatter.errors import AtomscatterError
from service.datasets import UnknownIdError
from service.deletion import InUseError
from service.sqlite import connect, explained

State = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")
MAX_ATTEMPTS = 3
"""A job whose process disappears is tried again, this many times in all."""


class KeyReusedError(AtomscatterError):
    """An idempotency key came with another request before."""


class JobStateError(AtomscatterError):
    """A job is in a state in which this cannot be asked of it."""


@dataclass(frozen=True)
class Job:
    """What is known about a job."""

    id: str
    type: str
    parameters: dict[str, Any]
    state: str
    created: str
    started: str | None
    ended: str | None
    done: int
    total: int | None
    unit: str | None
    error: str | None
    result: dict[str, Any] | None
    attempts: int
    """Started so often; each attempt has a number of its own."""
    attempts_before: int
    """Of these, how many were made before somebody resumed the job."""

    @property
    def is_out_of_attempts(self) -> bool:
        """Whether it has had all that it may have."""
        return self.attempts - self.attempts_before >= MAX_ATTEMPTS

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED


_COLUMNS = (
    "id, type, parameters, state, created, started, ended, done, total, unit, error, result, attempts, "
    "attempts_before"
)
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    parameters TEXT NOT NULL,
    state TEXT NOT NULL,
    created TEXT NOT NULL,
    started TEXT,
    ended TEXT,
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER,
    unit TEXT,
    error TEXT,
    result TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    attempts_before INTEGER NOT NULL DEFAULT 0,
    key TEXT UNIQUE,
    request_hash TEXT NOT NULL,
    place TEXT
)
"""
_LATER_COLUMNS = {"attempts_before": "INTEGER NOT NULL DEFAULT 0", "place": "TEXT"}


class QueueFullError(AtomscatterError):
    """As many jobs wait as may."""


class JobLedger:
    """All jobs of one state directory; any number of processes and threads may use it.

    A process opens one: SQLite keeps the files of all that it has opened until the last is closed.

    A job has a place, where it waits to be started or was started last: the address of a cluster, or
    ``local``. None is said of jobs of earlier versions, and of those that a server has only just accepted.

    Raises:
        StoreError: from every method, when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with explained(path), contextlib.closing(connect(path, "rwc")) as connection:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            connection.execute(_TABLE)
            if _missing_columns(connection):  # made by an earlier version
                _add_columns(connection)
            connection.commit()
            # The last connection to be closed deletes the WAL's files, and readers make them again: while
            # this one is open, jobs can be read on a full disk, too.
            self._kept = connect(path, "rw")
            self._kept.execute("SELECT count(*) FROM jobs").fetchone()

    def close(self) -> None:
        """Give back its files; in the thread that has opened them."""
        self._kept.close()

    def submit(
        self,
        kind: str,
        parameters: dict[str, Any],
        key: str | None = None,
        *,
        defaults: dict[str, Any] | None = None,
        max_queued: int | None = None,
        place: str | None = None,
    ) -> tuple[Job, bool]:
        """Add a job; on disk when this returns. Whether it is new: the same key gives the same job.

        ``defaults`` are values of this moment that the job gets, and that do not tell requests apart.
        ``place``: where it has to be started.

        Raises:
            KeyReusedError: the key came with another type or other parameters.
            QueueFullError: ``max_queued`` jobs wait, and this would be a new one.
        """
        digest = _request_hash(kind, parameters)
        text = json.dumps({**parameters, **(defaults or {})}, sort_keys=True, allow_nan=False)
        with self._transaction() as connection:
            if key is not None and (known := _known(connection, key, digest)) is not None:
                return known, False
            _require_room(connection, max_queued)
            job_id = secrets.token_hex(8)
            connection.execute(
                "INSERT INTO jobs (id, type, parameters, state, created, key, request_hash, place) "
                "VALUES (?, ?, ?, 'queued', ?, ?, ?, ?)",
                (job_id, kind, text, _now(), key, digest, place),
            )
            return _one(connection, job_id), True

    def known(self, kind: str, parameters: dict[str, Any], key: str | None) -> Job | None:
        """The job that this request has made before. Raises KeyReusedError, as :meth:`submit`."""
        if key is None:
            return None
        with self._reading() as connection:
            return _known(connection, key, _request_hash(kind, parameters))

    def get(self, job_id: str) -> Job:
        """A job. Raises UnknownIdError."""
        with self._reading() as connection:
            return _one(connection, job_id)

    def all(self, limit: int = 100) -> list[Job]:
        """The newest jobs first."""
        with self._reading() as connection:
            query = f"SELECT {_COLUMNS} FROM jobs ORDER BY number DESC LIMIT ?"
            return [_job(row) for row in connection.execute(query, (limit,))]

    def in_state(self, *states: State) -> list[Job]:
        """Jobs in one of the states, the oldest first."""
        with self._reading() as connection:
            query = f"SELECT {_COLUMNS} FROM jobs WHERE state IN ({_marks(states)}) ORDER BY number"
            return [_job(row) for row in connection.execute(query, states)]

    def require_unused(self, kind: Literal["dataset", "model"], used: str) -> None:
        """Raise InUseError when a job that has not ended needs a data set, or a model."""
        for job in self.in_state("queued", "running", "cancelling"):
            if job.parameters.get(kind) == used:
                name = "data set" if kind == "dataset" else kind
                raise InUseError(f"{name} {used} is needed by job {job.id}, which is {job.state}")

    def waiting(self, place: str) -> list[Job]:
        """Queued jobs that may be started at a place, the oldest first: its own, and those of no place."""
        with self._reading() as connection:
            query = (
                f"SELECT {_COLUMNS} FROM jobs WHERE state = 'queued' AND (place IS NULL OR place = ?) "
                "ORDER BY number"
            )
            return [_job(row) for row in connection.execute(query, (place,))]

    def waiting_elsewhere(self, place: str) -> list[str]:
        """The other places for which jobs are queued."""
        with self._reading() as connection:
            query = "SELECT DISTINCT place FROM jobs WHERE state = 'queued' AND place <> ? ORDER BY place"
            return [row[0] for row in connection.execute(query, (place,))]

    def take_over(self, place: str) -> None:
        """All queued jobs have to be started at this place from now on."""
        others = "state = 'queued' AND place IS NOT ?"
        with self._reading() as connection:
            # First without a lock: this is asked several times a second, and there is hardly ever one.
            if connection.execute(f"SELECT 1 FROM jobs WHERE {others} LIMIT 1", (place,)).fetchone() is None:
                return
        with self._transaction() as connection:
            connection.execute(f"UPDATE jobs SET place = ? WHERE {others}", (place, place))

    def place(self, job_id: str) -> str | None:
        """Where a job is to be started, or was started last; None: not known. Raises UnknownIdError."""
        with self._reading() as connection:
            row = connection.execute("SELECT place FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise UnknownIdError(f"there is no job {job_id}")
        found: str | None = row[0]
        return found

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._reading() as connection:
            found = dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in get_args(State)}

    def start(self, job_id: str, place: str | None = None) -> Job | None:
        """A queued job is running from now on, and has used one more attempt; None if it is not queued.

        ``place``: where that is; None: not told.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1, done = 0, "
                "total = NULL, place = coalesce(?, place) WHERE id = ? AND state = 'queued'",
                (_now(), place, job_id),
            )
            return _one(connection, job_id) if changed.rowcount == 1 else None

    def progress(self, job_id: str, done: int, total: int | None, unit: str | None) -> None:
        """Note how far a job is."""
        self._update(job_id, "done = ?, total = ?, unit = ?", done, total, unit)

    def finish(
        self, job_id: str, state: State, *, error: str | None = None, result: dict[str, Any] | None = None
    ) -> None:
        """The end of a job that has not ended."""
        text = None if result is None else json.dumps(result, allow_nan=False)
        self._update(job_id, "state = ?, ended = ?, error = ?, result = ?", state, _now(), error, text)

    def requeue(self, job_id: str, *, blameless: bool = False) -> None:
        """A running job's process is gone: it has to run again. ``blameless``: it was no failed try."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - ? "
                "WHERE id = ? AND state = 'running'",
                (int(blameless), job_id),
            )

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; one that is not running has ended. Raises UnknownIdError."""
        with self._transaction() as connection:
            _one(connection, job_id)
            connection.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ? WHERE id = ? AND state = 'queued'",
                (_now(), job_id),
            )
            connection.execute(
                "UPDATE jobs SET state = 'cancelling' WHERE id = ? AND state = 'running'", (job_id,)
            )
            return _one(connection, job_id)

    def resume(self, job_id: str, *, max_queued: int | None = None, place: str | None = None) -> Job:
        """A job that failed or was cancelled waits again, with what it has computed.

        ``place``: where it has to be started; None: where it was.

        Raises:
            UnknownIdError: there is no such job.
            JobStateError: it has not ended, or has succeeded.
            QueueFullError: ``max_queued`` jobs wait, and this would be one more.
        """
        with self._transaction() as connection:
            job = _one(connection, job_id)
            if job.state not in ("failed", "cancelled"):
                raise JobStateError(
                    f"job {job_id} is {job.state}; it can resume once it has failed or was cancelled"
                )
            _require_room(connection, max_queued)
            connection.execute(
                "UPDATE jobs SET state = 'queued', ended = NULL, error = NULL, attempts_before = attempts, "
                "place = coalesce(?, place) WHERE id = ?",
                (place, job_id),
            )
            return _one(connection, job_id)

    def _update(self, job_id: str, assignments: str, *values: Any) -> None:
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE jobs SET {assignments} WHERE id = ? AND state NOT IN ({_marks(ENDED)})",
                (*values, job_id, *ENDED),
            )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # Not in the way of writers, nor they in its: in WAL mode a reader sees the last whole change.
        with explained(self.path), contextlib.closing(connect(self.path, "rw")) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path), contextlib.closing(connect(self.path, "rw")) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection


def _request_hash(kind: str, parameters: dict[str, Any]) -> str:
    text = json.dumps(parameters, sort_keys=True, allow_nan=False)
    return hashlib.sha256(f"{kind} {text}".encode()).hexdigest()


def _known(connection: sqlite3.Connection, key: str, request_hash: str) -> Job | None:
    """The job that came with the key. Raises KeyReusedError if it came with another request."""
    query = "SELECT id, request_hash FROM jobs WHERE key = ?"
    found = connection.execute(query, (key,)).fetchone()
    if found is None:
        return None
    if found[1] != request_hash:
        raise KeyReusedError("this Idempotency-Key was used for another request")
    return _one(connection, found[0])


def _marks(values: Sequence[str]) -> str:
    """Their places in a statement."""
    return ", ".join("?" * len(values))


def _missing_columns(connection: sqlite3.Connection) -> list[str]:
    known = {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}
    return [name for name in _LATER_COLUMNS if name not in known]


def _add_columns(connection: sqlite3.Connection) -> None:
    """Bring a ledger of an earlier version up to date; what is in it stays as it is."""
    # Looked up again under the lock: another process may be doing the same.
    connection.execute("BEGIN IMMEDIATE")
    for name in _missing_columns(connection):
        connection.execute(f"ALTER TABLE jobs ADD COLUMN {name} {_LATER_COLUMNS[name]}")
    connection.commit()


def _require_room(connection: sqlite3.Connection, max_queued: int | None) -> None:
    (queued,) = connection.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()
    if max_queued is not None and queued >= max_queued:
        raise QueueFullError(f"{queued} jobs are waiting")


def _one(connection: sqlite3.Connection, job_id: str) -> Job:
    row = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise UnknownIdError(f"there is no job {job_id}")
    return _job(row)


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["parameters"] = json.loads(values["parameters"])
    values["result"] = None if values["result"] is None else json.loads(values["result"])
    return Job(**values)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
