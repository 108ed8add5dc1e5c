"""The point where grids begin moves with the atoms, is the same point of a crystal wherever that lies, and
follows small moves."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, niggli_reduce
from ase.spacegroup import crystal
from hypothesis import assume, given
from hypothesis import strategies as st

from atomscatter.errors import ConfigError
from atomscatter.origin import LEAST_WAVE, from_origin, moving_origin
from atomscatter.scattering import Scattering
from tests.atomscatter.test_scattering_properties import few, seeds, structures

BCC, DIAMOND = bulk("Li", "bcc", a=3.44, cubic=True), bulk("Si", "diamond", a=5.43, cubic=True)


def sheared(atoms, *, reduced):
    """A cell of five in which the fifth wave along the last axis is the first."""
    atoms = make_supercell(atoms, [[1, 0, 0], [0, 1, 0], [1, 2, 5]])
    if reduced:
        niggli_reduce(atoms)
    return atoms


CRYSTALS = {
    "one atom": (Atoms("Si", scaled_positions=[[0.3, 0.9, 0.2]], cell=[4, 5, 6], pbc=True), {}),
    "bcc": (BCC, {}),
    "bcc 3 x 3 x 3": (BCC.repeat(3), {}),
    "bcc, wide wavelets": (BCC, {"beta": 1.5, "scales": 2}),
    "bcc, sheared": (sheared(bulk("Li", "bcc", a=3.44), reduced=False), {}),
    "bcc, sheared and reduced": (sheared(bulk("Li", "bcc", a=3.44), reduced=True), {}),
    "diamond": (DIAMOND, {}),
    "diamond, primitive": (bulk("Si", "diamond", a=5.43), {}),
    "diamond 3 x 1 x 1": (DIAMOND.repeat((3, 1, 1)), {}),
    "diamond, wide wavelets": (DIAMOND, {"beta": 1.2, "scales": 2}),
    "rocksalt": (bulk("LiSi", "rocksalt", a=5.2, cubic=True), {}),
    "zincblende": (bulk("LiSi", "zincblende", a=5.9, cubic=True), {}),
    "hcp": (bulk("Li", "hcp", a=3.1, c=5.0).repeat((1, 1, 2)), {}),
    "A15 3 x 2 x 1": (
        crystal(
            ["Si", "Li"], [(0, 0, 0), (0.25, 0, 0.5)], spacegroup=223, cellpar=[5, 5, 5, 90, 90, 90]
        ).repeat((3, 2, 1)),
        {},
    ),
    "screw axes, 2 x 1 x 1": (
        crystal(["Si"], [(0.15, 0.3, 0.05)], spacegroup=76, cellpar=[5, 5, 7, 90, 90, 90]).repeat((2, 1, 1)),
        {},
    ),
}


def charge(atoms, half=(7, 6, 5)):
    """Structure factors by their definition, one frequency after the other."""
    h0, h1, h2 = half
    k = np.stack(np.mgrid[-h0 : h0 + 1, -h1 : h1 + 1, 0 : h2 + 1], axis=-1)
    return np.exp(-2j * np.pi * k @ atoms.get_scaled_positions().T) @ atoms.numbers


def origin_of(atoms):
    return moving_origin(charge(atoms), atoms.get_scaled_positions(), atoms.numbers)


def shifted(atoms, shift):
    moved = atoms.copy()
    moved.positions += shift @ atoms.cell.array
    return moved


def folded(difference):
    """Fractional coordinates to the nearest whole numbers."""
    return difference - np.round(difference)


@few
@given(atoms=structures(), seed=seeds)
def test_moves_with_the_atoms(atoms, seed):
    shift = np.random.default_rng(seed).random(3)
    assert folded(origin_of(shifted(atoms, shift)) - origin_of(atoms) - shift) == pytest.approx(0, abs=1e-9)


def test_one_atom_is_the_origin():
    assert origin_of(CRYSTALS["one atom"][0]) % 1.0 == pytest.approx([0.3, 0.9, 0.2])


@pytest.mark.parametrize("name", CRYSTALS)
def test_features_of_a_shifted_crystal_are_the_same(name):
    """In most of these cells the longest waves vanish."""
    atoms, settings = CRYSTALS[name]
    scattering = Scattering(**settings, precision="double")
    features = scattering.features(atoms)
    seen = features > 1e-6 * np.median(features[features > 0])  # some vanish by symmetry, and are rounding
    largest = 0.0
    for shift in np.random.default_rng(2).random((3, 3)):
        moved = scattering.features(shifted(atoms, shift))
        assert moved[seen] == pytest.approx(features[seen], rel=1e-7)
        fixed = scattering.features(shifted(atoms, shift), origin="cell")
        largest = max(largest, np.abs(fixed[seen] / features[seen] - 1).max())
    assert largest > 1e-6, "the grids are not exact, and it shows"


def test_without_long_waves_it_is_an_atom():
    for name in ("bcc", "diamond", "bcc, sheared", "A15 3 x 2 x 1"):
        atoms = CRYSTALS[name][0]
        differences = folded(atoms.get_scaled_positions() - origin_of(atoms))
        assert np.abs(differences).max(axis=1).min() < 1e-12


def test_density_at_an_atom_is_the_weighted_sum_of_waves():
    """No long wave along the first axis; the silicon atom with a lithium atom beside it is the point."""
    silicon, lithium = [[0.2, 0.3, 0.4], [0.7, 0.3, 0.4]], [[0.7, 0.32, 0.4], [0.2, 0.8, 0.4]]
    atoms = Atoms("Si2Li2", scaled_positions=[*silicon, *lithium], cell=[6, 6, 6], pbc=True)
    assert abs(charge(atoms)[8, 6, 0]) < LEAST_WAVE
    assert folded(origin_of(atoms) - silicon[1]) == pytest.approx(0, abs=1e-12)


@few
@given(atoms=structures(), seed=seeds)
def test_follows_small_moves_where_waves_are_strong(atoms, seed):
    """d o_a = -Im(dS_a / S_a) / (2 pi): to first order, moves of all atoms weighted by charge and phase."""
    rng = np.random.default_rng(seed)
    scaled, Z = atoms.get_scaled_positions(), atoms.numbers
    waves = np.exp(-2j * np.pi * scaled)
    S = Z @ waves
    assume((np.abs(S) > 1.01 * LEAST_WAVE * np.linalg.norm(Z)).all())
    moves = 1e-6 * rng.normal(size=scaled.shape)
    moved = atoms.copy()
    moved.set_scaled_positions(scaled + moves)
    found = folded(origin_of(moved) - origin_of(atoms))
    expected = ((Z[:, None] * waves * moves).sum(axis=0) / S).real
    assert found == pytest.approx(expected, abs=1e-9)


def test_atoms_of_a_tiling_that_move_a_little_take_the_point_along():
    """The longest waves are weak there, and their phases would carry the point anywhere."""
    rng = np.random.default_rng(3)
    atoms = DIAMOND.repeat((2, 1, 1))
    for size in (0.0, 1e-4, 1e-3, 1e-2):
        moved = atoms.copy()
        moved.positions += size * rng.normal(size=(len(atoms), 3))
        nearest = np.abs(folded(moved.get_scaled_positions() - origin_of(moved))).max(axis=1).min()
        assert nearest < 1e-12


def test_an_axis_without_frequencies_keeps_its_corner():
    atoms = CRYSTALS["one atom"][0]
    found = moving_origin(charge(atoms, half=(3, 0, 2)), atoms.get_scaled_positions(), atoms.numbers)
    assert found % 1.0 == pytest.approx([0.3, 0.0, 0.2])


@few
@given(atoms=structures(), origin=st.tuples(*[st.floats(0, 1)] * 3))
def test_structure_factors_from_an_origin(atoms, origin):
    found = from_origin(charge(atoms), np.array(origin))
    assert found == pytest.approx(charge(shifted(atoms, -np.array(origin))), abs=1e-9 * atoms.numbers.sum())


def test_unknown_origin_is_refused():
    with pytest.raises(ConfigError, match="origin must be 'atoms' or 'cell', not 'corner'"):
        Scattering(origin="corner")
    with pytest.raises(ConfigError, match="origin must be 'atoms' or 'cell', not 'corner'"):
        Scattering().features(BCC, origin="corner")


def test_a_configuration_of_before_has_grids_that_stay():
    config = Scattering().config
    del config["origin"]
    assert Scattering.from_config(config).origin == "cell"
    assert Scattering.from_config(Scattering().config).origin == "atoms"
