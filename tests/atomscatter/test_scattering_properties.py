"""What the features must not depend on (section II D of the paper), on random small structures.

Of the integrals; products have test_products.py. In double precision; what single precision, the default,
adds is rounding (test_single_precision_rounds_and_no_more).

Tolerances. With the same grid and the same frequencies only the order of additions changes: rounding. Where
another cell puts other points, order 1 with q = 2 still agrees to rounding (the grid holds the whole band)
and the rest to the error of the grid, twice because it is made twice. A single atom of a species in a small
cell is a crystal in that species' channel, so the tolerances of crystals hold: tolerances.py.
"""

import copy
import hashlib
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.geometry import minkowski_reduce
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from atomscatter.errors import ConfigError, StructureError
from atomscatter.fft import TransformCache
from atomscatter.grids import Grid
from atomscatter.scattering import Scattering
from tests.atomscatter.tolerances import (
    CRYSTAL_DEFAULT_GRID,
    MEDIAN,
    ROUNDING,
    assert_within,
    relative_errors,
)

BETA, SCALES = 0.55, 2
SCATTERING = Scattering(beta=BETA, scales=SCALES, precision="double", products=None)
SINGLE = Scattering(beta=BETA, scales=SCALES, products=None)
EXACT = dict.fromkeys(CRYSTAL_DEFAULT_GRID, ROUNDING)
TWO_GRIDS = {key: 2 * value for key, value in CRYSTAL_DEFAULT_GRID.items()} | {(1, 2.0): ROUNDING}

few = settings(max_examples=8, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
coordinates = st.floats(-1, 1, allow_nan=False)


@st.composite
def structures(draw, max_atoms=6):
    """Two to ``max_atoms`` atoms in a moderately skewed cell, no two closer than 1.1 Angstrom."""
    rng = np.random.default_rng(draw(seeds))
    n_atoms = draw(st.integers(2, max_atoms))
    lengths = draw(st.tuples(*[st.floats(4.2, 6.0)] * 3))
    skew = np.tril(draw(arrays(float, (3, 3), elements=st.floats(-0.25, 0.25))), -1)
    cell = np.diag(lengths) @ (np.eye(3) + skew)
    while True:
        atoms = Atoms(rng.choice(["Li", "Si"], n_atoms), cell=cell, pbc=True)
        atoms.set_scaled_positions(rng.random((n_atoms, 3)))
        if atoms.get_all_distances(mic=True)[np.triu_indices(n_atoms, 1)].min() > 1.1:
            return atoms


def features(atoms):
    return SCATTERING.features(atoms)


def assert_same(atoms, other, tolerances):
    one, two = features(atoms), features(other)
    assert_within(SCATTERING.labels, two, one, tolerances)
    assert np.median(relative_errors(two, one)) < 2 * MEDIAN


@few
@given(atoms=structures(), shift=arrays(float, 3, elements=coordinates))
def test_translation(atoms, shift):
    moved = atoms.copy()
    moved.translate(5 * shift)
    assert_same(atoms, moved, EXACT)


@few
@given(atoms=structures(), shift=arrays(float, 3, elements=coordinates))
def test_translation_against_grids_that_stay(atoms, shift):
    moved = atoms.copy()
    moved.translate(5 * shift)
    stay = Scattering.from_config(SCATTERING.config | {"origin": "cell"})
    one, two = stay.features(atoms), stay.features(moved)
    assert_within(stay.labels, two, one, TWO_GRIDS)
    assert np.array_equal(SCATTERING.features(moved, origin="cell"), two)
    if not np.allclose(shift, 0):
        assert not np.array_equal(one, two)


@few
@given(atoms=structures(), seed=seeds, mirror=st.booleans())
def test_rotation_and_reflection_of_the_whole_cell(atoms, seed, mirror):
    turn = Rotation.random(random_state=np.random.RandomState(seed)).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn * (-1 if mirror else 1), scale_atoms=True)
    assert_same(atoms, turned, EXACT)


@few
@given(atoms=structures(), axis=st.integers(0, 2))
def test_mirror_plane(atoms, axis):
    mirrored = atoms.copy()
    sign = np.ones(3)
    sign[axis] = -1
    mirrored.set_cell(atoms.cell.array * sign, scale_atoms=True)
    assert_same(atoms, mirrored, EXACT)


@few
@given(atoms=structures(), order=st.permutations([0, 1, 2]))
def test_order_of_the_cell_vectors(atoms, order):
    other = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell.array[order], pbc=True)
    assert_same(atoms, other, EXACT)


