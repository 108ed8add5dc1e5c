"""What is deleted goes as a whole: a process that is killed meanwhile leaves nothing that is half there."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from atomscatter.errors import AtomscatterError

_DELETED = ".deleted-"


class InUseError(AtomscatterError):
    """Something cannot be deleted now; the message says what needs it."""


def delete_directory(path: Path) -> None:
    """Take a directory away from under its name, which needs no room on the disk, then delete its files.

    Raises OSError where it cannot be renamed: then nothing has changed.
    """
    path.rename(path.with_name(f"{_DELETED}{path.name}-{secrets.token_hex(4)}"))
    delete_leftovers(path.parent)


def delete_leftovers(root: Path) -> None:
    """Delete what was taken away from below a directory, by processes that were killed meanwhile too."""
    for deleted in root.glob(f"{_DELETED}*"):
        shutil.rmtree(deleted, ignore_errors=True)
