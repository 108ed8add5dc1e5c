"""Where a feature store lives: named files below one place, a directory or a prefix of an object storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import zarr.abc.store

from atomscatter.errors import ConfigError

_AT_ONCE = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


class Storage(Protocol):
    """Files by name (``a/b.json``) at a place. A write is seen whole or not at all.

    Raises:
        StoreError: from every method, when the place cannot be read or written; names it.
        StorageError: the same, where a server does not answer.
    """

    @property
    def place(self) -> Path | str:
        """Absolute path of the directory, or URL; opens the same storage in another process."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that may be there."""

    def write_new(self, name: str, content: bytes) -> bool:
        """Write a file if there is none; whether it was written."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    def is_empty(self) -> bool:
        """Whether nothing is there."""

    def names(self, below: str = "") -> list[str]:
        """Names of all files, in order, or of those below a directory; without unfinished ones."""

    def create(self, files: Mapping[str, bytes]) -> None:
        """Write the first files of a place, in their order: who sees the last one sees all of them.

        Raises:
            StoreError: something else is there already.
        """

    def only_writer(self) -> AbstractContextManager[Callable[[], None]]:
        """Be the one process that writes for the time of the ``with`` block.

        Yields:
            A function that raises StoreError should that no longer be so.

        Raises:
            StoreError: another process is.
        """

    def zarr_store(self) -> zarr.abc.store.Store:
        """The same files for Zarr, to read."""


def open_storage(place: str | os.PathLike[str]) -> Storage:
    """The storage at a path, a ``file://`` URL, or a URL of a file system that fsspec knows (``s3://...``).

    Credentials come from the environment, in the way of the file system (for S3: ``AWS_...``).

    Raises:
        ConfigError: the URL cannot be used, holds credentials, or needs a package that is not installed.
    """
    from service.local_storage import LocalStorage
    from service.remote_storage import RemoteStorage

    text = os.fspath(place)
    if not is_url(text):
        return LocalStorage(Path(text).absolute())
    _refuse_secrets(text)
    scheme, _, rest = text.partition("://")
    if "::" in text:
        raise ConfigError(f"{text}: chained URLs cannot hold a feature store")
    if scheme == "memory":
        raise ConfigError(f"{text}: the memory of one process cannot hold a feature store of several")
    if scheme in ("file", "local"):
        if not rest.startswith("/"):
            raise ConfigError(f"{text}: a URL of a directory has an absolute path, as in file:///data/store")
        return LocalStorage(Path(rest))
    return RemoteStorage(text)


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is given as a URL, not as a path."""
    return "://" in os.fspath(place)


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results of a function that waits for a disk or a server, in order."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, items))


def hashes(storage: Storage, names: Iterable[str]) -> list[str | None]:
    """SHA-256 of files; None for those that are not there."""

    def file_hash(name: str) -> str | None:
        content = storage.read(name)
        return None if content is None else sha256(content).hexdigest()

    return in_parallel(file_hash, names)


def _refuse_secrets(url: str) -> None:
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ConfigError(
            f"{shown}: the URL of a store has no user, password, query or fragment: URLs get into logs."
            " Credentials belong into the environment"
        )
