"""Who looks after the jobs of a state directory: one process at a time, a server or a command."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from atomscatter.errors import StorageError


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock, and where it starts jobs (``RunnerLock``)."""

    host: str
    pid: int
    place: str


class RunnerLock:
    """A locked file; it is free again when the process ends, however it does.

    Args:
        path: of the file.
        place: where this process starts jobs: the address of a cluster, or ``local``.
    """

    def __init__(self, path: Path, place: str) -> None:
        self._path = path
        self._me = Holder(socket.gethostname(), os.getpid(), place)
        self._held: IO[str] | None = None

    def acquire(self) -> bool:
        """Whether it is ours, from now on until :meth:`release`.

        Raises StorageError where files cannot be locked, or on a full disk.
        """
        if self._held is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            json.dump(asdict(self._me), file)
            file.flush()
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            file.close()
            raise StorageError(f"{self._path}: cannot be locked: {error.strerror}") from error
        except BaseException:
            file.close()
            raise
        self._held = file
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def holder(self) -> Holder | None:
        """The process that has it now; None when nobody has, or it has only just taken it."""
        try:
            with self._path.open("r+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return None
                except BlockingIOError:
                    return Holder(**json.loads(file.read()))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
