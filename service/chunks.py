"""Chunks of a feature store, the units of work: how many rows they have, and what writes them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import zarr
import zarr.storage
from numpy.typing import NDArray
from zarr.buffer.cpu import Buffer
from zarr.codecs import Crc32cCodec, ZstdCodec

from atomscatter.errors import StoreError
from atomscatter.scattering import Scattering
from service.reading import LabelledStructure
from service.storage import open_storage

MAX_CHUNK_ROWS = 256
_WANTED_CHUNKS = 64
_LEAST_UNIT_SECONDS = 0.1  # handing a unit out costs a worker about a millisecond
_SAMPLE = 256  # structures that the time of all is estimated from


def chunk_rows_for(structures: Sequence[LabelledStructure], scattering: Scattering) -> int:
    """Rows of a chunk: a power of two, 256 for large data, fewer where that would leave under 64 units.

    But so many that a unit is work for a tenth of a second, or handing it out would take more than 2 % of the
    time (benchmarks/backpressure.py). The time is an estimate and, like the number of rows, the same for any
    number of workers on any machine, since the store's bytes depend on it.
    """
    sample = [structures[i].atoms for i in range(0, len(structures), max(1, len(structures) // _SAMPLE))]
    seconds = float(np.mean([scattering.estimated_seconds(atoms) for atoms in sample]))
    worthwhile = math.ceil(math.log2(max(1.0, _LEAST_UNIT_SECONDS / seconds)))
    spread = int(math.log2(max(1, len(structures) // _WANTED_CHUNKS)))
    return min(MAX_CHUNK_ROWS, 1 << max(worthwhile, spread))


def compressors() -> list[Any]:
    """Of all arrays of a store."""
    # Without the checksum, zstd lets most flipped bits through. Features hardly shrink at any level.
    return [ZstdCodec(level=1), Crc32cCodec()]


class ChunkWriter:
    """Writes chunks of one store; for a worker process, which then notes them in the ledger."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._storage = open_storage(path)
        metadata = self._storage.read("features/zarr.json")
        if metadata is None:
            raise StoreError(f"{self._storage.place}: there is no feature store")
        # Zarr encodes in memory, so that each kind of storage gets a chunk as it gets all its other files.
        self._encoded: dict[str, Any] = {"zarr.json": Buffer.from_bytes(metadata)}
        self._features = zarr.open_array(zarr.storage.MemoryStore(self._encoded), mode="r+")

    def write(self, unit: int, features: NDArray[np.float64]) -> str:
        """Write the rows of one unit, read them back, and return the SHA-256 of the chunk's file.

        Args:
            unit: number of the chunk.
            features: float64, shape (rows of the unit, n_features), finite.

        Raises:
            StoreError: the storage is full or not writable, or gives back other values than were written.
        """
        if not np.isfinite(features).all():
            raise StoreError(f"{self._storage.place}: features of unit {unit} are not finite")
        name = chunk_name(unit)
        content = self._encode(unit, features)
        self._storage.write(name, content)
        found = self._storage.read(name)
        if found is None:
            raise StoreError(f"{self._storage.place}: {name} vanished while it was written")
        if found != content:
            raise StoreError(f"{self._storage.place}: {name} reads back other values than were written")
        return sha256(content).hexdigest()

    def _encode(self, unit: int, features: NDArray[np.float64]) -> bytes:
        rows = int(self._features.chunks[0])
        start, stop = unit * rows, unit * rows + len(features)
        self._features[start:stop] = features
        if not np.array_equal(np.asarray(self._features[start:stop]), features):
            raise StoreError(f"{self._storage.place}: the chunk of unit {unit} decodes to other values")
        content: bytes = self._encoded.pop(chunk_name(unit).removeprefix("features/")).to_bytes()
        return content


def chunk_name(unit: int) -> str:
    """Name of a unit's chunk inside of the store."""
    return f"features/c/{unit}/0"
