import subprocess

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

N_STRUCTURES = 96
CHUNK_ROWS = 4  # 24 units of about 60 ms


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """Structures of 8 atoms in cells of different size, as a user would have them."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(N_STRUCTURES):
        atoms = bulk("Si", cubic=True, a=5.2 + 0.01 * (i % 40))
        atoms.numbers[: i % 8] = 3
        atoms.rattle(0.05, rng=rng)
        atoms.calc = SinglePointCalculator(atoms, energy=-float(i))
        frames.append(atoms)
    path = tmp_path_factory.mktemp("data") / "structures.extxyz"
    write(path, frames)
    return path


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own: function that mounts it with a size, or gives it another one."""
    target = tmp_path / "disk"
    target.mkdir()
    mounted = []

    def resize(size):
        options = f"remount,size={size}" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            assert not mounted, done.stderr
            pytest.skip(f"a small disk needs the permission to mount one: {done.stderr.strip()}")
        mounted.append(size)
        return target

    yield resize
    if mounted:
        subprocess.run(["umount", "--lazy", str(target)], check=True)
