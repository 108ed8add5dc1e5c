"""Voltages against values known by hand, with predictions that are given."""

import pytest
from ase import Atoms

from atomscatter.ensemble import Prediction
from atomscatter.errors import DataError
from service.properties import voltages


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