@few
@given(atoms=structures(), seed=seeds)
def test_reordering_of_atoms(atoms, seed):
    order = np.random.default_rng(seed).permutation(len(atoms))
    assert_same(atoms, atoms[order], EXACT)


@few
@given(atoms=structures(), cells=arrays(int, (6, 3), elements=st.integers(-5, 5)))
def test_positions_outside_the_cell(atoms, cells):
    outside = atoms.copy()
    outside.positions += cells[: len(atoms)] @ atoms.cell.array
    assert_same(atoms, outside, EXACT)


@few
@given(atoms=structures(), row=st.integers(0, 2), other=st.integers(1, 2), factor=st.sampled_from([-1, 1]))
def test_equivalent_cell_by_adding_one_vector_to_another(atoms, row, other, factor):
    transformation = np.eye(3, dtype=int)
    transformation[row, (row + other) % 3] = factor
    cell = transformation @ atoms.cell.array
    assert_same(atoms, Atoms(atoms.symbols, positions=atoms.positions, cell=cell, pbc=True), TWO_GRIDS)


@few
@given(atoms=structures(max_atoms=4), seed=seeds)
def test_reduced_cell(atoms, seed):
    rng = np.random.default_rng(seed)
    skewed = np.array([[1, 0, 0], [rng.integers(-1, 2), 1, 0], [rng.integers(-1, 2), rng.integers(-1, 2), 1]])
    cell = skewed @ atoms.cell.array
    reduced, _ = minkowski_reduce(cell)
    one = Atoms(atoms.symbols, positions=atoms.positions, cell=cell, pbc=True)
    two = Atoms(atoms.symbols, positions=atoms.positions, cell=reduced, pbc=True)
    assert_same(one, two, TWO_GRIDS)


@settings(few, max_examples=6)
@given(atoms=structures(max_atoms=4), axis=st.integers(0, 2))
def test_tiling_2x1x1(atoms, axis):
    repeats = [1, 1, 1]
    repeats[axis] = 2
    assert_same(atoms, atoms.repeat(repeats), TWO_GRIDS)


@settings(few, max_examples=3)
@given(atoms=structures(max_atoms=3), seed=seeds)
def test_tiling_2x2x2_in_any_order_of_atoms(atoms, seed):
    tiled = atoms.repeat(2)
    order = np.random.default_rng(seed).permutation(len(tiled))
    assert_same(atoms, tiled[order], TWO_GRIDS)


@settings(few, max_examples=6)
@given(atoms=structures(max_atoms=3))
def test_supercell_along_diagonals(atoms):
    """A cell twice as large whose vectors are not multiples of the primitive ones."""
    assert_same(atoms, make_supercell(atoms, [[1, 1, 0], [1, -1, 0], [0, 0, 1]]), TWO_GRIDS)


@few
@given(atoms=structures(), seed=seeds)
def test_continuity_under_small_moves(atoms, seed):
    """The change goes to zero with the step, at least as fast as its square root."""
    direction = np.random.default_rng(seed).standard_normal(atoms.positions.shape)
    direction /= np.linalg.norm(direction, axis=1).max()
    before = features(atoms)
    changes = []
    for step in (1e-2, 1e-4, 1e-6, 1e-8):
        moved = atoms.copy()
        moved.positions += step * direction
        changes.append((np.abs(features(moved) - before) / before.clip(1e-12)).max())
    assert changes[1] < 0.1 * changes[0] + ROUNDING
    assert changes[2] < 0.1 * changes[1] + ROUNDING
    assert changes[3] < 1e-4 * changes[0] + ROUNDING


@few
@given(atoms=structures(), seed=seeds)
def test_continuity_under_small_strain(atoms, seed):
    """Steps of the number of grid points with the cell stay within the error of the grid."""
    strain = np.random.default_rng(seed).uniform(-1, 1, (3, 3)) * 1e-6
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    within = {key: value + 1e-4 for key, value in TWO_GRIDS.items()}
    assert_same(atoms, strained, within)


@few
@given(atoms=structures())
def test_features_are_finite_and_not_negative(atoms):
    values = features(atoms)
    assert values.shape == (SCATTERING.n_features,)
    assert np.isfinite(values).all()
    assert (values >= 0).all()


