"""Small structures, and stores filled with random numbers."""

from hashlib import sha256

import numpy as np
from ase.build import bulk

from atomscatter.scattering import Scattering
from service import ledger as ledgers
from service.chunks import ChunkWriter
from service.lease import LEASE
from service.ledger import Unit
from service.local_storage import LOCK
from service.reading import LabelledStructure
from service.storage import hashes

SCATTERING = Scattering(beta=1.0, scales=1)


def make_structures(n, seed=0):
    rng = np.random.default_rng(seed)
    structures = []
    for i in range(n):
        atoms = bulk("Si")
        atoms.numbers[1] = 3 if i % 2 else 14
        atoms.rattle(0.05, rng=rng)
        structures.append(
            LabelledStructure(atoms, f"dir/é-{i % 3}.xyz", i, f"path {i // 2 * 2}-{i % 2}", -3.5 * i)
        )
    structures[-1].energy = None
    return structures


def content_hash(store):
    """SHA-256 over names and bytes of all files of a store but its ledger and locks."""
    storage = store._storage
    names = [
        name
        for name in storage.names()
        if not name.startswith(ledgers.DIRECTORY) and name not in (LOCK, LEASE)
    ]
    return sha256(repr(list(zip(names, hashes(storage, names), strict=True))).encode()).hexdigest()


def fill(store, units=None, seed=1):
    """Write random features and record them, as a run would."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(len(store), store.n_features))
    writer = ChunkWriter(store.path)
    with store.writing() as ledger:
        for unit in range(store.n_units) if units is None else units:
            rows = store.unit_rows(unit)
            chunk_hash = writer.write(unit, X[rows.start : rows.stop])
            ledger.record(Unit(unit, store.unit_input_hash(unit), store.scattering_config_hash, chunk_hash))
    return X
