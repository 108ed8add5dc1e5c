"""The feature store: features of many structures on disk, with what is needed to trust and to use them.

A directory that is a Zarr (version 3) group::

    zarr.json        scattering configuration and its hash, data hash
    features/        float64 (n, n_features), one chunk for each unit of work, zstd and crc32c
    energies/        float64 (n,), eV, total; NaN where unknown
    n_atoms/         int64 (n,)
    path_ids/ compositions/ sources/      strings (n,)
    indices/         int64 (n,), place of the structure in its source
    originals/       int64 (n,), row of which a row is a translated copy, -1 for structures themselves
    digests/         uint8 (n, 32), SHA-256 of structure, energy, path id and original
    ledger.sqlite    completed units and the hashes of all files (see service.ledger)
    writer.lock      held by the one process that hands out work

A unit of work is one chunk and has one writer, the worker that computed it. Nothing is ever resized.
Everything except the two last files is the same, byte for byte, however often the work was interrupted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from atomscatter.errors import StoreError
from atomscatter.labels import FeatureLabel
from atomscatter.scattering import Scattering
from service.disk import room_checked
from service.ledger import Ledger, Unit
from service.reading import LabelledStructure, reduced_formula, structure_digest

FORMAT = "atomscatter-features-1"
MAX_CHUNK_ROWS = 256
_WANTED_CHUNKS = 64
_LEDGER = "ledger.sqlite"
_LOCK = "writer.lock"
_METADATA = ("energies", "n_atoms", "path_ids", "compositions", "sources", "indices", "originals", "digests")

Digests = NDArray[np.uint8]


def chunk_rows_for(n_structures: int) -> int:
    """Rows of a chunk: a power of two, 256 for large data, fewer where that would leave under 64 units.

    It must not depend on the number of workers, since the store's bytes depend on it.
    """
    return int(np.clip(2 ** int(np.log2(max(1, n_structures // _WANTED_CHUNKS))), 1, MAX_CHUNK_ROWS))


class FeatureStore:
    """Features, energies and paths of n structures; made by :func:`workers.featurize.featurize`.

    Attributes:
        path: the directory.
        scattering_config, scattering_config_hash: what decides the features, and its SHA-256.
        data_hash: SHA-256 over all structures, energies and path ids in their order.
        chunk_rows: rows of one unit of work.
        features: Zarr array, float64, shape (n, n_features); slices are read from disk when asked for.
        energies: float64 (n,), eV, total energy of the cell; NaN where unknown.
        n_atoms, indices: int64 (n,); number of atoms, and place in the source.
        originals: int64 (n,); row of which a row is a translated copy, -1 for the structures themselves.
        path_ids, compositions, sources: lists of n strings.
    """

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path = path
        self._group = group
        attributes: Mapping[str, Any] = group.attrs
        self.scattering_config: dict[str, Any] = dict(attributes["scattering_config"])
        self.scattering_config_hash = str(attributes["scattering_config_hash"])
        self.data_hash = str(attributes["data_hash"])
        self.features = _array(group, "features")
        self.chunk_rows = int(self.features.chunks[0])

    # Making and opening

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        structures: Sequence[LabelledStructure],
        scattering: Scattering,
        *,
        chunk_rows: int | None = None,
    ) -> FeatureStore:
        """Make a store with all metadata and no features; it appears at ``path`` complete or not at all.

        Raises:
            StoreError: no structures; something is already at ``path``; the disk is full or not writable.
        """
        path = local_path(path)
        if not structures:
            raise StoreError(f"{path}: a feature store needs at least one structure")
        rows = chunk_rows_for(len(structures)) if chunk_rows is None else chunk_rows
        if not 1 <= rows <= MAX_CHUNK_ROWS:
            raise StoreError(f"{path}: chunk rows must be 1 to {MAX_CHUNK_ROWS}, not {rows}")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(f"{path}: exists already and is not a feature store")
        with room_checked(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            try:
                draft.chmod(0o777 & ~_umask())
                _write_metadata(draft, structures, scattering, rows)
                Ledger.create(draft / _LEDGER, _file_hashes(draft))
                draft.rename(path)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        return cls._load(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, check: bool = True) -> FeatureStore:
        """Open a store to use its features.

        Args:
            path: the directory.
            check: read all of it once, and refuse it where anything is missing or damaged.

        Raises:
            StoreError: there is no store; its metadata are damaged; with ``check``, features are missing
                or damaged. The message names the files.
        """
        path = local_path(path)
        store = cls._load(path)
        if check:
            store.require_sound()
        return store

    @classmethod
    def _load(cls, path: Path) -> FeatureStore:
        if not path.is_dir():
            raise StoreError(f"{path}: there is no feature store")
        if not (path / _LEDGER).exists():
            raise StoreError(f"{path}: is not a feature store, or its ledger {_LEDGER} was deleted")
        with Ledger.open(path / _LEDGER) as ledger:
            damaged = _damaged_files(path, ledger.files())
        if damaged:
            raise StoreError(
                f"{path}: damaged or deleted: {', '.join(damaged)}. These files describe the data and are"
                " not made anew; delete the store and featurize again"
            )
        group = zarr.open_group(path, mode="r")
        if group.attrs.get("format") != FORMAT:
            raise StoreError(f"{path}: unknown format {group.attrs.get('format')!r}, expected {FORMAT!r}")
        return cls(path, group)

    # What is in it

    def __len__(self) -> int:
        """Number of structures."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """Number of feature columns."""
        return int(self.features.shape[1])

    @cached_property
    def energies(self) -> NDArray[np.float64]:
        """Total energies, eV, float64 (n,); NaN where unknown."""
        return np.asarray(_array(self._group, "energies")[:], dtype=np.float64)

    @cached_property
    def n_atoms(self) -> NDArray[np.int64]:
        """Numbers of atoms, int64 (n,)."""
        return np.asarray(_array(self._group, "n_atoms")[:], dtype=np.int64)

    @cached_property
    def path_ids(self) -> list[str]:
        """Relaxation path of each structure."""
        return self._strings("path_ids")

    @cached_property
    def compositions(self) -> list[str]:
        """Reduced formula of each structure (Hill order)."""
        return self._strings("compositions")

    @cached_property
    def sources(self) -> list[str]:
        """File that each structure came from."""
        return self._strings("sources")

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """Place of each structure in its file, int64 (n,)."""
        return np.asarray(_array(self._group, "indices")[:], dtype=np.int64)

    @cached_property
    def originals(self) -> NDArray[np.int64]:
        """Row of which each row is a translated copy, -1 for the structures themselves, int64 (n,)."""
        return np.asarray(_array(self._group, "originals")[:], dtype=np.int64)

    @cached_property
    def digests(self) -> Digests:
        """SHA-256 of each structure with energy and path id, uint8 (n, 32)."""
        return np.asarray(_array(self._group, "digests")[:], dtype=np.uint8)

    @cached_property
    def labels(self) -> tuple[FeatureLabel, ...]:
        """One label for each feature column."""
        return tuple(Scattering.from_config(self.scattering_config).labels)

    def _strings(self, name: str) -> list[str]:
        values = np.asarray(_array(self._group, name)[:])
        return [str(value) for value in values]

    # Units of work

    @property
    def n_units(self) -> int:
        """Number of units of work: chunks of the feature matrix."""
        return -(-len(self) // self.chunk_rows)

    def unit_rows(self, unit: int) -> range:
        """Rows of a unit of work."""
        return range(unit * self.chunk_rows, min(len(self), (unit + 1) * self.chunk_rows))

    def unit_input_hash(self, unit: int) -> str:
        """SHA-256 over a unit's structures, energies and path ids."""
        rows = self.unit_rows(unit)
        return sha256(self.digests[rows.start : rows.stop].tobytes()).hexdigest()

    def completed_units(self) -> dict[int, Unit]:
        """Units that the ledger holds as complete."""
        with Ledger.open(self.path / _LEDGER) as ledger:
            return ledger.units()

    @property
    def is_complete(self) -> bool:
        """Whether every unit was computed; says nothing about damage since then."""
        return len(self.completed_units()) == self.n_units

    def verify(self) -> list[str]:
        """Compare every completed unit's file with the ledger.

        Returns:
            Names, inside of the store, of chunks that are damaged, truncated, deleted, or of other inputs.
        """
        return [chunk_name(unit) for unit in self.damaged_units()]

    def damaged_units(self) -> list[int]:
        """Numbers of the units that :meth:`verify` names."""
        return [number for number, unit in self.completed_units().items() if not self._is_sound(unit)]

    def _is_sound(self, unit: Unit) -> bool:
        return (
            0 <= unit.number < self.n_units
            and unit.config_hash == self.scattering_config_hash
            and unit.input_hash == self.unit_input_hash(unit.number)
            and _file_hash(self.path / chunk_name(unit.number)) == unit.chunk_hash
        )

    def require_sound(self) -> None:
        """Raise StoreError if features are missing or damaged; the message names the chunks."""
        damaged = self.verify()
        if damaged:
            raise StoreError(
                f"{self.path}: damaged: {', '.join(damaged)}. Run featurize again with the same data:"
                " it computes these anew"
            )
        missing = self.n_units - len(self.completed_units())
        if missing:
            raise StoreError(
                f"{self.path}: {missing} of {self.n_units} units are not computed yet. Run featurize again"
                " with the same data: it computes what is missing"
            )

    def require_same(self, structures: Sequence[LabelledStructure], scattering: Scattering) -> None:
        """Raise StoreError, saying what differs, unless the store is for these structures and features."""
        if scattering.config_hash != self.scattering_config_hash:
            differences = _differences(self.scattering_config, scattering.config)
            raise StoreError(
                f"{self.path}: was made with another feature configuration (hash"
                f" {self.scattering_config_hash[:12]}, now {scattering.config_hash[:12]}): {differences}"
            )
        digests = _digests(structures)
        if _hash_of(digests) == self.data_hash:
            return
        place = _first_difference(self.digests, digests, structures)
        raise StoreError(
            f"{self.path}: was made from other data (hash {self.data_hash[:12]}, now"
            f" {_hash_of(digests)[:12]}): {len(self)} structures there, {len(structures)} now; {place}"
        )

    def content_hash(self) -> str:
        """SHA-256 over names and bytes of all files except ledger and lock."""
        digest = sha256()
        for name, file_hash in sorted(_file_hashes(self.path).items()):
            digest.update(f"{name}\0{file_hash}\n".encode())
        return digest.hexdigest()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Ledger]:
        """Be the one process that hands out work, for the time of the ``with`` block; yields the ledger.

        Raises:
            StoreError: another process does already; no write permission; the disk is full.
        """
        with contextlib.ExitStack() as stack:
            with room_checked(self.path / _LOCK):
                lock = stack.enter_context((self.path / _LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"{self.path}: another process is writing to this store") from None
            self._remove_partial_files()
            with Ledger.open(self.path / _LEDGER, write=True) as ledger:
                yield ledger

    def _remove_partial_files(self) -> None:
        # Left by a worker that was killed while Zarr wrote a chunk under a temporary name.
        for file in (self.path / "features").rglob("*.partial"):
            file.unlink(missing_ok=True)


class ChunkWriter:
    """Writes chunks of one store; for a worker process. The ledger is the business of the driver."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = local_path(path)
        self._features = _array(zarr.open_group(self._path, mode="r+"), "features")

    def write(self, unit: int, features: NDArray[np.float64]) -> str:
        """Write the rows of one unit, read them back, and return the SHA-256 of the chunk's file.

        Args:
            unit: number of the chunk.
            features: float64, shape (rows of the unit, n_features), finite.

        Raises:
            StoreError: the disk is full or not writable, or gives back other values than were written.
        """
        if not np.isfinite(features).all():
            raise StoreError(f"{self._path}: features of unit {unit} are not finite")
        rows = int(self._features.chunks[0])
        start, stop = unit * rows, unit * rows + len(features)
        file = self._path / chunk_name(unit)
        with room_checked(file):
            self._features[start:stop] = features
            # One read for the hash; the values are checked through Zarr, as a reader will see them.
            if not np.array_equal(np.asarray(self._features[start:stop]), features):
                raise StoreError(f"{file}: reads back other values than were written")
        file_hash = _file_hash(file)
        if file_hash is None:
            raise StoreError(f"{file}: vanished while it was written")
        return file_hash


def chunk_name(unit: int) -> str:
    """Name of a unit's chunk inside of the store."""
    return f"features/c/{unit}/0"


def local_path(path: str | os.PathLike[str]) -> Path:
    """Absolute path of a store; workers may run in another directory.

    Raises:
        StoreError: ``path`` is a URL.
    """
    if "://" in os.fspath(path):
        raise StoreError(f"{path}: only local directories can hold a feature store so far")
    return Path(path).absolute()


def _write_metadata(
    path: Path, structures: Sequence[LabelledStructure], scattering: Scattering, rows: int
) -> None:
    digests = _digests(structures)
    attributes = {
        "format": FORMAT,
        "scattering_config": scattering.config,
        "scattering_config_hash": scattering.config_hash,
        "data_hash": _hash_of(digests),
    }
    # Strict JSON types, so that what is read back compares equal to what was given.
    group = zarr.create_group(
        path, zarr_format=3, attributes=json.loads(json.dumps(attributes)), overwrite=True
    )
    group.create_array(
        "features",
        shape=(len(structures), scattering.n_features),
        chunks=(min(rows, len(structures)), scattering.n_features),
        dtype="float64",
        fill_value=np.nan,
        compressors=_compressors(),
    )
    for name, values in zip(_METADATA, _metadata(structures, digests), strict=True):
        group.create_array(name, data=values, chunks=values.shape, compressors=_compressors())


def _compressors() -> list[Any]:
    # Without the checksum, zstd lets most flipped bits through. Features hardly shrink at any level.
    return [ZstdCodec(level=1), Crc32cCodec()]


def _metadata(structures: Sequence[LabelledStructure], digests: Digests) -> Iterator[NDArray[Any]]:
    """Arrays in the order of ``_METADATA``; each structure is looked at once, it may come from a file."""
    n = len(structures)
    energies, originals = np.full(n, np.nan), np.full(n, -1)
    n_atoms, indices = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    path_ids, compositions, sources = (np.empty(n, dtype=np.dtypes.StringDType()) for _ in range(3))
    for row, s in enumerate(structures):
        if s.energy is not None:
            energies[row] = s.energy
        if s.copy_of is not None:
            originals[row] = s.copy_of
        n_atoms[row], indices[row] = len(s.atoms), s.index
        path_ids[row], compositions[row], sources[row] = s.path_id, reduced_formula(s.atoms), s.source
    yield from (energies, n_atoms, path_ids, compositions, sources, indices, originals, digests)


def _digests(structures: Sequence[LabelledStructure]) -> Digests:
    digests = np.empty((len(structures), 32), dtype=np.uint8)
    for row, structure in enumerate(structures):
        digests[row] = np.frombuffer(_digest(structure), dtype=np.uint8)
    return digests


def _digest(structure: LabelledStructure) -> bytes:
    energy = np.float64(np.nan if structure.energy is None else structure.energy)
    original = b"" if structure.copy_of is None else f"copy of {structure.copy_of}".encode()
    parts = structure_digest(structure.atoms), energy.tobytes(), structure.path_id.encode(), original
    return sha256(b"".join(parts)).digest()


def _hash_of(digests: Digests) -> str:
    return sha256(digests.tobytes()).hexdigest()


def _file_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of all files of a store by name, except of ledger and lock."""
    hashes = {}
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if file.is_file() and not name.startswith((_LEDGER, _LOCK)) and not name.endswith(".partial"):
            hashes[name] = _file_hash(file) or ""
    return hashes


def _file_hash(file: Path) -> str | None:
    try:
        return sha256(file.read_bytes()).hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        return None


def _damaged_files(path: Path, hashes: Mapping[str, str]) -> list[str]:
    return [name for name, expected in hashes.items() if _file_hash(path / name) != expected]


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = [k for k in sorted({*there, *now}) if json.dumps(there.get(k)) != json.dumps(now.get(k))]
    return "; ".join(f"{key} is {_short(there.get(key))} there, {_short(now.get(key))} now" for key in keys)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _first_difference(there: Digests, now: Digests, structures: Sequence[LabelledStructure]) -> str:
    n = min(len(there), len(now))
    different = np.flatnonzero((there[:n] != now[:n]).any(axis=1))
    if not different.size:
        return f"the first {n} are the same"
    row = int(different[0])
    place = f"{structures[row].source}, structure {structures[row].index}"
    return f"the first that differs is number {row} ({place})"


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{group.store_path}: {name} is not an array")
    return array


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