def test_atoms_that_differ_give_other_features():
    """Invariant, not blind: the mirror image of one atom's displacement is another structure."""
    atoms = Atoms(
        "Li2Si", scaled_positions=[[0, 0, 0], [0.3, 0.1, 0], [0.5, 0.6, 0.5]], cell=[5, 5, 5], pbc=True
    )
    moved, swapped = atoms.copy(), atoms.copy()
    moved.positions[1] += [0.0, 0.0, 0.3]
    swapped.symbols[[1, 2]] = ["Si", "Li"]
    for other in (moved, swapped):
        assert np.abs(features(other) / features(atoms) - 1).max() > 0.01


EXTREME_CELLS = {
    "a cell of less than an Angstrom": Atoms("Li", cell=[0.9, 0.9, 0.9], pbc=True),
    "two atoms in 28 Angstrom": Atoms("LiSi", [[0, 0, 0], [2, 2, 2]], cell=[28, 28, 28], pbc=True),
    "a needle": Atoms("LiSi", [[0, 0, 0], [0, 0, 60]], cell=[2.5, 2.5, 120], pbc=True),
    "a plate": Atoms("LiSi", [[0, 0, 0], [20, 20, 0]], cell=[50, 50, 1.2], pbc=True),
    "a flat rhombohedron": Atoms("Li", cell=[[5, 0, 0], [4.9, 1, 0], [4.8, 0.5, 1]], pbc=True),
    "far from the origin": Atoms("LiSi", [[1e6, 0, 0], [1e6, 2, 2]], cell=[5, 5, 5], pbc=True),
}


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("name", EXTREME_CELLS)
def test_extreme_cells_give_finite_features(name, precision):
    scattering = Scattering(beta=0.9, scales=4, precision=precision)
    values = scattering.features(EXTREME_CELLS[name])
    assert np.isfinite(values).all()
    assert all(v >= 0 for v, label in zip(values, scattering.labels, strict=True) if label.center is None)


def test_estimates_follow_the_volume_and_not_the_orientation():
    atoms = Atoms("Li", cell=[[8, 0, 0], [1, 9, 0], [0, 2, 10]], pbc=True)
    turned, tiled = atoms.copy(), atoms.repeat(2)
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    for estimate in (SCATTERING.grid_points, SCATTERING.estimated_seconds):
        assert estimate(turned) == pytest.approx(estimate(atoms))
    assert SCATTERING.grid_points(tiled) == pytest.approx(8 * SCATTERING.grid_points(atoms))
    assert 4 < SCATTERING.estimated_seconds(tiled) / SCATTERING.estimated_seconds(atoms) < 8


def test_a_cell_beyond_the_grid_limit_is_refused():
    scattering = Scattering(scales=1, grid=Grid(max_points=8000))
    for refuse in (scattering.features, scattering.require_room):
        with pytest.raises(StructureError, match="grid points"):
            refuse(Atoms("Li", cell=[9, 9, 9], pbc=True))
    Scattering(scales=1).require_room(Atoms("Li", cell=[9, 9, 9], pbc=True))


def test_scales_without_a_frequency_of_the_cell_change_nothing_else():
    """Of a cell of 3 Angstrom, scales from 1 on hold nothing with beta = 1.5 Angstrom."""
    atoms = Atoms("LiSi", [[0.1, 0, 0], [1.4, 1.6, 1.5]], cell=[3, 3, 3], pbc=True)
    one, three = (Scattering(beta=1.5, scales=scales, products=None) for scales in (1, 3))
    assert (one.features(atoms) > 0).all()
    found = dict(zip(three.labels, three.features(atoms), strict=True))
    for label, value in zip(one.labels, one.features(atoms), strict=True):
        assert found.pop(label) == value
    assert set(found.values()) == {0.0}


@few
@given(atoms=structures())
def test_single_precision_rounds_and_no_more(atoms):
    found = SINGLE.features(atoms)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, features(atoms), rtol=1e-5, atol=1e-12)


@few
@given(atoms=structures(), seed=seeds)
def test_order_of_atoms_and_orientation_in_single_precision(atoms, seed):
    order = np.random.default_rng(seed).permutation(len(atoms))
    other = atoms[order]
    turn = Rotation.random(random_state=np.random.RandomState(seed)).as_matrix()
    other.set_cell(other.cell.array @ turn, scale_atoms=True)
    np.testing.assert_allclose(SINGLE.features(other), SINGLE.features(atoms), rtol=1e-5, atol=1e-12)


