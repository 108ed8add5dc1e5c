"""What the prediction processes accept, and what becomes of them."""

import asyncio
import gc
import io
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil
import pytest
from ase import Atoms

from api.errors import StructuresError
from api.state import ServedModel, Service
from atomscatter.ensemble import Ensemble
from atomscatter.errors import ModelError, StructureError
from service.default_model import embedded_model
from service.settings import ServeSettings
from workers.prediction_pool import POINTS_PER_UNIT, BusyError, OverrunError, PredictionPool, _chunks

XYZ = b'1\nLattice="5 0 0 0 5 0 0 0 5"\nLi 0 0 0\n'
LITHIUM = Atoms("Li", cell=[3, 3, 3], pbc=True)


def with_pool(use, capacity=10, workers=1):
    async def run():
        pool = PredictionPool(workers, capacity=capacity, timeout=60, dataset_timeout=60, max_points=10**6)
        try:
            return await use(pool)
        finally:
            pool.close()

    return asyncio.run(run())


def test_files_that_wait_are_counted_and_not_in_memory():
    files = [io.BytesIO(XYZ) for _ in range(4)]

    async def use(pool):
        reads = [asyncio.create_task(pool.read("a.xyz", f, max_structures=1, max_atoms=1)) for f in files]
        await reads[0]
        assert files[0].tell() == len(XYZ)
        answers = await asyncio.gather(*reads, return_exceptions=True)
        assert pool.pending == 0
        return answers

    answers = with_pool(use, capacity=2)
    assert [isinstance(a, BusyError) for a in answers] == [False, False, True, True]
    assert [f.tell() for f in files[2:]] == [0, 0], "what is refused is not read"


def test_a_file_that_takes_too_long_leaves_nothing_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Minutes of work for the parser.
    endless = XYZ.replace(b"\nLi", b" " + b" ".join(b'a%d="1 2 3"' % i for i in range(500_000)) + b"\nLi")

    async def use(pool):
        await pool.read("a.xyz", io.BytesIO(XYZ), max_structures=1, max_atoms=1)
        pool._timeout = 2.0
        with pytest.raises(OverrunError):
            await pool.read("a.xyz", io.BytesIO(endless), max_structures=1, max_atoms=1)

    with_pool(use)
    assert list(tmp_path.iterdir()) == []


def test_structures_that_take_too_long_together_are_tried_one_by_one():
    async def use(pool):
        pool._timeout = 1e-4
        with pytest.raises(OverrunError):
            await pool.predict(str(embedded_model()), [LITHIUM] * 2, [1, 1])
        assert pool.lost == {"died": 0, "overran": 2}, "both, and the first alone"

    with_pool(use)


def kill_processes():
    for child in psutil.Process().children():
        if "spawn_main" in str(child.cmdline()):
            child.kill()
            child.wait()


def test_a_model_is_loaded_although_a_process_died_and_before_the_next_one_gets_work(tmp_path, caplog):
    model = str(embedded_model())

    async def use(pool):
        await pool.load(model)
        kill_processes()
        await pool.load(model)
        lane = await pool._free.get()
        with pytest.raises(OverrunError):
            await pool._on(lane, lane.submit(time.sleep, 3600), 0.01)
        assert pool._free.empty(), "its successor is no process yet"
        with pytest.raises(ModelError):
            await pool.load(str(tmp_path))
        assert pool._model == model, "the one before stays"
        (answer,) = await pool.predict(model, [LITHIUM], [1])
        assert answer.n_atoms == 1
        assert pool.lost == {"died": 1, "overran": 1}

    with_pool(use)
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_busy_process_keeps_no_other_from_work_while_a_model_is_loaded(tmp_path):
    """Each loads it when it is free. And when all of them died idle, no work died with them."""
    go_on = tmp_path / "go on"
    model = str(embedded_model())

    async def use(pool):
        busy = asyncio.create_task(pool._run(wait_for_file, go_on))
        await asyncio.sleep(0)
        loading = asyncio.create_task(pool.load(model))
        (answer,) = await pool.predict(model, [LITHIUM], [1])
        assert answer.n_atoms == 1
        assert not busy.done()
        assert not loading.done()
        go_on.touch()
        await asyncio.gather(busy, loading)
        assert list(pool._has.values()) == [model] * 2

        lanes = list(pool._has)
        pool._model = None  # of those that take their place, only the one that is needed starts
        kill_processes()
        while not all(lane._broken for lane in lanes):
            await asyncio.sleep(0.01)
        assert await pool._run(os.getpid)

    with_pool(use, workers=2)


