"""SQLite files of ours: opened without surprises, with errors that name them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from atomscatter.errors import StorageError, StoreError
from service.disk import free_mib, no_room


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError that names the ledger, for a full disk into StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        # A full disk shows as SQLITE_FULL, or as a failure to enlarge one of the files.
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")) and free_mib(path) < 1:
            raise StorageError(no_room(path)) from error
        raise StoreError(f"{path}: the ledger cannot be used: {error}") from error


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file; ``mode`` is ro, rw or rwc (create). Raises StoreError."""
    # Percent-encoded by as_uri, so that no character of the path can be read as an option.
    with explained(path):
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30)
