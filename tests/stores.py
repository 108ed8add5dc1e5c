"""Small structures, and stores filled with random numbers."""

import numpy as np
from ase.build import bulk

from atomscatter.scattering import Scattering
from service.chunks import ChunkWriter
from service.ledger import Unit
from service.reading import LabelledStructure

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
