"""A prefix of an object storage, or another file system that fsspec knows, as a place for feature stores."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import zarr.abc.store
import zarr.storage
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from atomscatter.errors import AtomscatterError, ConfigError, StorageError, StoreError
from service.lease import Lease

# What other processes write must be seen: no listings are kept. All else, credentials included, is in the
# environment.
_OPTIONS: dict[str, Any] = {"use_listings_cache": False}
_S3_OPTIONS = {"max_concurrency": 1}  # an object is read by one GET, not by parts that may be of two writes
_EXTRAS = {"s3": "s3", "s3a": "s3"}


class RemoteStorage:
    """Objects below a URL; see :class:`service.storage.Storage`. An object appears whole, by one PUT.

    Raises:
        ConfigError: fsspec does not know the file system, or its package is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        if not url.partition("://")[2].strip("/"):
            raise ConfigError(f"{url}: names no bucket")
        self._fs, root = _connected(self._url)
        self._root = root.rstrip("/")

    @property
    def place(self) -> str:
        """The URL."""
        return self._url

    def read(self, name: str) -> bytes | None:
        """The content of an object; None if there is none."""
        with _explained(self._url_of(name)):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object, in place of one that may be there."""
        with _explained(self._url_of(name)):
            self._fs.pipe_file(self._path(name), content)

    def write_new(self, name: str, content: bytes) -> bool:
        """Write an object if there is none; whether it was written."""
        with _explained(self._url_of(name)):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except OSError:
                if self.read(name) is None:
                    raise
                return False  # servers differ in how they say so
        return True

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with _explained(self._url_of(name)), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def is_empty(self) -> bool:
        """Whether there is no object. Raises StoreError if there is no bucket."""
        return not self._first_parts()

    def names(self, below: str = "") -> list[str]:
        """Names of all objects, in order, or of those below a prefix."""
        with _explained(self._url):
            found = self._fs.find(self._path(below).rstrip("/"))
        return sorted(path.removeprefix(f"{self._root}/") for path in found)

    def create(self, files: Mapping[str, bytes]) -> None:
        """Write the first objects; what an interrupted call for the same ones left behind is completed."""
        # One level first: what holds something else may hold millions of objects.
        foreign = self._first_parts() - {name.partition("/")[0] for name in files}
        foreign = foreign or {n for n in self.names() if n not in files or self.read(n) != files[n]}
        if foreign:
            raise StoreError(
                f"{self._url}: exists already and is not a feature store, or its ledger was deleted"
                f" ({min(foreign)} is there)"
            )
        for name, content in files.items():
            self.write(name, content)

    @contextlib.contextmanager
    def only_writer(self) -> Iterator[Callable[[], None]]:
        """Hold a lease: object storages have no locks."""
        with Lease(self).held() as require_writer:
            yield require_writer

    def zarr_store(self) -> zarr.abc.store.Store:
        """The same objects for Zarr, to read."""
        with _explained(self._url):
            store = zarr.storage.FsspecStore.from_url(
                self._url, storage_options=_options(self._url), read_only=True
            )
        return _ExplainedStore(store)

    def _first_parts(self) -> set[str]:
        """First parts of the names."""
        with _explained(self._url):
            try:
                found = self._fs.ls(self._root, detail=False)
            except FileNotFoundError as error:
                if error.__cause__ is not None:  # the server says so: the bucket
                    raise
                return set()
        return {path.removeprefix(f"{self._root}/").rstrip("/") for path in found}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _url_of(self, name: str) -> str:
        return f"{self._url}/{name}"


class _ExplainedStore(zarr.storage.WrapperStore[zarr.storage.FsspecStore]):
    """Reads with errors that name the object."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        with _explained(f"{self._store.fs.unstrip_protocol(self._store.path)}/{key}"):
            return await super().get(key, prototype, byte_range)


def _options(url: str) -> dict[str, Any]:
    return _OPTIONS | (_S3_OPTIONS if url.startswith(("s3://", "s3a://")) else {})


def _connected(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    try:
        import fsspec

        fs, root = fsspec.core.url_to_fs(url, **_options(url))
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        hint = f"pip install 'atomscatter[{extra}]'" if extra else str(error)
        raise ConfigError(f"{url}: a package for {scheme}:// is not installed: {hint}") from error
    except ValueError as error:
        raise ConfigError(f"{url}: {error}") from error
    return fs, str(root)


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn errors of the file system's package into ours, which name the object."""
    try:
        yield
    except AtomscatterError:
        raise
    except FileNotFoundError as error:  # where it is not about an object: the bucket
        raise StoreError(f"{place}: {error}") from error
    except PermissionError as error:
        raise StoreError(f"{place}: access denied: {error}") from error
    except Exception as error:  # each package has its own kinds
        if "Credentials" in type(error).__name__:
            raise ConfigError(
                f"{place}: {error}. They come from the environment (for S3: AWS_ACCESS_KEY_ID and"
                " AWS_SECRET_ACCESS_KEY, or a profile)"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(f"{place}: the storage cannot be used: {reason}") from error
