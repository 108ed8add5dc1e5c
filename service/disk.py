"""What to tell when a disk is full or cannot be written."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from atomscatter.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def room_checked(path: Path) -> Iterator[None]:
    """Turn the operating system's errors inside of the block into StorageError.

    Raises:
        StorageError: names ``path`` and, if the disk is full, how much is free and how to go on.
    """
    try:
        yield
    except OSError as error:
        if _is_full(error):
            raise StorageError(no_room(path)) from error
        raise StorageError(f"{path}: cannot be written: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][2])  # of the first of its files, which it names
    return error.strerror or str(error)


def _is_full(error: OSError) -> bool:
    if isinstance(error, shutil.Error):  # of a whole tree: what each file met with is there as text only
        return any(f"[Errno {number}]" in str(error) for number in _FULL)
    return error.errno in _FULL


def no_room(path: Path) -> str:
    """Message for a full disk."""
    return (
        f"{path}: no space left ({free_mib(path):.1f} MiB free on its file system). What is complete is kept:"
        " make room, and run the command again or resume the job"
    )


def free_mib(path: Path) -> float:
    """Free space where ``path`` is or would be, MiB."""
    existing = next(p for p in (path, *path.parents) if p.exists())
    return shutil.disk_usage(existing).free / 2**20
