import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atomscatter.errors import StructureError
from atomscatter.structures import check_atoms


def cubic(positions, edge=10.0, numbers=None):
    return Atoms(numbers or [14] * len(positions), positions=positions, cell=[edge] * 3, pbc=True)


def reason(atoms, **kwargs):
    with pytest.raises(StructureError) as caught:
        check_atoms(atoms, **kwargs)
    return caught.value.reason


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Si"),
        bulk("Si", cubic=True),
        bulk("Cu").repeat((1, 1, 5)),
        cubic([[-37.0, 1e4, 3.0], [5.0, 5.0, 5.0]]),
        Atoms("H", cell=[58, 58, 58], pbc=True),
        # a left-handed cell, a needle, a plate and a skewed description of a plain lattice
        Atoms("Li", cell=[[0, 4, 0], [4, 0, 0], [0, 0, 4]], pbc=True),
        Atoms("Li", cell=[2, 2, 4e4], pbc=True),
        Atoms("Li", cell=[200, 200, 0.6], pbc=True),
        Atoms("Li", cell=[[4, 0, 0], [400, 4, 0], [0, 400, 4]], pbc=True),
    ],
    ids=str,
)
def test_sound_structures_pass(atoms):
    check_atoms(atoms)


def test_zero_atoms():
    assert reason(Atoms(cell=[4, 4, 4], pbc=True)) == "has no atoms"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_positions_and_cell_must_be_finite(value):
    atoms = cubic([[0, 0, 0], [3, 3, 3]])
    atoms.positions[1, 2] = value
    assert reason(atoms) == "position of atom 1 is not finite"
    atoms = cubic([[0, 0, 0]])
    atoms.cell[0, 1] = value
    assert reason(atoms) == "cell is not finite"


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_molecules_and_slabs_are_refused(pbc):
    atoms = bulk("Si")
    atoms.pbc = pbc
    assert "not periodic" in reason(atoms)
    assert "not periodic" in reason(molecule("H2O"))


@pytest.mark.filterwarnings("ignore:overflow")  # of ASE, in Cell.lengths
@pytest.mark.parametrize(
    "cell",
    [
        np.zeros((3, 3)),
        [[1, 0, 0], [0, 1, 0], [1, 1, 0]],
        [[5, 0, 0], [0, 5, 0], [5, 5, 1e-9]],
        [[1e300, 0, 0], [0, 1e300, 0], [0, 0, 0]],
        [[1e-200, 0, 0], [0, 5, 0], [0, 0, 5]],
    ],
)
def test_singular_cells(cell):
    assert "singular" in reason(Atoms("Si", cell=cell, pbc=True))


def test_elements():
    assert "atomic number -5" in reason(cubic([[0, 0, 0]], numbers=[-5]))
    assert "atomic number 0" in reason(cubic([[0, 0, 0]], numbers=[0]))
    assert "atomic number 119" in reason(cubic([[0, 0, 0]], numbers=[119]))
    atoms = cubic([[0, 0, 0], [3, 3, 3], [6, 6, 6]], numbers=[3, 14, 32])
    check_atoms(atoms)
    check_atoms(atoms, species=("Li", "Si", "Ge"))
    assert reason(atoms, species=("Li", "Si")) == "contains Ge; known elements are Li, Si"


def test_close_atoms_are_named():
    atoms = cubic([[0, 0, 0], [3, 3, 3], [9.7, 0, 0]])
    assert reason(atoms) == "atom 0 is 0.300 Å from atom 2 (< 0.5 Å)"
    check_atoms(atoms, min_distance=0.29)
    check_atoms(cubic([[0, 0, 0], [0.5, 0, 0]]))  # exactly at the limit
    assert "0.000 Å from atom 1" in reason(cubic([[1, 1, 1], [11, 1, -9]]))


def test_an_atom_too_close_to_its_own_image():
    assert "own periodic image" in reason(Atoms("Si", cell=[9, 9, 0.4], pbc=True))
    # the edges are long, yet the lattice has a short vector
    assert "own periodic image" in reason(Atoms("Si", cell=[[9, 0, 0], [9, 0.3, 0], [0, 0, 9]], pbc=True))


@pytest.mark.filterwarnings("ignore:overflow")  # of ASE, in Cell.lengths
@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ([1e4, 1e4, 1e4], "volume"),
        ([1e200, 1e200, 1e200], "volume"),
        ([1e-3, 1e-3, 1e-3], "image"),
        ([1e5, 1e5, 1e-4], "volume"),
        ([1e3, 1e3, 1e-2], "image"),
        ([[1, 0, 0], [1e5, 1, 0], [0, 1e5, 1]], "singular"),
    ],
)
def test_absurd_cells_end_at_once(cell, words):
    assert words in reason(Atoms("Si", cell=cell, pbc=True))


def test_positions_too_far_to_be_wrapped():
    assert "million cells" in reason(cubic([[0, 0, 0], [1e300, 0, 0]]))


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), scale=st.floats(0.6, 6.0), skew=st.floats(0, 3))
def test_agrees_with_the_neighbour_list_of_ase(seed, n, scale, skew):
    rng = np.random.default_rng(seed)
    cell = scale * (np.eye(3) + skew * np.tril(rng.normal(size=(3, 3)), -1))
    atoms = Atoms([14] * n, positions=rng.normal(size=(n, 3)) * 5, cell=cell, pbc=True)
    distances = neighbor_list("d", atoms, 0.8)
    assume(not np.any(np.abs(distances - 0.5) < 1e-9))
    if not np.any(distances < 0.5):
        check_atoms(atoms)
        return
    message = reason(atoms)
    assert f"{distances.min():.3f} Å" in message or "image" in message


def test_many_atoms_in_one_place_are_refused_in_little_memory():
    atoms = Atoms("Li2000", positions=np.zeros((2000, 3)), cell=[10, 10, 10], pbc=True)
    tracemalloc.start()
    try:
        with pytest.raises(StructureError, match=r"0\.000 Å from atom"):
            check_atoms(atoms)
        assert tracemalloc.get_traced_memory()[1] < 50e6, "all pairs were held"
    finally:
        tracemalloc.stop()
