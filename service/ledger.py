"""The ledger of a feature store: which units of work are complete, and what their bytes must be.

A chunk's file proves nothing by being there, nor by being absent (an empty chunk is not stored). What counts
is the ledger, an SQLite file with one writer: the process that hands out the work. Workers never touch it.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from atomscatter.errors import StoreError
from service.sqlite import connect, explained

_TABLES = """
CREATE TABLE files (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units (
    unit INTEGER PRIMARY KEY,
    input_hash TEXT NOT NULL,
    config_hash TEXT NOT NULL,
    chunk_hash TEXT NOT NULL,
    completed TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Unit:
    """A completed unit of work: one chunk of the feature matrix; hashes are SHA-256, hexadecimal."""

    number: int  # of the chunk
    input_hash: str  # of the unit's structures, energies and path ids
    config_hash: str  # of the scattering configuration
    chunk_hash: str  # of the chunk's file


class Ledger:
    """Completed units, and the hashes of the files that were written when the store was made.

    While open for writing the ledger keeps a write-ahead log beside it, so that a killed process leaves
    the state before or after a record, nothing between; closing folds it into the one file.

    Raises:
        StoreError: from every method, where the file is missing, damaged or cannot be written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._writes = False

    @classmethod
    def create(cls, path: Path, files: Mapping[str, str]) -> None:
        """Write a new ledger; ``files`` maps names in the store to SHA-256."""
        ledger = cls(path, connect(path, "rwc"))
        with ledger, explained(path):
            ledger._connection.executescript(_TABLES)
            ledger._connection.executemany("INSERT INTO files VALUES (?, ?)", sorted(files.items()))
            ledger._connection.commit()

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> Self:
        """Open an existing ledger, to read (any number of processes) or to write (one)."""
        if not path.is_file():
            raise StoreError(f"{path}: the ledger is missing")
        ledger = cls(path, connect(path, "rw" if write else "ro"))
        with explained(path):
            if write:
                ledger._connection.execute("PRAGMA journal_mode=WAL").fetchone()
                ledger._connection.execute("PRAGMA synchronous=FULL")
                ledger._writes = True
            (state,) = ledger._connection.execute("PRAGMA quick_check").fetchone()
        if state != "ok":
            raise StoreError(f"{path}: the ledger is damaged ({state})")
        return ledger

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that is never rewritten, by its name in the store."""
        with explained(self.path):
            return dict(self._connection.execute("SELECT name, sha256 FROM files"))

    def units(self) -> dict[int, Unit]:
        """All completed units by number."""
        with explained(self.path):
            rows = self._connection.execute("SELECT unit, input_hash, config_hash, chunk_hash FROM units")
            return {row[0]: Unit(*row) for row in rows}

    def record(self, unit: Unit) -> None:
        """Note a unit as complete; on disk when this returns."""
        values = (unit.number, unit.input_hash, unit.config_hash, unit.chunk_hash, _now())
        with explained(self.path):
            self._connection.execute("INSERT OR REPLACE INTO units VALUES (?, ?, ?, ?, ?)", values)
            self._connection.commit()

    def forget(self, units: Iterable[int]) -> None:
        """Note units as not complete."""
        with explained(self.path):
            self._connection.executemany("DELETE FROM units WHERE unit = ?", [(n,) for n in units])
            self._connection.commit()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        try:
            if self._writes:
                self._connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        except sqlite3.Error:  # no room, or a reader is there: the log stays beside the file, nothing is lost
            pass
        finally:
            self._writes = False
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
