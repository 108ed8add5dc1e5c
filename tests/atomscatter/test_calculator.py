"""The ASE calculator in the hands of ASE."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.eos import calculate_eos

from atomscatter import Ensemble, ScatteringCalculator
from atomscatter.errors import ModelError, StructureError
from atomscatter.properties import fit_equation_of_state

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "service/data/model"


@pytest.fixture
def atoms():
    found = ase.io.read(ROOT / "api/static/examples/one-structure.extxyz")
    found.calc = ScatteringCalculator(MODEL)
    return found


def test_energy_and_what_belongs_to_it(atoms):
    prediction = Ensemble.load(MODEL).predict(atoms)
    assert atoms.get_potential_energy() == prediction.energy
    assert atoms.calc.results["uncertainty"] == prediction.uncertainty
    assert atoms.calc.results["extrapolating"] is False
    by_fold = atoms.calc.results["energies_by_fold"]
    assert len(by_fold) == 5
    assert np.mean(by_fold) == pytest.approx(prediction.energy)


def test_a_change_is_noticed_and_an_equal_structure_is_not_computed_again(atoms, monkeypatch):
    before = atoms.get_potential_energy()
    with monkeypatch.context() as forbidden:
        forbidden.setattr(Ensemble, "predict", None)
        assert atoms.get_potential_energy() == before
    atoms.positions[0] += 0.3
    assert atoms.get_potential_energy() != before


def test_forces_and_stress_do_not_exist(atoms):
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_equation_of_state_by_ase(atoms):
    eos = calculate_eos(atoms, npoints=7, eps=0.09)  # of the volume
    eos.eos_string = "birchmurnaghan"
    _, _, modulus = eos.fit()
    ours = fit_equation_of_state(eos.v, eos.e)
    assert ours.bulk_modulus == pytest.approx(modulus / ase.units.GPa, rel=1e-3)


def test_errors(atoms, tmp_path):
    with pytest.raises(ModelError, match=r"card\.json"):
        ScatteringCalculator(tmp_path)
    atoms.pbc = False
    with pytest.raises(StructureError, match="periodic"):
        atoms.get_potential_energy()
