"""What the prediction processes accept, and what becomes of them."""

import asyncio

import numpy as np
import psutil
import pytest
from ase import Atoms

from atomscatter.errors import StructureError
from service.default_model import embedded_model
from workers.prediction_pool import BusyError, PredictionPool

XYZ = b'1\nLattice="5 0 0 0 5 0 0 0 5"\nLi 0 0 0\n'


def with_pool(use, capacity=10):
    async def run():
        pool = PredictionPool(1, capacity=capacity, timeout=60, max_points=10**6)
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
        return await pool.predict(str(embedded_model()), [Atoms("Li", cell=[3, 3, 3], pbc=True)])

    assert with_pool(use)[0].n_atoms == 1


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
