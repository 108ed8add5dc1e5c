"""Uploaded training sets: kept as they were sent, under a hash of what they are.

<root>/<id>/<file>         the upload, under a name that says its format and nothing else
<root>/<id>/dataset.json   what is in it, and how it is read
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import structlog
from ase.data import chemical_symbols

from atomscatter.errors import AtomscatterError, DataError
from service.deletion import delete_directory
from service.disk import room_checked
from service.reading import BadStructure, iterate_structures
from service.spool import StructureSpool
from service.uploads import (
    FORMATS,
    HEAD_BYTES,
    UnsupportedUploadError,
    UploadError,
    refuse_many,
    upload_format,
)

_ID = re.compile(r"[0-9a-f]{16}")
_DESCRIPTION = "dataset.json"
_FILE = FORMATS["extxyz"]
_SCRATCH = ".new-"
_COPIED_AT_ONCE = 2**20
_SECONDS_TO_ABANDON = 86400


class UnknownIdError(AtomscatterError):
    """There is no data set, job or store of this id."""


@dataclass(frozen=True)
class DatasetReading:
    """How a training set is read, and what is refused."""

    path_key: str | None = None
    """Info key of the relaxation path; None: every structure is its own path."""
    energy_key: str | None = None
    """Info key of the total energy, eV; None: the energy that ASE reads."""
    max_structures: int = 1_000_000
    max_atoms: int = 2000


@dataclass(frozen=True)
class DatasetContent:
    """What is in a training set."""

    n_structures: int
    n_paths: int
    n_atoms: int
    elements: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A stored training set."""

    id: str
    file: str
    created: str
    path_key: str | None
    energy_key: str | None
    n_structures: int
    n_paths: int
    n_atoms: int
    elements: tuple[str, ...]
    named_by_id: bool = False
    """Whether the sources of its structures, and path ids that no key gave, begin with its id. Those of
    earlier versions, without this field, begin with the absolute path of its directory: stores and models
    were made with these names."""


def describe(name: str, path: Path, reading: DatasetReading) -> DatasetContent:
    """Read a whole training set, one structure after another.

    Args:
        name: file name given by the sender; its ending is looked at, and it stands in reasons.
        path: the file, as :meth:`DatasetStore.received` keeps it.
        reading: how it is read.

    Raises:
        UnsupportedUploadError: no extended XYZ.
        UploadError: no structure, a bad one or too many; every problem with its index.
    """
    with path.open("rb") as file:
        if upload_format(name, file.read(HEAD_BYTES)) != "extxyz":
            raise UnsupportedUploadError("training sets are extended XYZ; other formats hold no energies")
    bad: list[BadStructure] = []
    n_structures = n_atoms = 0
    paths: set[str] = set()
    elements: set[int] = set()

    for structure in iterate_structures(
        [path],
        bad,
        path_key=reading.path_key,
        energy_key=reading.energy_key,
        need_energy=True,
        unique=True,
        on_progress=lambda _: refuse_many(bad),
        file_format="extxyz",
        max_atoms=reading.max_atoms,
        called=name or _FILE,
    ):
        if n_structures == reading.max_structures:
            raise UploadError([(None, f"more than {n_structures} structures, which are not accepted")])
        n_structures, n_atoms = n_structures + 1, n_atoms + len(structure.atoms)
        paths.add(structure.path_id)
        elements.update(structure.atoms.numbers.tolist())
    if bad:
        raise UploadError([(b.index, b.reason) for b in bad])
    return DatasetContent(
        n_structures, len(paths), n_atoms, tuple(sorted(chemical_symbols[z] for z in elements))
    )


