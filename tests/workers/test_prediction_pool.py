"""What the prediction processes accept, and what becomes of them."""

import asyncio
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from ase import Atoms

from api.errors import StructuresError
from api.state import ServedModel, Service
from atomscatter.ensemble import Ensemble
from atomscatter.errors import StructureError
from service.default_model import embedded_model
from service.settings import ServeSettings
from workers.prediction_pool import POINTS_PER_UNIT, BusyError, PredictionPool, _chunks

XYZ = b'1\nLattice="5 0 0 0 5 0 0 0 5"\nLi 0 0 0\n'


def with_pool(use, capacity=10):
    async def run():
        pool = PredictionPool(1, capacity=capacity, timeout=60, dataset_timeout=60, max_points=10**6)
        try:
            return await use(pool)
        finally:
            pool.close()

    return asyncio.run(run())


def test_files_that_wait_are_counted():
    async def use(pool):
        reads = (pool.read("a.xyz", XYZ, max_structures=1, max_atoms=1) for _ in range(4))
        answers = await asyncio.gather(*reads, return_exceptions=True)
        assert pool.pending == 0
        return answers

    answers = with_pool(use, capacity=2)
    assert [isinstance(a, BusyError) for a in answers] == [False, False, True, True]


def test_a_model_is_loaded_although_a_process_died():
    async def use(pool):
        await pool.load(str(embedded_model()))
        for child in psutil.Process().children():
            if "spawn_main" in str(child.cmdline()):
                child.kill()
                child.wait()
        await pool.load(str(embedded_model()))
        return await pool.predict(str(embedded_model()), [Atoms("Li", cell=[3, 3, 3], pbc=True)], [1])

    assert with_pool(use)[0].n_atoms == 1


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
    lithium = [Atoms("Li", cell=[3, 3, 3], pbc=True)] * 7
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
            await service.predict(model, [bad, *[Atoms("Li", cell=[3, 3, 3], pbc=True)] * 9, bad])
        assert [(place, i) for place, i, _ in caught.value.problems] == [
            ("/structures/0", 0),
            ("/structures/10", 10),
        ]

    with_pool(use, capacity=10)


def test_a_process_that_hangs_is_ended_although_its_caller_has_gone():
    async def use(pool):
        lane = await pool._free.get()
        before = set(psutil.Process().children())
        work = asyncio.create_task(pool._on(lane, 3.0, time.sleep, 3600))
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
        r, functions = await pool.radial(Atoms("Li", cell=[3, 3, 3], pbc=True), 5.0, 0.5)
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