def wait_for_file(path):
    while not path.exists():
        time.sleep(0.05)


def test_a_prediction_process_keeps_to_one_thread():
    # Libraries that are loaded after the limit was set would not know of it.
    code = """
import os, sys
from workers import predictor
predictor.start(os.getppid())
predictor.load(sys.argv[1], 10**6)
from threadpoolctl import threadpool_info
print(*(library["num_threads"] for library in threadpool_info()))
"""
    variables = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    several = variables | {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"}
    words = [sys.executable, "-c", code, str(embedded_model())]
    done = subprocess.run(words, env=several, capture_output=True, text=True, check=True, timeout=120)
    assert len(done.stdout.split()) > 1
    assert set(done.stdout.split()) == {"1"}


def test_large_cells_count_several_times_and_travel_alone():
    lithium = [LITHIUM] * 7
    points = [1.0] * 5 + [4.0 * POINTS_PER_UNIT, 1.0]

    async def use(pool):
        pool.pending = 1
        with pytest.raises(BusyError):
            await pool.predict(str(embedded_model()), lithium, points)
        assert pool.pending == 1

    with_pool(use, capacity=10)  # 1 + 5 + 4 + 1 would be 11
    assert [lithium[part] for part in _chunks([1] * 5 + [8, 1])] == [
        *(lithium[:4], lithium[4:5]),
        *(lithium[5:6], lithium[6:]),
    ]


def test_a_full_service_checks_no_structure(tmp_path):
    """Thousands of atoms in one place are refused for that only once there is room to look at them."""
    service = Service(ServeSettings(state=tmp_path))
    bad = Atoms("Li4", cell=[3, 3, 3], pbc=True)
    model = ServedModel("x", embedded_model(), Ensemble.load(embedded_model()))

    async def use(pool):
        service._pool = pool
        pool.pending = pool.capacity
        with pytest.raises(BusyError):
            await service.predict(model, [bad])
        pool.pending = 0
        with pytest.raises(StructuresError) as caught:
            await service.predict(model, [bad, *[LITHIUM] * 9, bad])
        assert [(place, i) for place, i, _ in caught.value.problems] == [
            ("/structures/0", 0),
            ("/structures/10", 10),
        ]

    with_pool(use, capacity=10)


def test_a_process_that_hangs_is_ended_although_its_caller_has_gone():
    async def use(pool):
        lane = await pool._free.get()
        before = set(psutil.Process().children())
        work = asyncio.create_task(pool._on(lane, lane.submit(time.sleep, 3600), 3.0))
        await asyncio.sleep(1.0)
        (process,) = set(psutil.Process().children()) - before
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert pool._free.empty(), "it still works"
        successor = await asyncio.wait_for(pool._free.get(), 30)
        assert successor is not lane
        process.wait(30)
        pool._free.put_nowait(successor)
        assert await pool._run(os.getpid) != process.pid
        await asyncio.sleep(0.1)
        assert pool._free.qsize() == 1, "one lane for one process"

    with_pool(use)


def test_a_process_whose_caller_has_gone_goes_on_when_it_is_done():
    async def use(pool):
        process = await pool._run(os.getpid)
        work = asyncio.create_task(pool._run(time.sleep, 0.5))
        await asyncio.sleep(0.1)
        work.cancel()
        assert await pool._run(os.getpid) == process

    with_pool(use)


def test_radial_functions_are_checked_and_made_in_a_process():
    async def use(pool):
        r, functions = await pool.radial(LITHIUM, 5.0, 0.5)
        assert len(r) == 10
        assert list(functions) == [("Li", "Li")]
        assert np.isfinite(functions["Li", "Li"]).all()
        with pytest.raises(StructureError, match="atom 0"):
            await pool.radial(Atoms("Li2", positions=np.zeros((2, 3)), cell=[3, 3, 3], pbc=True), 5.0, 0.5)
        edge = 20 * 0.7
        grid = np.stack(np.meshgrid(*[np.arange(20) * 0.7] * 3), axis=-1).reshape(-1, 3)
        with pytest.raises(StructureError, match="pairs within 20 Å"):
            await pool.radial(Atoms("Li8000", positions=grid, cell=[edge] * 3, pbc=True), 20.0, 0.5)

    with_pool(use)
