"""The feature store: features of many structures, with what is needed to trust and to use them.

A directory, or a prefix of an object storage (see service.storage), that is a Zarr (version 3) group::

    zarr.json        scattering configuration and its hash, data hash
    features/        float64 (n, n_features), one chunk for each unit of work, zstd and crc32c
    energies/        float64 (n,), eV, total; NaN where unknown
    n_atoms/         int64 (n,)
    path_ids/ compositions/ sources/      strings (n,)
    indices/         int64 (n,), place of the structure in its source
    originals/       int64 (n,), row of which a row is a translated copy, -1 for structures themselves
    digests/         uint8 (n, 32), SHA-256 of structure, energy, path id and original
    ledger/          completed units and the hashes of all files (see service.ledger)
    writer.lock      on a disk: locked by the one process that hands out work
    writer.lease     without locks: renewed by that process (see service.lease)

A unit of work is one chunk and has one writer, the worker that computed it. Nothing is ever resized.
Everything except lock and lease is the same, byte for byte, however often the work was interrupted, on
processors of one kind (see atomscatter.scattering).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import StoreError
from atomscatter.scattering import Scattering
from service import ledger as ledgers
from service.chunks import MAX_CHUNK_ROWS, chunk_name, chunk_rows_for
from service.differences import differences
from service.ledger import Ledger, Unit
from service.reading import LabelledStructure
from service.storage import Storage, hashes, open_storage
from service.store_metadata import FORMAT, Digests, digest_of, digests_of, hash_of, metadata_files


class FeatureStore:
    """Features, energies and paths of n structures; made by :func:`workers.featurize.featurize`.

    Attributes:
        path: the directory, or the URL.
        scattering_config, scattering_config_hash: what decides the features, and its SHA-256.
        data_hash: SHA-256 over all structures, energies, path ids and originals of copies in their order.
        chunk_rows: rows of one unit of work.
        features: Zarr array, float64, shape (n, n_features); slices are read when asked for.
        energies: float64 (n,), eV, total energy of the cell; NaN where unknown.
        n_atoms, indices: int64 (n,); number of atoms, and place in the source.
        originals: int64 (n,); row of which a row is a translated copy, -1 for the structures themselves.
        path_ids, compositions, sources: lists of n strings.
    """

    def __init__(self, storage: Storage, group: zarr.Group) -> None:
        self.path: Path | str = storage.place
        self._storage = storage
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
        """Make a store with all metadata and no features; until it is complete, there is none at ``path``.

        Raises:
            StoreError: no structures; something is already at ``path``; the disk is full or not writable.
        """
        storage = open_storage(path)
        if not structures:
            raise StoreError(f"{storage.place}: a feature store needs at least one structure")
        rows = chunk_rows_for(structures, scattering) if chunk_rows is None else chunk_rows
        if not 1 <= rows <= MAX_CHUNK_ROWS:
            raise StoreError(f"{storage.place}: chunk rows must be 1 to {MAX_CHUNK_ROWS}, not {rows}")
        files = metadata_files(structures, scattering, rows)
        file_hashes = {name: sha256(content).hexdigest() for name, content in files.items()}
        storage.create({**files, **ledgers.first_file(file_hashes)})
        return cls._load(storage)

    @classmethod
    def is_at(cls, path: str | os.PathLike[str]) -> bool:
        """Whether there is a store, be it damaged."""
        return open_storage(path).read(ledgers.FILES) is not None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, check: bool = True) -> FeatureStore:
        """Open a store to use its features.

        Args:
            path: the directory, or the URL.
            check: read all of it once, and refuse it where anything is missing or damaged.

        Raises:
            StoreError: there is no store; its metadata are damaged; with ``check``, features are missing
                or damaged. The message names the files.
            ConfigError: the URL cannot be used.
        """
        store = cls._load(open_storage(path))
        if check:
            store.require_sound()
        return store

    @classmethod
    def _load(cls, storage: Storage) -> FeatureStore:
        place = storage.place
        if storage.read(ledgers.FILES) is None:
            raise StoreError(f"{place}: {_why_there_is_none(storage)}")
        expected = Ledger(storage).files()
        found = hashes(storage, expected)
        damaged = [name for name, now in zip(expected, found, strict=True) if now != expected[name]]
        if damaged:
            raise StoreError(
                f"{place}: damaged or deleted: {', '.join(damaged)}. These files describe the data and are"
                " not made anew; delete the store and featurize again"
            )
        group = zarr.open_group(storage.zarr_store(), mode="r")
        if group.attrs.get("format") != FORMAT:
            raise StoreError(
                f"{place}: format {group.attrs.get('format')!r}; this program has {FORMAT!r}. Featurize again"
            )
        return cls(storage, group)

    # What is in it

    def __len__(self) -> int:
        """Number of structures."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """Number of feature columns."""
        return int(self.features.shape[1])

    @cached_property
    def energies(self) -> FloatArray:
        """Total energies, eV, float64 (n,); NaN where unknown."""
        return np.asarray(_array(self._group, "energies")[:], dtype=np.float64)

    @cached_property
    def n_atoms(self) -> IntArray:
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
    def indices(self) -> IntArray:
        """Place of each structure in its file, int64 (n,)."""
        return np.asarray(_array(self._group, "indices")[:], dtype=np.int64)

    @cached_property
    def originals(self) -> IntArray:
        """Row of which each row is a translated copy, -1 for the structures themselves, int64 (n,)."""
        return np.asarray(_array(self._group, "originals")[:], dtype=np.int64)

    @cached_property
    def digests(self) -> Digests:
        """SHA-256 of each structure with energy, path id and original, uint8 (n, 32)."""
        return np.asarray(_array(self._group, "digests")[:], dtype=np.uint8)

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
        return Ledger(self._storage).units()

    @property
    def is_complete(self) -> bool:
        """Whether every unit was computed; says nothing about damage since then."""
        return len(self.completed_units()) == self.n_units

    def verify(self) -> list[str]:
        """Compare every completed unit's file with the ledger.

        Returns:
            Names, inside of the store, of chunks that are damaged, truncated, deleted, or of other inputs, or
            whose record in the ledger is damaged.
        """
        return [chunk_name(unit) for unit in self.damaged_units()]

    def damaged_units(self) -> list[int]:
        """Numbers of the units that :meth:`verify` names."""
        return self._damaged(self.completed_units())

    def _damaged(self, units: Mapping[int, Unit]) -> list[int]:
        found = hashes(self._storage, [chunk_name(number) for number in units])
        return [
            unit.number
            for unit, chunk_hash in zip(units.values(), found, strict=True)
            if unit.chunk_hash != chunk_hash or not self._is_of_this_store(unit)
        ]

    def _is_of_this_store(self, unit: Unit) -> bool:
        return (
            0 <= unit.number < self.n_units
            and unit.config_hash == self.scattering_config_hash
            and unit.input_hash == self.unit_input_hash(unit.number)
        )

    def require_sound(self) -> None:
        """Raise StoreError if features are missing or damaged; the message names the chunks."""
        units = self.completed_units()
        damaged = [chunk_name(unit) for unit in self._damaged(units)]
        if damaged:
            raise StoreError(
                f"{self.path}: damaged: {', '.join(damaged)}. Run featurize again with the same data:"
                " it computes these anew"
            )
        missing = self.n_units - len(units)
        if missing:
            raise StoreError(
                f"{self.path}: {missing} of {self.n_units} units are not computed yet. Run featurize again"
                " with the same data: it computes what is missing"
            )

    def require_same(self, structures: Sequence[LabelledStructure], scattering: Scattering) -> None:
        """Raise StoreError, saying what differs, unless the store is for these structures and features."""
        if scattering.config_hash != self.scattering_config_hash:
            different = differences(self.scattering_config, scattering.config)
            raise StoreError(
                f"{self.path}: was made with another feature configuration (hash"
                f" {self.scattering_config_hash[:12]}, now {scattering.config_hash[:12]}): {different}"
            )
        digests = digests_of(structures)
        if hash_of(digests) == self.data_hash:
            return
        place = self._other_path_ids(structures) or _first_difference(self.digests, digests, structures)
        raise StoreError(
            f"{self.path}: was made from other data (hash {self.data_hash[:12]}, now"
            f" {hash_of(digests)[:12]}): {len(self)} structures there, {len(structures)} now; {place}"
        )

    def _other_path_ids(self, structures: Sequence[LabelledStructure]) -> str | None:
        """What to say when only path ids differ, as of files that are named in another way."""
        ids = self.path_ids
        if len(ids) != len(structures):
            return None
        digest = sha256()
        for structure, path_id in zip(structures, ids, strict=True):
            digest.update(digest_of(replace(structure, path_id=path_id)))
        if digest.hexdigest() != self.data_hash:
            return None
        row = next(i for i, s in enumerate(structures) if s.path_id != ids[i])
        return (
            f"only path ids differ, first that of number {row}: {ids[row]!r} there,"
            f" {structures[row].path_id!r} now. Name the files as before (their names are part of path ids),"
            " or give --path-key as before"
        )

    @contextlib.contextmanager
    def writing(self) -> Iterator[Ledger]:
        """Be the one process that hands out work, for the time of the ``with`` block; yields the ledger.

        Raises:
            StoreError: another process does already; no write permission; the disk is full.
        """
        with self._storage.only_writer() as require_writer:
            yield Ledger(self._storage, require_writer)


def _why_there_is_none(storage: Storage) -> str:
    if storage.is_empty():
        return "there is no feature store"
    return f"is not a feature store, or its ledger {ledgers.FILES} was deleted"


def _first_difference(there: Digests, now: Digests, structures: Sequence[LabelledStructure]) -> str:
    n = min(len(there), len(now))
    if sorted(map(bytes, there)) == sorted(map(bytes, now)):
        return "they are the same in another order; name the files in that of the store"
    different = np.flatnonzero((there[:n] != now[:n]).any(axis=1))
    if not different.size:
        return f"the first {n} are the same"
    row = int(different[0])
    return f"the first that differs is number {row} ({structures[row].place})"


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{group.store_path}: {name} is not an array")
    return array
