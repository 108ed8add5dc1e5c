"""What a feature store says of its structures: arrays beside the features, and hashes of everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import zarr
import zarr.storage
from numpy.typing import NDArray

from atomscatter.scattering import Scattering
from service.chunks import compressors
from service.reading import LabelledStructure, reduced_formula, structure_digest

FORMAT = "atomscatter-features-3"  # 2: features of other grids
METADATA = ("energies", "n_atoms", "path_ids", "compositions", "sources", "indices", "originals", "digests")

Digests = NDArray[np.uint8]


def metadata_files(
    structures: Sequence[LabelledStructure], scattering: Scattering, rows: int
) -> dict[str, bytes]:
    """All files of an empty store, by name."""
    digests = digests_of(structures)
    attributes = {
        "format": FORMAT,
        "scattering_config": scattering.config,
        "scattering_config_hash": scattering.config_hash,
        "data_hash": hash_of(digests),
    }
    files: dict[str, Any] = {}
    # Strict JSON types, so that what is read back compares equal to what was given.
    group = zarr.create_group(
        zarr.storage.MemoryStore(files), zarr_format=3, attributes=json.loads(json.dumps(attributes))
    )
    group.create_array(
        "features",
        shape=(len(structures), scattering.n_features),
        chunks=(min(rows, len(structures)), scattering.n_features),
        dtype="float64",
        fill_value=np.nan,
        compressors=compressors(),
    )
    for name, values in zip(METADATA, _metadata(structures, digests), strict=True):
        group.create_array(name, data=values, chunks=values.shape, compressors=compressors())
    return {name: content.to_bytes() for name, content in files.items()}


def _metadata(structures: Sequence[LabelledStructure], digests: Digests) -> Iterator[NDArray[Any]]:
    """Arrays in the order of ``METADATA``; each structure is looked at once, it may come from a file."""
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


def digests_of(structures: Sequence[LabelledStructure]) -> Digests:
    """SHA-256 of each structure, uint8 (n, 32)."""
    digests = np.empty((len(structures), 32), dtype=np.uint8)
    for row, structure in enumerate(structures):
        digests[row] = np.frombuffer(digest_of(structure), dtype=np.uint8)
    return digests


def digest_of(structure: LabelledStructure) -> bytes:
    """SHA-256 of a structure, its energy and path id, and of what it is a copy of."""
    energy = np.float64(np.nan if structure.energy is None else structure.energy)
    original = b"" if structure.copy_of is None else f"copy of {structure.copy_of}".encode()
    parts = structure_digest(structure.atoms), energy.tobytes(), structure.path_id.encode(), original
    return sha256(b"".join(parts)).digest()


def hash_of(digests: Digests) -> str:
    """The data hash: SHA-256 over all structures in their order."""
    return sha256(digests.tobytes()).hexdigest()
