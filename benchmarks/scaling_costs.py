"""What a structure, a unit of work and a model cost here, measured with the classes that do the work.

Processor seconds, which depend little on what else the machine does; wall seconds only where a disk is waited
for. Structures have 64 atoms, units 256 rows, the transform is the default one.
"""

import resource
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import zarr
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from common import REPOSITORY, amorphous_li_si
from fit_500 import synthetic

from atomscatter.gram import packed_bytes, weighted_grams
from atomscatter.resampling import path_folds
from atomscatter.scattering import Scattering
from cli.inputs import elements_of
from service import defaults
from service.chunks import ChunkWriter, chunk_name
from service.copies import with_translated_copies
from service.feature_store import FeatureStore
from service.ledger import Ledger, Unit
from service.reading import iterate_structures
from service.spool import StructureSpool
from service.storage import open_storage
from service.structure_sequence import StructureSequence
from service.training import FitSettings, training_data
from workers.cluster import connect
from workers.featurize import Featurizer, UnitsOfWork, featurize
from workers.fit_worker import FitWorker, Problem
from workers.pool import run_units
from workers.train import design_matrix, sort_by_path

ROWS = 256  # of a unit, for many structures
ATOMS = 64
PATH = 54  # structures
BATCH = 50  # models of many structures, workers/train.py
IN_FLIGHT = 4  # units that a sleeping worker holds: it never waits for its inputs alone
SLEEPS = [(0.1, 160), (0.03, 240), (0.0, 240)]  # seconds of a unit, units
HASH = "0" * 64


class Repeated(StructureSequence):
    """The same structures again and again: as many units as wanted, without reading so many."""

    def __init__(self, structures, length):
        self._structures, self._length = structures, length

    def __len__(self):
        return self._length

    def _row(self, row):
        return self._structures[row % len(self._structures)]


class RepeatedUnits(dict):
    """Arguments of the real units, under more numbers."""

    def __init__(self, units, count):
        super().__init__(dict.fromkeys(range(count)))
        self._units = units

    def __getitem__(self, number):
        _, input_hash, jobs = self._units[number % len(self._units)]
        return number, input_hash, jobs


def sleeper():
    """Actor class that takes a unit as a Featurizer does, sleeps, and answers like it."""

    class Sleeper:
        def __init__(self, seconds):
            self._seconds = seconds

        def take(self, unit, input_hash, jobs):
            time.sleep(self._seconds)

    return Sleeper


def processor_seconds(function, repeats):
    function()
    began = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - began) / repeats


def write_structures(file, count):
    """Extended XYZ of ``count`` different structures with energies and paths."""
    rng = np.random.default_rng(0)
    atoms = [amorphous_li_si(ATOMS, 11.0, seed) for seed in range(4)]
    frames = []
    for i in range(count):
        frame = atoms[i % 4].copy()
        frame.positions += 0.01 * rng.standard_normal((ATOMS, 3))
        frame.info["path"] = f"path {i // PATH}"
        frame.calc = SinglePointCalculator(frame, energy=-float(i))
        frames.append(frame)
    write(file, frames, format="extxyz")


def read(file):
    bad = []
    spool = StructureSpool(
        iterate_structures([file], bad, path_key="path", need_energy=True, unique=True)  # as featurize
    )
    assert not bad
    return spool


def measure_reading(folder, count=1500):
    """What the driver does with each structure before the first unit, step by step; the spool."""
    file = folder / "structures.xyz"
    write_structures(file, count)
    seconds = {}
    began = time.process_time()
    spool = read(file)
    seconds["read, check, spool"] = (time.process_time() - began) / count
    began = time.process_time()
    scattering = Scattering.for_species(elements_of(spool))
    seconds["elements"] = (time.process_time() - began) / count
    rows = Repeated(with_translated_copies(spool), 20_000)
    FeatureStore.create(folder / "first", rows[:1], scattering)
    began = time.process_time()
    FeatureStore.create(folder / "second", rows, scattering, chunk_rows=ROWS)
    seconds["digests, metadata (of a row)"] = (time.process_time() - began) / len(rows)
    began = time.process_time()
    sum(row.atoms.get_volume() for row in rows)
    seconds["volume (of a row)"] = (time.process_time() - began) / len(rows)
    return {
        **{f"{name}, s": value for name, value in seconds.items()},
        "input file, bytes of a structure": file.stat().st_size / count,
        "spool, bytes of a structure": spool._starts[-1] / count,
    }, spool


