"""Features of many structures, computed by Ray actors and kept in a feature store."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from ase import Atoms

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import AtomscatterError, StoreError, WorkerError
from atomscatter.needed import Needed
from atomscatter.scattering import Scattering
from service.chunks import ChunkWriter, chunk_name
from service.feature_store import FeatureStore
from service.ledger import Ledger, Unit
from service.reading import LabelledStructure, naming
from service.storage import open_storage
from workers.cluster import connect
from workers.pool import run_units

# What a worker needs of a structure: its name for messages, numbers, positions (Angstrom), cell (Angstrom),
# and whether its grids stay in the cell: copies are there to show the error of the grids.
_Job = tuple[str, IntArray, FloatArray, FloatArray, bool]


def featurize(
    structures: Sequence[LabelledStructure],
    scattering: Scattering,
    store_path: str | os.PathLike[str],
    *,
    workers: int | None = None,
    address: str | None = None,
    chunk_rows: int | None = None,
    only: Needed | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> FeatureStore:
    """Compute the features of structures into a store; what the store already holds is not computed again.

    Run with the same arguments after any interruption, it computes what is missing or damaged, and the store
    ends with the same bytes as without the interruption.

    Args:
        structures: from :func:`service.reading.read_structures`; their order is the order of rows. They are
            looked at one by one: many of them may come from a file (:class:`service.spool.StructureSpool`).
        scattering: decides the features.
        store_path: directory or URL of the store, new or made by an earlier call; on a cluster, one that
            all nodes share.
        workers: worker processes; None: one for each physical core (local) or CPU (cluster).
        address: running Ray cluster; None starts a local Ray.
        chunk_rows: rows of one unit of work, 1-256; None chooses by the number of structures and their size.
        only: what to compute, other columns are 0; for a store of passing use, which does not say so. None:
            everything.
        on_progress: called with the number of structures that have been completed since the last call;
            first with those that were there before.

    Returns:
        The complete store.

    Raises:
        StoreError: the store was made with another configuration or from other data; disk full.
        StorageError: an object storage does not answer.
        DataError: a structure cannot be featurized; names file and index.
        WorkerError: workers keep dying, or do not start.
    """
    progress = on_progress or (lambda n: None)
    store = _open_or_create(structures, scattering, store_path, chunk_rows)
    with store.writing() as ledger:
        missing = _missing_units(store, ledger)
        progress(len(store) - _count_rows(store, missing))
        if missing:
            with connect(address, workers) as n_workers:
                _compute(store, structures, missing, only, ledger, n_workers, progress)
    return FeatureStore.open(store.path, check=False)


def _open_or_create(
    structures: Sequence[LabelledStructure],
    scattering: Scattering,
    store_path: str | os.PathLike[str],
    chunk_rows: int | None,
) -> FeatureStore:
    if not FeatureStore.is_at(store_path):
        return FeatureStore.create(store_path, structures, scattering, chunk_rows=chunk_rows)
    store = FeatureStore.open(store_path, check=False)
    store.require_same(structures, scattering)
    if chunk_rows is not None and min(chunk_rows, len(store)) != store.chunk_rows:
        raise StoreError(f"{store.path}: has chunks of {store.chunk_rows} rows, not {chunk_rows}")
    return store


def _missing_units(store: FeatureStore, ledger: Ledger) -> list[int]:
    """Units still to be computed, the most expensive first; damaged ones are reported and among them."""
    damaged = store.damaged_units()
    if damaged:
        names = [chunk_name(unit) for unit in damaged]
        structlog.get_logger().warning(
            "damaged chunks are computed again", store=str(store.path), chunks=names
        )
        ledger.forget(damaged)
    done = ledger.units()
    return [unit for unit in range(store.n_units) if unit not in done]


def _count_rows(store: FeatureStore, units: Sequence[int]) -> int:
    return sum(len(store.unit_rows(unit)) for unit in units)


def _compute(
    store: FeatureStore,
    structures: Sequence[LabelledStructure],
    units: Sequence[int],
    only: Needed | None,
    ledger: Ledger,
    n_workers: int | None,
    progress: Callable[[int], None],
) -> None:
    # Longest first, so that no worker is left alone with a long unit; cost goes with the volume.
    costs = {unit: sum(structures[row].atoms.get_volume() for row in store.unit_rows(unit)) for unit in units}
    jobs = UnitsOfWork(store, structures, sorted(units, key=lambda unit: (-costs[unit], unit)))

    def completed(unit: int, _: None) -> None:
        ledger.require_writer()
        progress(len(store.unit_rows(unit)))

    make_actor = actor_factory(store.scattering_config, str(store.path), only)
    try:
        run_units(make_actor, jobs, "featurize", n_workers=n_workers, on_result=completed)
    except WorkerError as error:
        if isinstance(error.__cause__, AtomscatterError):
            raise error.__cause__ from None
        raise


class UnitsOfWork(Mapping[int, tuple[int, str, list[_Job]]]):
    """Arguments of :meth:`Featurizer.featurize` for each unit, put together when they are asked for."""

    def __init__(
        self, store: FeatureStore, structures: Sequence[LabelledStructure], order: Sequence[int]
    ) -> None:
        self._store = store
        self._structures = structures
        self._order = order

    def __getitem__(self, unit: int) -> tuple[int, str, list[_Job]]:
        jobs = [_job(self._structures[row]) for row in self._store.unit_rows(unit)]
        return unit, self._store.unit_input_hash(unit), jobs

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


def actor_factory(
    config: Mapping[str, Any], store_path: str, only: Needed | None = None
) -> Callable[[], Any]:
    """Function that starts one :class:`Featurizer` as a Ray actor on one CPU."""
    import ray

    actor_class = ray.remote(num_cpus=1, max_restarts=0)(Featurizer)
    return lambda: actor_class.remote(config, store_path, only)


class Featurizer:
    """What runs in a worker process: one transform and one writer.

    It notes itself what it has written, so that nothing is lost that was done when the process that hands
    out work dies.
    """

    def __init__(self, config: Mapping[str, Any], store_path: str, only: Needed | None = None) -> None:
        self._scattering = Scattering.from_config(config)
        self._only = only
        self._writer = ChunkWriter(store_path)
        self._ledger = Ledger(open_storage(store_path))

    def featurize(self, unit: int, input_hash: str, jobs: Sequence[_Job]) -> None:
        """Compute and write one unit, and note it as complete."""
        chunk_hash = self._writer.write(unit, np.array([self._features(job) for job in jobs]))
        self._ledger.record(Unit(unit, input_hash, self._scattering.config_hash, chunk_hash))

    def _features(self, job: _Job) -> FloatArray:
        place, numbers, positions, cell, grids_stay = job
        atoms = Atoms(numbers, positions=positions, cell=cell, pbc=True)
        with naming(place):
            return self._scattering.features(atoms, only=self._only, origin="cell" if grids_stay else None)


def _job(structure: LabelledStructure) -> _Job:
    atoms = structure.atoms
    is_copy = structure.copy_of is not None
    return structure.place, atoms.numbers, atoms.positions, np.asarray(atoms.cell.array), is_copy