class DatasetStore:
    """Training sets below one directory, made when the first is added."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def received(self, content: IO[bytes]) -> Iterator[Path]:
        """A file beside the data sets with this content: what is in it can be described, and added.

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        with room_checked(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self.root))
        try:
            path = scratch / _FILE
            with room_checked(self.root), path.open("wb") as file:
                shutil.copyfileobj(content, file, _COPIED_AT_ONCE)
                _sync(file)
            yield path
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def add(self, path: Path, reading: DatasetReading, found: DatasetContent) -> Dataset:
        """Keep what was received and described; the same upload read in the same way is kept once, and takes
        the place of a set that is damaged.

        Raises:
            StoreError: the disk is full, or cannot be written.
        """
        dataset_id = _id_of(path, reading)
        target = self.root / dataset_id
        damaged = path.parent.with_name(f"{path.parent.name}-damaged") if target.exists() else None
        if damaged is not None and self._holds(target, reading, found):
            return self.get(dataset_id)
        dataset = Dataset(
            dataset_id,
            _FILE,
            datetime.now(UTC).isoformat(timespec="seconds"),
            reading.path_key,
            reading.energy_key,
            **asdict(found),
            named_by_id=True,
        )
        with room_checked(target):
            with (path.parent / _DESCRIPTION).open("w", encoding="utf-8") as file:
                json.dump(asdict(dataset), file)
                _sync(file)
            path.parent.chmod(0o755)
            _sync_directory(path.parent)
            if damaged is not None:
                target.rename(damaged)
            try:
                path.parent.rename(target)
            except OSError:
                if not target.exists():  # another request has not been faster
                    raise
            _sync_directory(self.root)
        if damaged is not None:
            shutil.rmtree(damaged, ignore_errors=True)
        return self.get(dataset_id)

    def _holds(self, directory: Path, reading: DatasetReading, content: DatasetContent) -> bool:
        """Whether the set of this directory is undamaged."""
        try:
            dataset = self.get(directory.name)
            described = all(getattr(dataset, name) == value for name, value in asdict(content).items())
            return described and _id_of(directory / dataset.file, reading) == directory.name
        except (UnknownIdError, DataError, FileNotFoundError):
            return False

    def _remove_abandoned(self) -> None:
        """What processes left that were killed while they received."""
        for scratch in self.root.glob(f"{_SCRATCH}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - scratch.stat().st_mtime > _SECONDS_TO_ABANDON:
                    shutil.rmtree(scratch, ignore_errors=True)

    def get(self, dataset_id: str) -> Dataset:
        """A data set. Raises UnknownIdError, DataError if what is known about it is damaged."""
        path = self.root / dataset_id / _DESCRIPTION
        if not _ID.fullmatch(dataset_id) or not path.is_file():
            raise UnknownIdError(f"there is no data set {dataset_id}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return Dataset(**values | {"elements": tuple(values["elements"])})
        except (ValueError, TypeError, KeyError) as error:  # no JSON, or another one
            reason = f"{_DESCRIPTION} cannot be read ({type(error).__name__}: {error})"
            raise _damaged(dataset_id, reason) from error

    def delete(self, dataset_id: str) -> None:
        """Delete a data set, also a damaged one. Whether a job needs it is for the caller to know.

        Raises:
            UnknownIdError: there is no such data set.
            StoreError: it cannot be deleted, and is still there.
        """
        target = self.root / dataset_id
        if not _ID.fullmatch(dataset_id) or not target.is_dir():
            raise UnknownIdError(f"there is no data set {dataset_id}")
        with room_checked(target):
            delete_directory(target)

    def all(self) -> list[Dataset]:
        """All data sets that can be read, the newest first; the log names the others."""
        found = []
        for name in sorted(p.name for p in self.root.glob("*") if _ID.fullmatch(p.name)):
            try:
                found.append(self.get(name))
            except (AtomscatterError, OSError) as error:
                structlog.get_logger().error("a data set cannot be read", dataset=name, reason=str(error))
        return sorted(found, key=lambda d: (d.created, d.id), reverse=True)

    def structures(self, dataset_id: str) -> StructureSpool:
        """Its structures. Path ids and sources do not depend on where the store is, except in a set of an
        earlier version (``Dataset.named_by_id``).

        Raises:
            UnknownIdError: there is no such data set.
            DataError: it is damaged: a structure is bad, or others are there than were sent.
        """
        dataset = self.get(dataset_id)
        bad: list[BadStructure] = []
        found = StructureSpool(
            iterate_structures(
                [self.root / dataset_id / dataset.file],
                bad,
                path_key=dataset.path_key,
                energy_key=dataset.energy_key,
                need_energy=True,
                unique=True,
                file_format="extxyz",
                # The id tells the paths of two sets apart.
                called=f"{dataset_id}/{dataset.file}" if dataset.named_by_id else None,
            )
        )
        if bad:
            raise _damaged(dataset_id, str(bad[0]))
        if len(found) != dataset.n_structures:
            raise _damaged(dataset_id, f"{len(found)} structures are there, {dataset.n_structures} were sent")
        return found


def _damaged(dataset_id: str, reason: str) -> DataError:
    return DataError(f"data set {dataset_id} is damaged (the same file sent again replaces it): {reason}")


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """The names in it are on the disk, too."""
    directory = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system can do so
            os.fsync(directory)
    finally:
        os.close(directory)


def _id_of(path: Path, reading: DatasetReading) -> str:
    digest = hashlib.sha256(json.dumps([_FILE, reading.path_key, reading.energy_key]).encode() + b"\0")
    with path.open("rb") as file:
        while part := file.read(_COPIED_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()[:16]