def measure_reading_memory(folder, counts=(1000, 3000)):
    """Bytes of the driver for each structure: slope of the peak while it reads and makes the store."""
    peaks = []
    for count in counts:
        file = folder / f"{count}.xyz"
        write_structures(file, count)
        tracemalloc.start()
        rows = with_translated_copies(read(file))
        FeatureStore.create(folder / f"of {count}", rows, Scattering(), chunk_rows=ROWS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return {"memory while reading, bytes of a structure": slope(counts, peaks)}


def slope(x, y):
    return (y[1] - y[0]) / (x[1] - x[0])


def measure_worker(folder, spool):
    """A transform, a chunk, a note, the start of a worker's process."""
    scattering = Scattering()
    atoms = [spool[i].atoms for i in range(4)]
    features = np.array([scattering.features(a) for a in atoms])
    transform = processor_seconds(lambda: scattering.features(atoms[0]), 6)
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal((ROWS, scattering.n_features))
    store = FeatureStore.create(folder / "chunk", Repeated(spool, ROWS), scattering, chunk_rows=ROWS)
    writer = ChunkWriter(store.path)
    chunk = np.tile(features, (ROWS // 4, 1)) * noise
    write_chunk = processor_seconds(lambda: writer.write(0, chunk), 5)
    ledger, unit = Ledger(open_storage(store.path)), Unit(0, HASH, scattering.config_hash, HASH)
    note = processor_seconds(lambda: ledger.record(unit), 60)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = f"from workers.featurize import Featurizer as F; F({scattering.config!r}, {str(store.path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "transform, s": transform,
        "features": scattering.n_features,
        "chunk: encode, write, read back, hash, s": write_chunk,
        "note, s": note,
        "chunk, bytes": (Path(store.path) / chunk_name(0)).stat().st_size,
        "start of a worker's process, s": sum(after[:2]) - sum(before[:2]),
    }


def measure_driver(folder, spool, n_units=300):
    """The driver's thread for each unit, with real structures and real units."""
    import ray

    rows = Repeated(with_translated_copies(spool), 40 * ROWS)
    store = FeatureStore.create(folder / "driver", rows, Scattering(), chunk_rows=ROWS)
    real = UnitsOfWork(store, rows, range(store.n_units))
    spooling = processor_seconds(lambda: [real[i] for i in range(20)], 2) / 20

    with connect(workers=2), store.writing() as ledger:
        actor = ray.remote(num_cpus=1)(sleeper())

        def run(count):
            mapping = RepeatedUnits(real, count)
            run_units(lambda: actor.remote(0.0), mapping, "take", n_workers=2, on_result=answer_to(ledger))

        run(20)
        daemons = {p.name(): p for p in psutil.Process().children(recursive=True)}
        busy = {name: sum(daemons[name].cpu_times()[:2]) for name in ("gcs_server", "raylet")}
        began, began_all = time.thread_time(), time.process_time()
        run(n_units)
        thread, everything = time.thread_time() - began, time.process_time() - began_all
        busy = {name: sum(daemons[name].cpu_times()[:2]) - busy[name] for name in busy}
        storing = waiting_for_others(lambda: ray.put(real[0][2]), 60)
        idle = actor.remote(0.0)
        references = [idle.take.remote(0, HASH, []) for _ in range(2000)]
        ray.get(references)
        wait = processor_seconds(
            lambda: ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False), 3
        )
    workers = {i: SimpleNamespace(pending={i: i}) for i in range(64_000)}
    take_over = processor_seconds(lambda: max(workers.values(), key=lambda w: len(w.pending)), 3)
    return {
        "driver thread: a unit in all, s": thread / n_units,
        "of which structures from the spool, s": spooling,
        "waiting for Ray's object store at a unit, s (wall)": storing,
        "driver, all threads: a unit, s": everything / n_units,
        "raylet of the driver's node: a unit, s": busy["raylet"] / n_units,
        "GCS: a unit, s": busy["gcs_server"] / n_units,
        "inputs of a unit, bytes": sum(a.nbytes for job in real[0][2] for a in job[1:]),
        "ray.wait, s for each worker": wait / len(references),
        "search for a unit to take over, s for each worker": take_over / len(workers),
    }


def answer_to(ledger, progress=lambda: None):
    """What a run does with each result, as workers.featurize does: the worker has noted the unit."""

    def completed(number, _):
        ledger.require_writer()
        progress()

    return completed


# Checks of the simulation: real runs


def run_sleeping_units(folder, spool, seconds, n_units, n_workers=4):
    """Units per second when workers sleep; all else is real."""
    import ray

    rows = Repeated(with_translated_copies(spool), 40 * ROWS)
    store = FeatureStore.create(folder / f"sleep {seconds}", rows, Scattering(), chunk_rows=ROWS)
    units = RepeatedUnits(UnitsOfWork(store, rows, range(store.n_units)), n_units)
    clock = DriverClock()
    with connect(workers=n_workers, object_store_bytes=300 * 2**20), store.writing() as ledger:
        actor = ray.remote(num_cpus=1)(sleeper())
        make, completed = partial(actor.remote, seconds), answer_to(ledger, clock.tick)
        run_units(make, units, "take", n_workers=n_workers, on_result=completed, in_flight=IN_FLIGHT)
    run = {"chunks": "no", "workers": n_workers, "units": n_units, "in flight": IN_FLIGHT}
    return run | {"s of a unit": seconds} | clock.measured()


def scheduled():
    """Seconds for which this thread ran, and for which it waited for a core (Linux tells)."""
    ran, waited, _ = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    return np.array([int(ran), int(waited)]) / 1e9


def waiting_for_others(function, repeats):
    """Wall seconds of a call in which this thread neither ran nor waited for a core."""
    began, before = time.perf_counter(), scheduled().sum()
    for _ in range(repeats):
        function()
    return max(time.perf_counter() - began - (scheduled().sum() - before), 0.0) / repeats


class DriverClock:
    """When results came, and how long this thread had run and waited for a core by then."""

    def __init__(self):
        self._ticks = []

    def tick(self):
        self._ticks.append((time.perf_counter(), *scheduled()))

    def measured(self):
        """In the second half, when all workers are up, and without the last, when some have nothing to do:
        results per second, and how many times as long as on an idle machine the thread took for its work."""
        first, last = len(self._ticks) // 2, int(0.95 * len(self._ticks))
        wall, ran, waited = np.subtract(self._ticks[last], self._ticks[first])
        return {"driver slowed by": (ran + waited) / ran, "measured": (last - first) / wall}


def sleeping_featurizer(seconds):
    """A real Featurizer, but for the transform: one for a unit, all in all ``seconds``."""

    class SleepingFeaturizer(Featurizer):
        def _features(self, job):
            time.sleep(seconds / ROWS)
            return np.full(self._scattering.n_features, float(job[1][0]))

    return SleepingFeaturizer


def run_featurize(folder, spool, seconds, n_units):
    """Units per second of ``featurize`` on two workers that sleep in place of the transform; a unit alone."""
    import workers.featurize as module

    rows = Repeated(with_translated_copies(spool), n_units * ROWS)
    scattering = Scattering()
    stand_in = sleeping_featurizer(seconds)
    store = FeatureStore.create(folder / "alone", rows, scattering, chunk_rows=ROWS)
    alone, unit = stand_in(scattering.config, store.path), UnitsOfWork(store, rows, range(1))[0]
    times = []
    for _ in range(6):
        began = time.perf_counter()
        alone.featurize(*unit)
        times.append(time.perf_counter() - began)
    module.Featurizer, clock = stand_in, DriverClock()
    try:
        featurize(
            rows,
            scattering,
            folder / "whole",
            workers=2,
            chunk_rows=ROWS,
            on_progress=lambda n: clock.tick(),
        )
    finally:
        module.Featurizer = Featurizer
    run = {"chunks": "written", "workers": 2, "units": n_units, "in flight": None}
    return run | {"s of a unit": float(np.median(times))} | clock.measured()


# Training


def measure_training(counts=(2000, 6000)):
    """Parts of a fit that grow with the rows and parts that do not, from two sizes."""
    _measure_fit(counts[0])  # compiles
    found = [_measure_fit(count) for count in counts]
    rows, gram, rest, memory, matrix = zip(*found, strict=True)
    per_row = slope(rows, rest)
    return {
        "columns": matrix[0],
        f"products and Gram matrices of a batch of {BATCH}, s for each row": slope(rows, gram),
        "rest of a model, s for each row": per_row,
        "rest of a model, s whatever the rows": max(rest[0] - per_row * rows[0], 0.0),
        "memory of a worker beside its Gram matrices, bytes for each row": slope(rows, memory),
        "Gram matrix, bytes": packed_bytes(matrix[0]),
    }


def _measure_fit(count):
    data = synthetic(count, count // PATH, Scattering().n_features, defaults.COPIES)
    settings = FitSettings()
    row_order, offsets, compositions = sort_by_path(data, len(data.differences))
    columns = np.arange(data.features.shape[1])
    X, _ = design_matrix(data, settings.invariance, row_order, columns)
    problem = Problem(
        y=np.concatenate([data.energies, np.zeros(len(data.differences))])[row_order],
        path_offsets=offsets,
        path_fold=path_folds(compositions, settings.folds, settings.seed),
        settings=settings,
        by_gram=True,
        is_structure=row_order < count,
        others=np.empty((0, X.shape[1])),
        channel=np.zeros(X.shape[1], dtype=np.int64),
    )
    worker = FitWorker(X, problem)
    rest = float(np.mean([model.seconds[1] for model in worker.fit(0, 0, 3)]))
    weights = np.random.default_rng(0).poisson(0.8, (BATCH, len(offsets) - 1)).astype(float)
    # Here a worker needs most: what comes after goes through the rows in blocks.
    tracemalloc.start()
    began = time.process_time()
    weighted_grams(X, offsets, weights)
    gram = time.process_time() - began
    memory = tracemalloc.get_traced_memory()[1] - BATCH * packed_bytes(X.shape[1])
    tracemalloc.stop()
    return len(X), gram, rest, memory, X.shape[1]


def measure_training_data(counts=(1000, 2000)):
    """What the driver of a training needs for each row: slope of its peak memory, processor seconds."""
    peaks, seconds, rows = [], [], []
    for count in counts:
        store = _store(count)
        began = time.process_time()
        _matrix_of(store)
        seconds.append(time.process_time() - began)
        tracemalloc.start()
        _matrix_of(store)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        rows.append(store.features.shape[0])
    return {
        "driver of a training: memory, bytes for each row": slope(rows, peaks),
        "driver of a training: s for each row": slope(rows, seconds),
    }


def _store(count):
    """What training needs of a feature store; the features, in chunks like those of one, in memory."""
    scattering = Scattering()
    originals = np.concatenate([np.full(count, -1), np.arange(round(defaults.COPIES * count))])
    n = len(originals)
    features = np.random.default_rng(0).random((n, scattering.n_features))
    paths = [f"path {i // PATH}" for i in range(count)]
    return SimpleNamespace(
        features=zarr.array(features, chunks=(ROWS, scattering.n_features)),
        energies=np.ones(n),
        n_atoms=np.full(n, ATOMS),
        path_ids=paths + paths[: n - count],
        compositions=["LiSi"] * n,
        originals=originals,
        scattering_config=scattering.config,
        data_hash="benchmark",
    )


def _matrix_of(store):
    data = training_data(store)
    row_order, _, _ = sort_by_path(data, len(data.differences))
    return data, design_matrix(data, FitSettings.invariance, row_order, np.arange(data.features.shape[1]))


def measure_all():
    """All costs by name, and the runs that check the simulation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reading, spool = measure_reading(folder)
        costs = {
            **reading,
            **measure_reading_memory(folder),
            **measure_worker(folder, spool),
            **measure_driver(folder, spool),
            **measure_training_data(),
            **measure_training(),
        }
        checks = [run_sleeping_units(folder, spool, seconds, units) for seconds, units in SLEEPS]
        checks.append(run_featurize(folder, spool, 0.1, 40))
    return costs, checks
