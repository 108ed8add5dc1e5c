"""Errors over folds, barriers and moduli from predictions that are known."""

import numpy as np
import pytest
from ase import Atoms
from ase.eos import birchmurnaghan
from ase.units import GPa

from atomscatter.ensemble import Ensemble
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.scattering import Scattering
from service import evaluation
from service.evaluation import (
    Evaluated,
    barrier_errors,
    bulk_moduli,
    errors_of,
    evaluate,
    evaluate_blocks,
    modulus_errors,
    needed_features,
    parents_held_out,
)
from service.reading import LabelledStructure


def structure(energy: float, n_atoms: int = 2, length: float = 5.0, **info: object) -> LabelledStructure:
    atoms = Atoms(
        f"Si{n_atoms}", positions=np.arange(3.0 * n_atoms).reshape(-1, 3), cell=[length] * 3, pbc=True
    )
    atoms.info.update(info)
    return LabelledStructure(atoms, "made.xyz", 0, str(info.get("path_id", 0)), energy)


def evaluated(structures: list[LabelledStructure], folds: np.ndarray, **more: object) -> Evaluated:
    n = len(structures)
    return Evaluated(
        structures, folds, folds.mean(axis=0), np.zeros(n), more.pop("scores", np.zeros(n)), **more
    )


def test_blocks_of_needed_features_tell_what_all_features_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_ROWS", 2)
    scattering = Scattering.for_species(["Si"], beta=1.0, scales=2, n=2)
    structures = [structure(-10.0, length=5.0 + 0.1 * i) for i in range(5)]
    features = np.array([scattering.features(s.atoms) for s in structures])
    weights = np.zeros((4, scattering.n_features))
    weights[:, [0, 5, 40]] = np.random.default_rng(0).normal(size=(4, 3))
    fold = np.array([0, 0, 1, 1])
    learnt = ExtrapolationModel.fit(features, weights.mean(axis=0), np.array([0, 0, 0, 1, 1]))
    ensemble = Ensemble(weights, np.zeros(4), fold, np.full(4, 4), scattering.config, learnt, "made")

    done: list[int] = []
    blocks = list(needed_features(ensemble, structures, done.append))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert sum(done) == 5
    others = np.setdiff1d(np.arange(scattering.n_features), ensemble.needed.columns)
    assert features[:, others].any()
    assert not np.concatenate(blocks)[:, others].any(), "they are not computed"

    expected = evaluate(ensemble, structures, features)
    found = evaluate_blocks(ensemble, structures, blocks)
    for name in ("folds", "predicted", "uncertainty", "scores"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, err_msg=name)


def test_every_fold_is_measured_on_everything() -> None:
    structures = [structure(-10.0), structure(-12.0)]
    folds = np.array([[-5.0, -6.0], [-5.1, -5.8]])
    errors = errors_of("x", evaluated(structures, folds, scores=np.array([0.5, 1.5])))
    np.testing.assert_allclose(errors.rmse, [0.0, np.sqrt((0.1**2 + 0.2**2) / 2)], atol=1e-12)
    np.testing.assert_allclose(errors.mae, [0.0, 0.15], atol=1e-12)
    assert errors.extrapolating == 0.5
    assert errors.n == 2


def test_held_out_structures_count_for_their_fold_only() -> None:
    structures = [structure(-10.0), structure(-12.0), structure(-8.0)]
    folds = np.array([[-5.3, 0.0, 0.0], [0.0, -6.0, -4.1]])
    part = Evaluated(
        structures, folds, np.array([-5.3, -6.0, -4.1]), np.zeros(3), np.zeros(3), np.array([0, 1, 1])
    )
    errors = errors_of("paths", part)
    np.testing.assert_allclose(errors.mae, [0.3, 0.05], atol=1e-12)


def test_parents_held_out() -> None:
    structures = [structure(-10.0, path_id=7), structure(-12.0, path_id=8), structure(-8.0, path_id=-1)]
    folds = np.array([[-5.0, -6.3, 0.0], [-5.4, -6.0, 0.0]])
    errors = errors_of("x", evaluated(structures, folds), fold_of_path={"7": 1, "8": 0})
    assert errors.held_out_rmse is not None
    np.testing.assert_allclose(np.sort(errors.held_out_rmse), [0.3, 0.4], atol=1e-12)
    assert parents_held_out(evaluated(structures, folds), {"5": 0}) is None


def test_parts_by_info() -> None:
    structures = [structure(-1.0, kind=k) for k in ("b", "a", "b")]
    whole = evaluated(structures, np.array([[1.0, 2.0, 3.0]]))
    first, second = whole.groups("kind")
    assert first.info("kind") == ["a"]
    np.testing.assert_array_equal(second.folds, [[1.0, 3.0]])


def test_barriers() -> None:
    images = [structure(-10.0), structure(-9.4), structure(-9.9)]
    folds = np.array([[-5.0, -4.7, -4.95], [-5.0, -4.6, -4.95]])  # 0.6 and 0.8 eV in the cell
    errors = barrier_errors([evaluated(images, folds)])
    np.testing.assert_allclose(errors.mae, [0.0, 0.2], atol=1e-12)
    assert errors.averaged == pytest.approx(0.1)
    assert errors.unit == "eV"


def test_moduli_by_the_same_fit_and_failures_counted() -> None:
    lengths = 10 * (1 + np.arange(-4, 5) * 0.0225)
    v = lengths**3

    def energies(modulus: float) -> np.ndarray:
        return birchmurnaghan(v, -400.0, modulus * GPa, 4.0, 1000.0)

    structures = [
        structure(e, length=length, alpha=0.5) for e, length in zip(energies(100.0), lengths, strict=True)
    ]
    folds = np.array([energies(90.0), energies(120.0), -v]) / 2  # the last has no minimum
    part = Evaluated(structures, folds, energies(105.0) / 2, np.zeros(9), np.zeros(9))
    moduli = bulk_moduli([part])
    np.testing.assert_allclose(moduli.reference, [100.0], rtol=1e-4)
    np.testing.assert_allclose(moduli.folds[:2, 0], [90.0, 120.0], rtol=1e-4)
    errors = modulus_errors(moduli)
    assert errors.failed == 1
    np.testing.assert_allclose(errors.mae, [10.0, 20.0, np.nan], rtol=1e-3)
    assert errors.averaged == pytest.approx(5.0, rel=1e-3)
