"""Properties against values known by hand, with predictions that are given."""

import pytest
from ase import Atoms
from ase.build import bulk
from ase.eos import birchmurnaghan
from ase.units import GPa

from atomscatter.ensemble import Prediction
from atomscatter.errors import DataError
from service.properties import band_length, bulk_modulus, migration_barrier, voltages


def voltages_of(formation_energies, ion="Li"):
    """Voltages for formula -> formation energy, eV/atom."""
    structures = [Atoms(formula) for formula in formation_energies]
    predictions = [
        Prediction(len(atoms), len(atoms) * e, e, e, 0.0, False, 0.0, "a model", (e, e))
        for atoms, e in zip(structures, formation_energies.values(), strict=True)
    ]
    return voltages(structures, predictions, ion)


def test_a_host_of_several_elements_is_compared_with_itself():
    found = voltages_of({"Li2Co2O4": -1.75, "CoO2": -1.0})
    assert found.x == pytest.approx((0, 1 / 3))
    assert found.voltage == pytest.approx((4 * 1.75 - 3 * 1.0,))


def test_a_host_of_one_element_may_be_left_out():
    assert voltages_of({"Li4Si2": -0.2}).voltage == pytest.approx((0.2 * 3 / 2,))


@pytest.mark.parametrize(
    ("formation_energies", "words"),
    [
        ({"LiCoO2": -1.75}, "without Li; a voltage needs the energy of the host CoO2"),
        ({"CoO2": -1.0, "LiMn2O4": -1.9}, "without Li, structure 1 is MnO2 and the first CoO2"),
        ({"LiSi": -0.1, "LiGe": -0.1}, "without Li, structure 1 is Ge and the first Si"),
    ],
)
def test_energies_of_other_hosts_are_not_compared(formation_energies, words):
    with pytest.raises(DataError, match=words):
        voltages_of(formation_energies)


def test_a_wrong_ion_is_no_matter_of_hosts():
    with pytest.raises(DataError, match="contains the working ion"):
        voltages_of({"LiSi": -0.1, "LiGe": -0.1}, ion="Na")


def prediction(energy, by_fold=(), n_atoms=2):
    """What a model says of a cell with this energy, and each of its folds; eV."""
    per_atom = tuple(e / n_atoms for e in by_fold or (energy, energy))
    return Prediction(n_atoms, energy, energy / n_atoms, None, 0.0, False, 0.0, "a model", per_atom)


def path(n):
    """Images of a path: an atom moves by 0.3 A in each step."""
    return [Atoms("LiSi", positions=[[0, 0, 0.3 * i], [2, 2, 2]], cell=[6, 6, 6], pbc=True) for i in range(n)]


def test_barriers_of_a_path_with_a_saddle_point():
    energies, fold = (-10.0, -9.7, -9.1, -10.2), (-10.1, -9.5, -9.1, -10.0)
    predictions = [prediction(e, (e, f)) for e, f in zip(energies, fold, strict=True)]
    found = migration_barrier(path(4), predictions)
    assert found.barrier == pytest.approx(1.1)
    assert found.forward_barrier == pytest.approx(0.9)
    assert found.backward_barrier == pytest.approx(1.1)
    # Those of the folds: 1.1 and 1.0, 0.9 and 1.0, 1.1 and 0.9.
    assert found.barrier_spread == pytest.approx(0.05)
    assert found.forward_barrier_spread == pytest.approx(0.05)
    assert found.backward_barrier_spread == pytest.approx(0.1)
    assert found.warning is None


@pytest.mark.parametrize(
    ("energies", "words", "forward", "backward"),
    [
        ((0.0, 0.3, 0.5), "the highest image is the last, an end", 0.5, 0.0),
        ((0.5, -0.2, 0.1), "the highest image is the first, an end", 0.0, 0.4),
    ],
)
def test_the_end_of_a_path_is_no_saddle_point(energies, words, forward, backward):
    found = migration_barrier(path(3), [prediction(e) for e in energies])
    assert found.barrier == pytest.approx(max(energies) - min(energies))
    assert words in found.warning
    assert (found.forward_barrier, found.backward_barrier) == pytest.approx((forward, backward))


def bands(n_bands, n_images):
    """Bands of one path, one after the other; images between the ends differ from band to band."""
    frames = []
    for band in range(n_bands):
        images = path(n_images)
        for image in images[1:-1]:
            image.positions[1, 0] += 0.1 / (1 + band)
        frames += images
    return frames


@pytest.mark.parametrize(
    ("images", "length"),
    [
        (bands(1, 7), None),
        (bands(2, 3), 3),
        (bands(4, 5), 5),
        (bands(3, 7)[:-2], 7),  # it was interrupted
        (bands(2, 7)[:-1], None),  # of the second, the end is not there
        ([*path(4), *path(4)[::-1]], None),  # there and back
        ([path(1)[0]] * 9, None),
        ([*path(4)[:3], path(1)[0], *path(4)[:3], path(1)[0]], 4),  # a path that is closed
        ([Atoms("Li"), Atoms("Li2"), Atoms("Li"), Atoms("Li2"), Atoms("Li3"), Atoms("Li")], None),
    ],
)
def test_bands_of_a_neb(images, length):
    assert band_length(images) == length


def test_several_bands_have_no_barrier():
    with pytest.raises(DataError, match="these 10 structures are not one path but bands of 5 images"):
        migration_barrier(bands(2, 5), [prediction(0.0)] * 10)


def silicon(strain, rattle=0.0):
    atoms = bulk("Si", a=5.43 * (1 + strain), cubic=True)
    atoms.rattle(rattle, seed=1)
    return atoms


def modulus_of(series):
    """Of structures with the energies of a material of 90 GPa."""
    energies = [birchmurnaghan(a.get_volume(), -40.0, 90 * GPa, 4.0, 5.43**3) for a in series]
    return bulk_modulus(series, [prediction(e, n_atoms=8) for e in energies])


STRAINS = (-0.04, -0.02, 0.0, 0.01, 0.03, 0.05)


def test_the_modulus_of_a_series_whose_atoms_were_relaxed_moved_and_wrapped():
    series = [silicon(s, rattle=0.05) for s in STRAINS]
    for i, atoms in enumerate(series):
        atoms.translate([0.7 * i, 0, 1.1])
        atoms.wrap()
    found = modulus_of(series)
    assert found.reason is None
    assert found.bulk_modulus == pytest.approx(90, rel=1e-3)


def test_other_structures_are_no_series():
    other = [silicon(s) for s in STRAINS]
    other[3].positions[5] += [0, 0, 1.3]
    found = modulus_of(other)
    assert found.bulk_modulus is None
    assert found.bulk_modulus_spread is None
    # The mean of the eight moves along, by an eighth.
    assert "structure 3 is not structure 0 at another volume" in found.reason
    assert f"atom 5 would lie {1.3 * 7 / 8 * 0.96 / 1.01:.2f} Å away" in found.reason
    assert len(found.curve) == len(found.volumes) == len(STRAINS)
    order = [Atoms(f, positions=[[0, 0, 0], [2, 2, 2]], cell=[4 + i / 50] * 3, pbc=True)
             for i, f in enumerate(("LiSi", "LiSi", "SiLi", "LiSi", "LiSi"))]  # fmt: skip
    assert "structure 2 is not structure 0" in bulk_modulus(order, [prediction(0.0)] * 5).reason
