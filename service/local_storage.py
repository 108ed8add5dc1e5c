"""A directory that holds a feature store, on a local disk or on one that several machines share."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import zarr.abc.store
import zarr.storage

from atomscatter.errors import BusyStoreError, StorageError, StoreError
from service.disk import room_checked
from service.lease import Lease

LOCK = "writer.lock"
"""Name of the file that the one process that hands out work has locked."""
_PARTIAL = ".partial"
_CANNOT_LOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


class LocalStorage:
    """Files below a directory; see :class:`service.storage.Storage`.

    Nothing here needs more of a file system than rename, so that NFS and Lustre will do.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def place(self) -> Path:
        """The directory."""
        return self._root

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        file = self._root / name
        try:
            return file.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"{file}: cannot be read: {error.strerror or error}") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file under a temporary name, and rename it when it is on the disk."""
        with self._draft(name, content) as (draft, file):
            draft.replace(file)

    def write_new(self, name: str, content: bytes) -> bool:
        """Write a file if there is none; whether it was written."""
        with self._draft(name, content) as (draft, file):
            try:
                file.hardlink_to(draft)  # never replaces, on NFS neither
            except FileExistsError:
                return False
        return True

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        file = self._root / name
        with room_checked(file):
            file.unlink(missing_ok=True)

    def is_empty(self) -> bool:
        """Whether there is no directory, or nothing in it."""
        return not self._root.exists() or (self._root.is_dir() and not any(self._root.iterdir()))

    def names(self, below: str = "") -> list[str]:
        """Names of all files, in order, or of those below a directory; without unfinished ones."""
        files = (file for file in (self._root / below).rglob("*") if file.is_file())
        return sorted(f.relative_to(self._root).as_posix() for f in files if not f.name.endswith(_PARTIAL))

    def create(self, files: Mapping[str, bytes]) -> None:
        """Make the directory with its first files; it appears complete or not at all.

        One that is there already stays where it is, as it may be mounted, or somebody's working directory: it
        gets the files in their order, and what an interrupted call for the same ones left there is completed.
        A link stays one.
        """
        with room_checked(self._root):
            root = self._root.resolve()
            if not root.exists():
                self._appear(root, files)
                return
        if not root.is_dir() or not self._was_begun(files):
            raise StoreError(
                f"{self._root}: exists already and is not a feature store, or its ledger was deleted"
            )
        for name, content in files.items():
            self.write(name, content)

    def _was_begun(self, files: Mapping[str, bytes]) -> bool:
        """Whether the directory is empty, or holds a part of these files and nothing else."""
        # One level first: what holds something else may hold millions of files.
        parts = {name.partition("/")[0] for name in files}
        if any(e.name not in parts and not e.name.endswith(_PARTIAL) for e in self._root.iterdir()):
            return False
        there = self.names()
        return set(there) < set(files) and all(self.read(name) == files[name] for name in there)

    def _appear(self, root: Path, files: Mapping[str, bytes]) -> None:
        root.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
        try:
            draft.chmod(0o777 & ~_umask())
            for name, content in files.items():
                LocalStorage(draft).write(name, content)
            draft.rename(root)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def only_writer(self) -> Iterator[Callable[[], None]]:
        """Hold a lock that ends with the process, or a lease where the file system has no locks."""
        with contextlib.ExitStack() as stack:
            with room_checked(self._root / LOCK):
                lock = stack.enter_context((self._root / LOCK).open("a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyStoreError(f"{self._root}: another process is writing to this store") from None
            except OSError as error:
                if error.errno not in _CANNOT_LOCK:
                    raise StorageError(f"{self._root / LOCK}: cannot be locked: {error.strerror}") from error
                require_writer = stack.enter_context(Lease(self).held())
            else:
                require_writer = _nothing_to_fear
            self._remove_unfinished()
            yield require_writer

    def zarr_store(self) -> zarr.abc.store.Store:
        """The same files for Zarr, to read."""
        return zarr.storage.LocalStore(self._root, read_only=True)

    @contextlib.contextmanager
    def _draft(self, name: str, content: bytes) -> Iterator[tuple[Path, Path]]:
        """A file with the content and a temporary name, and the file that it is to be."""
        file = self._root / name
        draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}{_PARTIAL}")
        with room_checked(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with draft.open("xb") as opened:
                    opened.write(content)
                    opened.flush()
                    os.fsync(opened.fileno())  # a shared file system may tell only now that it is full
                yield draft, file
            finally:
                draft.unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        # Left by a process that was killed while it wrote under a temporary name.
        for file in self._root.rglob(f"*{_PARTIAL}"):
            file.unlink(missing_ok=True)


def _nothing_to_fear() -> None:
    """A lock of the operating system is not lost."""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