DIGEST = """
import hashlib
import numpy as np
from ase import Atoms
from atomscatter.scattering import Scattering

rng = np.random.default_rng(7)
cell = [[6.1, 0, 0], [1.2, 5.5, 0], [-0.7, 0.4, 5.2]]
atoms = Atoms("Li2Si2", cell=cell, pbc=True)
sites = np.array([[0, 0, 0], [0.5, 0.5, 0.1], [0.4, 0.1, 0.6], [0.8, 0.7, 0.6]])
atoms.set_scaled_positions(sites + 0.1 * rng.random((4, 3)))
features = Scattering(beta=0.55, scales=2).features(atoms)
digest = hashlib.sha256(features.tobytes()).hexdigest()
"""


def test_same_bytes_in_other_processes_and_after_other_structures():
    digests = set()
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", DIGEST + "print(digest)"], capture_output=True, text=True, check=True
        )
        digests.add(run.stdout.strip())
    here = {}
    exec(DIGEST, here)
    digests.add(here["digest"])
    used = Scattering(beta=0.55, scales=2)
    for atoms in (EXTREME_CELLS["a needle"], here["atoms"], EXTREME_CELLS["a plate"], here["atoms"]):
        again = used.features(atoms)
    digests.add(hashlib.sha256(again.tobytes()).hexdigest())
    assert len(digests) == 1


def test_a_skewed_cell_is_refused_before_its_filters_fill_the_memory():
    atoms = Atoms("Li", cell=[[10, 0, 0], [1e6, 10, 0], [0, 0, 10]], pbc=True)
    with pytest.raises(StructureError, match="grid points"):
        Scattering(beta=BETA, scales=SCALES).features(atoms)


def test_structure_factors_of_blocks_of_atoms_add_up(monkeypatch):
    positions = [[1 + 2 * (i % 3), 1 + 2 * (i // 3), 0.3 * i] for i in range(9)]
    atoms = Atoms("Li5Si4", positions=positions, cell=[6, 6, 6], pbc=True)
    expected = SCATTERING.features(atoms)
    monkeypatch.setattr("atomscatter.structure_factors._PAIRS_IN_MEMORY", 1)  # one atom at a time
    np.testing.assert_allclose(SCATTERING.features(atoms), expected, rtol=1e-9)


def test_memory_of_a_large_cell_is_given_back():
    scattering = Scattering(beta=BETA, scales=SCALES)
    scattering._transforms = TransformCache(batch=5, real=np.float32, max_bytes=2**20)
    small, large = (Atoms("Li", cell=[edge] * 3, pbc=True) for edge in (3.0, 12.0))
    before = scattering.features(small)
    work = scattering._transforms.work
    scattering.features(small)
    assert scattering._transforms.work is work, "a stream of equal cells works in one array"
    scattering.features(large)
    assert scattering._transforms.work.nbytes > 2**20
    assert scattering.features(small).tobytes() == before.tobytes()
    assert scattering._transforms.work.nbytes == work.nbytes


def rattled(seed):
    atoms = bulk("Si", cubic=True).repeat((2, 1, 1))
    atoms.symbols[seed] = "Li"
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_threads_share_a_transform():
    transform = Scattering(scales=2)
    structures = [rattled(seed) for seed in range(4)]
    alone = [transform.features(atoms) for atoms in structures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(transform.features, 5 * structures))
    np.testing.assert_array_equal(together, 5 * alone)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_a_copy_has_its_own_arrays(again):
    transform = Scattering(scales=2)
    first, second = rattled(0), rattled(1)
    expected = transform.features(first), transform.features(second)
    other = again(transform)
    assert other.config_hash == transform.config_hash
    np.testing.assert_array_equal(other.features(second), expected[1])
    np.testing.assert_array_equal(transform.features(first), expected[0])


def test_settings_stay_as_they_are():
    transform = Scattering(scales=1)
    with pytest.raises(AttributeError, match="beta of a transform cannot be changed"):
        transform.beta = 0.7


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"scales": 2.7}, "scales and n whole"),
        ({"scales": None}, "scales and n whole"),
        ({"powers": 2}, "powers must be numbers"),
        ({"beta": "wide"}, "beta and powers must be numbers"),
        ({"channels": ["Li", "Si"]}, "for_species"),
        ({"grid": {"cutof": 5.0}}, "cutof"),
    ],
)
def test_settings_that_are_none(setting, message):
    with pytest.raises(ConfigError, match=message):
        Scattering(**setting)
