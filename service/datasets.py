"""Uploaded training sets: kept as they were sent, under a hash of what they are.

<root>/<id>/<file>         the upload, under a name that says its format and nothing else
<root>/<id>/dataset.json   what is in it, and how it is read
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from atomscatter.errors import AtomscatterError
from service.reading import iterate_structures
from service.spool import StructureSpool
from service.uploads import FORMATS, read_upload, upload_format

_ID = re.compile(r"[0-9a-f]{16}")
_DESCRIPTION = "dataset.json"


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


def describe(name: str, content: bytes, reading: DatasetReading) -> DatasetContent:
    """Read a whole training set; raises what :func:`service.uploads.read_upload` does."""
    structures = read_upload(
        name,
        content,
        max_structures=reading.max_structures,
        max_atoms=reading.max_atoms,
        with_energies=True,
        path_key=reading.path_key,
        energy_key=reading.energy_key,
    )
    return DatasetContent(
        n_structures=len(structures),
        n_paths=len({s.path_id for s in structures}),
        n_atoms=sum(len(s.atoms) for s in structures),
        elements=tuple(sorted({e for s in structures for e in s.atoms.get_chemical_symbols()})),
    )


class DatasetStore:
    """Training sets below one directory, made when the first is added."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name: str, content: bytes, reading: DatasetReading, found: DatasetContent) -> Dataset:
        """Keep an upload that was described; the same upload read in the same way is kept once."""
        file = FORMATS[upload_format(name, content)]
        about = json.dumps([file, reading.path_key, reading.energy_key]).encode()
        dataset_id = hashlib.sha256(about + b"\0" + content).hexdigest()[:16]
        target = self.root / dataset_id
        if target.exists():
            return self.get(dataset_id)
        dataset = Dataset(
            dataset_id,
            file,
            datetime.now(UTC).isoformat(timespec="seconds"),
            reading.path_key,
            reading.energy_key,
            **asdict(found),
        )
        self.root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        try:
            (scratch / file).write_bytes(content)
            (scratch / _DESCRIPTION).write_text(json.dumps(asdict(dataset)), encoding="utf-8")
            scratch.chmod(0o755)
            try:
                scratch.rename(target)
            except OSError:
                if not target.exists():  # another request has not been faster
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return self.get(dataset_id)

    def get(self, dataset_id: str) -> Dataset:
        """A data set. Raises UnknownIdError."""
        path = self.root / dataset_id / _DESCRIPTION
        if not _ID.fullmatch(dataset_id) or not path.is_file():
            raise UnknownIdError(f"there is no data set {dataset_id}")
        values = json.loads(path.read_text(encoding="utf-8"))
        return Dataset(**values | {"elements": tuple(values["elements"])})

    def all(self) -> list[Dataset]:
        """All data sets, the newest first."""
        found = [self.get(p.name) for p in self.root.glob("*") if _ID.fullmatch(p.name)]
        return sorted(found, key=lambda d: (d.created, d.id), reverse=True)

    def structures(self, dataset_id: str) -> StructureSpool:
        """Its structures; path ids and sources do not depend on where the store is."""
        dataset = self.get(dataset_id)
        found = iterate_structures(
            [self.root / dataset_id / dataset.file],
            [],
            path_key=dataset.path_key,
            energy_key=dataset.energy_key,
            need_energy=True,
            unique=True,
        )
        return StructureSpool(found)
