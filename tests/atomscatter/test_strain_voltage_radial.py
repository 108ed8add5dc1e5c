"""Strain series, voltage curves and radial distribution functions against values known by hand."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from atomscatter.errors import ConfigError, DataError, StructureError
from atomscatter.radial import radial_distribution
from atomscatter.strain import STRAINS, strained, volumes_of
from atomscatter.voltage import average_voltages, ion_content, voltage_curve


def test_strain_scales_cell_and_positions():
    atoms = bulk("Si")
    series = strained(atoms, [-0.1, 0.0, 0.2])
    np.testing.assert_allclose(volumes_of(series), atoms.get_volume() * np.array([0.9, 1.0, 1.2]) ** 3)
    for copy in series:
        np.testing.assert_allclose(copy.get_scaled_positions(), atoms.get_scaled_positions())
    assert atoms.cell.array.tolist() == bulk("Si").cell.array.tolist(), "the original is untouched"
    assert len(strained(atoms)) == len(STRAINS)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    assert [copy.calc for copy in strained(atoms, [0.0, 0.1])] == [None, None], "energies are not theirs"


@pytest.mark.parametrize("strains", [[], [0.4], [-0.31], [np.nan], [[0.1]]])
def test_strains_out_of_range(strains):
    with pytest.raises(DataError, match="strains"):
        strained(bulk("Si"), strains)


def test_ions_per_host_atom():
    assert ion_content(Atoms("Li6Si4")) == 1.5
    assert ion_content(Atoms("Si4")) == 0
    assert ion_content(Atoms("NaSi2"), "Na") == 0.5
    with pytest.raises(DataError, match="no host"):
        ion_content(Atoms("Li2"))


def test_voltages_of_a_hull_made_by_hand():
    # Per host atom: G(0) = 0, G(1) = -0.5, G(2) = -0.7, G(4) = -0.8; the structure at x = 1.5 lies above.
    x = np.array([4.0, 1.0, 1.5, 2.0])
    per_host = np.array([-0.8, -0.5, -0.4, -0.7])
    curve = voltage_curve(x, per_host / (1 + x))
    np.testing.assert_allclose(curve.x, [0, 1, 2, 4])
    np.testing.assert_allclose(curve.voltage, [0.5, 0.2, 0.05])
    assert curve.on_hull.tolist() == [True, True, False, True]


def test_a_host_of_its_own_replaces_the_reference():
    curve = voltage_curve([0.0, 1.0], [0.1, -0.2])  # G(0) = 0.1, G(1) = -0.4
    np.testing.assert_allclose(curve.voltage, [0.5])


@pytest.mark.parametrize(
    ("x", "energies"), [([1.0], [1.0, 2.0]), ([0.0], [0.1]), ([-1.0], [0.0]), ([1.0], [np.inf]), ([], [])]
)
def test_contents_that_make_no_curve(x, energies):
    with pytest.raises(DataError):
        voltage_curve(x, energies)


def test_neighbours_of_a_crystal():
    atoms = bulk("Si", cubic=True)  # 4 neighbours at 2.35 A, 12 at 3.84 A
    r, functions = radial_distribution(atoms, cutoff=4.5, width=0.05)
    shells = 4 / 3 * np.pi * ((r + 0.025) ** 3 - (r - 0.025) ** 3)
    counts = functions["Si", "Si"] * shells * len(atoms) / atoms.get_volume()
    assert counts[r < 3].sum() == pytest.approx(4)
    assert counts[(r > 3) & (r < 4.2)].sum() == pytest.approx(12)
    assert r[counts.argmax()] == pytest.approx(3.84, abs=0.05)


def test_an_ideal_gas_has_g_of_one():
    rng = np.random.default_rng(0)
    atoms = Atoms("Li800Si800", positions=rng.uniform(0, 20, (1600, 3)), cell=[20] * 3, pbc=True)
    r, functions = radial_distribution(atoms, cutoff=8, width=0.5)
    shells = 4 / 3 * np.pi * ((r + 0.25) ** 3 - (r - 0.25) ** 3)
    for (a, b), g in functions.items():
        pairs = 800 * 800 / 8000 * shells / (2 if a == b else 1)  # expected number, Poisson
        assert (np.abs(g - 1) < 4 / np.sqrt(pairs))[r > 2].all()


@pytest.mark.parametrize(
    ("cutoff", "width", "n"),
    # round() would give 17 bins up to 5.1; 0.3 / 0.1 and 0.7 / 0.1 are a little less than 3 and 7.
    [
        (5.0, 0.3, 16),
        (5.0, 0.1, 50),
        (0.3, 0.1, 3),
        (0.7, 0.1, 7),
        (8.0, 0.1, 80),
        (1.0, 0.51, 1),
        (1.0, 1.0, 1),
    ],
)
def test_bins_end_within_the_cutoff(cutoff, width, n):
    r, functions = radial_distribution(bulk("Si"), cutoff=cutoff, width=width)
    np.testing.assert_allclose(r, (np.arange(n) + 0.5) * width)
    assert functions["Si", "Si"].shape == (n,)
    assert n * width <= cutoff * (1 + 1e-12)


@pytest.mark.parametrize(("cutoff", "width"), [(0, 0.1), (31, 0.1), (5, 0), (1, 2)])
def test_ranges_of_the_radial_function(cutoff, width):
    with pytest.raises(ConfigError, match="cutoff"):
        radial_distribution(bulk("Si"), cutoff=cutoff, width=width)


def test_average_voltages_by_hand():
    # From x = 0.5 (mean -5.0 eV) to x = 1.5: -(-7.2 + 5.0 + 1.9) / 1 = 0.3 V and 0.5 V.
    energies = {1.5: [-7.2, -7.4], 0.5: [-4.9, -5.1], 2.5: [-8.8]}
    x, volts, spread = average_voltages(energies, metal=-1.9)
    np.testing.assert_allclose(x, [1.5, 2.5])
    np.testing.assert_allclose(volts, [0.4, 0.0], atol=1e-12)
    np.testing.assert_allclose(spread, [0.1, 0.0], atol=1e-12)
    with pytest.raises(DataError, match="two contents"):
        average_voltages({1.0: [-3.0]}, metal=-1.9)


def test_a_molecule_has_no_radial_distribution():
    with pytest.raises(StructureError, match="periodic"):
        radial_distribution(molecule("H2O"))
