"""The point where grids begin: moves with the atoms, is the same point of a crystal wherever that lies, and
follows small moves."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from atomscatter.errors import ConfigError
from atomscatter.origin import LEAST_WAVE, about, moving_origin
from atomscatter.scattering import Scattering
from tests.atomscatter.test_scattering_properties import few, seeds, structures

CRYSTALS = {
    "bcc": bulk("Li", "bcc", a=3.44, cubic=True),
    "bcc 3 x 3 x 3": bulk("Li", "bcc", a=3.44, cubic=True).repeat(3),
    "diamond": bulk("Si", "diamond", a=5.43, cubic=True),
    "diamond, primitive": bulk("Si", "diamond", a=5.43),
    "diamond 3 x 1 x 1": bulk("Si", "diamond", a=5.43, cubic=True).repeat((3, 1, 1)),
    "rocksalt": bulk("LiSi", "rocksalt", a=5.2, cubic=True),
    "zincblende": bulk("LiSi", "zincblende", a=5.9, cubic=True),
    "hcp": bulk("Li", "hcp", a=3.1, c=5.0).repeat((1, 1, 2)),
}


def charge(atoms, half=(14, 6, 6)):
    """Structure factors by their definition, one frequency after the other."""
    h0, h1, h2 = half
    k = np.stack(np.mgrid[-h0 : h0 + 1, -h1 : h1 + 1, 0 : h2 + 1], axis=-1)
    return np.exp(-2j * np.pi * k @ atoms.get_scaled_positions().T) @ atoms.numbers


def shifted(atoms, shift):
    moved = atoms.copy()
    moved.positions += shift @ atoms.cell.array
    return moved


def relative_positions(atoms, sign=1):
    """Fractional coordinates from the origin, 0 to 1 (what rounds to 1 is 0), in an order of their own."""
    scaled = sign * (atoms.get_scaled_positions() - moving_origin(charge(atoms))) % 1.0
    rows = np.column_stack([atoms.numbers, np.round(scaled, 4) % 1.0])
    return rows[np.lexsort(rows.T)]


@few
@given(atoms=structures(), seed=seeds)
def test_moves_with_the_atoms(atoms, seed):
    shift = np.random.default_rng(seed).random(3)
    moved = moving_origin(charge(shifted(atoms, shift))) - moving_origin(charge(atoms)) - shift
    assert moved - np.round(moved) == pytest.approx(0, abs=1e-9)


def test_one_atom_is_the_origin():
    atoms = Atoms("Si", scaled_positions=[[0.3, 0.9, 0.2]], cell=[4, 5, 6], pbc=True)
    assert moving_origin(charge(atoms)) % 1.0 == pytest.approx([0.3, 0.9, 0.2])


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_crystal_looks_the_same_from_it_or_inverted(name):
    """S_1 is zero in these cells, for most in all directions."""
    atoms = CRYSTALS[name]
    allowed = [relative_positions(atoms, sign) for sign in (1, -1)]
    for shift in np.random.default_rng(1).random((5, 3)):
        found = relative_positions(shifted(atoms, shift))
        assert any(np.allclose(found, other, atol=2e-4) for other in allowed)


@pytest.mark.parametrize("name", CRYSTALS)
def test_features_of_a_shifted_crystal_are_the_same(name):
    atoms, scattering = CRYSTALS[name], Scattering(precision="double")
    features = scattering.features(atoms)
    seen = features > 1e-6 * np.median(features)  # some vanish by symmetry, and are rounding
    for shift in np.random.default_rng(2).random((3, 3)):
        moved = scattering.features(shifted(atoms, shift))
        assert moved[seen] == pytest.approx(features[seen], rel=1e-8)
        fixed = scattering.features(shifted(atoms, shift), origin="cell")
        assert np.abs(fixed[seen] / features[seen] - 1).max() > 1e-6, "the grids are not exact, and it shows"


def test_without_any_wave_the_origin_is_that_of_the_cell():
    flat = np.zeros((5, 5, 3), dtype=complex)
    flat[2, 2, 0] = 10.0
    flat[3, 2, 0] = flat[1, 2, 0] = 0.9 * 10 * LEAST_WAVE
    assert moving_origin(flat) == pytest.approx(0)


@few
@given(atoms=structures(), origin=st.tuples(*[st.floats(0, 1)] * 3))
def test_structure_factors_about_an_origin(atoms, origin):
    found = about(charge(atoms), np.array(origin))
    assert found == pytest.approx(charge(shifted(atoms, -np.array(origin))), abs=1e-9 * found[14, 6, 0].real)


def test_unknown_origin_is_refused():
    with pytest.raises(ConfigError, match="origin must be 'atoms' or 'cell', not 'corner'"):
        Scattering(origin="corner")
