"""The ASE calculator in the hands of ASE."""

import copy
import pickle
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.calculators.singlepoint import SinglePointCalculator
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
    assert atoms.get_potential_energy(force_consistent=True) == prediction.energy
    assert atoms.calc.prediction == prediction
    SinglePointCalculator(atoms, **atoms.calc.results)


def test_a_change_is_noticed_and_an_equal_structure_is_not_computed_again(atoms, monkeypatch):
    before = atoms.get_potential_energy()
    with monkeypatch.context() as forbidden:
        forbidden.setattr(Ensemble, "predict", None)
        assert atoms.get_potential_energy() == before
    atoms.positions[0] += 0.3
    assert atoms.get_potential_energy() != before


@pytest.mark.parametrize("again", [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_a_copy_computes_for_itself(atoms, again):
    before = atoms.get_potential_energy()
    other = again(atoms)  # its calculator, too
    other.rattle(0.1, seed=1)
    assert other.get_potential_energy() == Ensemble.load(MODEL).predict(other).energy != before
    atoms.positions[0] += 0.3
    assert atoms.get_potential_energy() == Ensemble.load(MODEL).predict(atoms).energy


def test_forces_from_finite_differences_are_the_slope_of_the_energy(atoms):
    pair = Atoms("LiSi", positions=[[0, 0, 0], [2.4, 0.1, 0]], cell=[4, 4, 4], pbc=True)
    forces = FiniteDifferenceCalculator(atoms.calc, eps_disp=0.01).get_forces(pair)
    step = 0.005 * forces / np.linalg.norm(forces)
    energies = []
    for sign in (1, -1):
        moved = pair.copy()
        moved.positions += sign * step
        energies.append(Ensemble.load(MODEL).predict(moved).energy)
    assert np.subtract(*energies) / 0.01 == pytest.approx(-np.linalg.norm(forces), rel=0.01)


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
