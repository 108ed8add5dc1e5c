"""What a model says about labelled structures, and how wrong it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.ensemble import Ensemble
from atomscatter.errors import DataError
from atomscatter.metrics import mae, rmse
from atomscatter.properties import barrier, bulk_modulus
from service.reading import LabelledStructure, naming

MEV = 1000.0  # meV in an eV
_ROWS = 256  # structures whose features are in memory at a time


@dataclass(frozen=True)
class Evaluated:
    """Labelled structures with what the models say about them; energies in eV/atom."""

    structures: Sequence[LabelledStructure]
    folds: FloatArray
    """Mean over the models of each fold, shape (n_folds, n)."""
    predicted: FloatArray
    """Shape (n,)."""
    uncertainty: FloatArray
    """Standard deviation over the models, shape (n,)."""
    scores: FloatArray
    """Extrapolation scores, shape (n,); above 1 is extrapolation."""
    test_fold: IntArray | None = None
    """The fold whose models made the prediction, shape (n,); None where all models did."""

    @property
    def n_atoms(self) -> IntArray:
        """Shape (n,)."""
        return np.array([len(s.atoms) for s in self.structures])

    @property
    def energies(self) -> FloatArray:
        """Reference energies, shape (n,), eV/atom."""
        return np.array([s.energy for s in self.structures], dtype=float) / self.n_atoms

    @property
    def volumes(self) -> FloatArray:
        """Shape (n,), A^3 (of the cell)."""
        return np.array([s.atoms.get_volume() for s in self.structures])

    def info(self, key: str) -> list[Any]:
        """The info entry of each structure, "" where there is none."""
        return [s.atoms.info.get(key, "") for s in self.structures]

    def where(self, key: str, value: Any) -> Evaluated:
        """The structures whose info has this value."""
        return self.rows([i for i, v in enumerate(self.info(key)) if v == value])

    def rows(self, rows: Sequence[int]) -> Evaluated:
        """Some of the structures, by number."""
        return Evaluated(
            [self.structures[i] for i in rows],
            self.folds[:, rows],
            self.predicted[rows],
            self.uncertainty[rows],
            self.scores[rows],
            None if self.test_fold is None else self.test_fold[rows],
        )

    def groups(self, key: str) -> list[Evaluated]:
        """One part for each value of an info key, in the order of the values."""
        return [self.where(key, value) for value in sorted(set(self.info(key)))]


@dataclass(frozen=True)
class Errors:
    """Errors of the fold models on one set of structures, eV/atom."""

    name: str
    n: int
    rmse: FloatArray
    """Shape (n_folds,)."""
    mae: FloatArray
    """Shape (n_folds,)."""
    extrapolating: float
    """Share of the structures that are flagged, 0 .. 1."""
    part: bool = False
    """Whether the set is a part of the one before."""
    held_out_rmse: FloatArray | None = None
    """Of structures with a parent, by the fold that did not train on it, shape (folds with any,)."""


@dataclass(frozen=True)
class PropertyErrors:
    """Mean absolute errors of a property that is derived from energies."""

    name: str
    unit: str
    n: int
    mae: FloatArray
    """Shape (n_folds,); NaN for a fold that has no value at all."""
    averaged: float
    """Of the averaged model, NaN if it has no value at all."""
    failed: int = 0
    """Pairs of fold and structure without a value."""


def evaluate(ensemble: Ensemble, structures: Sequence[LabelledStructure], features: FloatArray) -> Evaluated:
    """Predict structures with all models.

    Args:
        ensemble: the model.
        structures: n structures.
        features: shape (n, n_features).
    """
    return evaluate_blocks(ensemble, structures, [features])


def evaluate_blocks(
    ensemble: Ensemble, structures: Sequence[LabelledStructure], blocks: Iterable[FloatArray]
) -> Evaluated:
    """As :func:`evaluate`, with the features in blocks: all those of a million structures fill no memory.

    Args:
        ensemble: the model.
        structures: n structures.
        blocks: features of the first of them, of the next and so on, each of shape (n_rows, n_features); at
            least one block. Those that the model does not use may be 0.
    """
    folds, means, spreads, scores = [], [], [], []
    for features in blocks:
        mean, spread = ensemble.predict_features(features)
        folds.append(ensemble.fold_predictions(features))
        means.append(mean)
        spreads.append(spread)
        scores.append(ensemble.extrapolation.scores(features))
    return Evaluated(
        structures,
        np.concatenate(folds, axis=1),
        np.concatenate(means),
        np.concatenate(spreads),
        np.concatenate(scores),
    )


def blocks_of_rows(n: int) -> Iterator[slice]:
    """Slices that n rows are divided into."""
    return (slice(start, min(start + _ROWS, n)) for start in range(0, n, _ROWS))


def needed_features(
    ensemble: Ensemble, structures: Sequence[LabelledStructure], on_progress: Callable[[int], None]
) -> Iterator[FloatArray]:
    """Features that a model needs, computed here, in the blocks of :func:`evaluate_blocks`.

    Args:
        ensemble: the model.
        structures: to be featurized.
        on_progress: called with the number of structures that have been completed since the last call.

    Raises:
        DataError: a structure cannot be featurized; names file and index.
    """
    for rows in blocks_of_rows(len(structures)):
        block = structures[rows]
        features = np.empty((len(block), ensemble.n_features))
        for row, structure in zip(features, block, strict=True):
            with naming(structure.place):
                row[:] = ensemble.scattering.features(structure.atoms, only=ensemble.needed)
            on_progress(1)
        yield features


def summary(evaluated: Evaluated) -> dict[str, Any]:
    """Errors in meV/atom of the averaged model, and mean and standard deviation over the folds."""
    energies = evaluated.energies

    def errors(predicted: Any) -> dict[str, float]:
        return {
            "rmse": MEV * rmse(predicted, energies),
            "mae": MEV * mae(predicted, energies),
            "max_error": MEV * float(np.max(np.abs(predicted - energies))),
        }

    folds = [errors(predicted) for predicted in evaluated.folds]
    return {
        "n_structures": len(energies),
        "unit": "meV/atom",
        "averaged_model": errors(evaluated.predicted),
        "folds_mean": {name: float(np.mean([f[name] for f in folds])) for name in folds[0]},
        "folds_std": {name: float(np.std([f[name] for f in folds])) for name in folds[0]},
        "extrapolating_share": float(np.mean(evaluated.scores > 1)),
    }


def evaluate_held_out(
    ensemble: Ensemble, structures: Sequence[LabelledStructure], features: FloatArray, test_fold: IntArray
) -> Evaluated:
    """Predict each structure with the models of the fold that did not train on it.

    Args:
        ensemble: the model.
        structures: its n training structures.
        features: shape (n, n_features).
        test_fold: the fold that held each structure out, shape (n,).
    """
    mean, spread = np.empty(len(structures)), np.empty(len(structures))
    for fold in np.unique(test_fold):
        models, rows = ensemble.fold == fold, test_fold == fold
        energies = ensemble.weights[models] @ features[rows].T + ensemble.bias[models, None]
        mean[rows], spread[rows] = energies.mean(axis=0), energies.std(axis=0)
    scores = ensemble.extrapolation.scores(features)
    return Evaluated(structures, ensemble.fold_predictions(features), mean, spread, scores, test_fold)


def errors_of(
    name: str,
    evaluated: Evaluated,
    *,
    part: bool = False,
    fold_of_path: Mapping[str, int] | None = None,
) -> Errors:
    """Errors over the folds: of each fold on what it held out, or of each fold on everything.

    Args:
        name: of the set.
        evaluated: its structures.
        part: whether the set is a part of the one before.
        fold_of_path: test fold of each relaxation path, to give the errors with parents held out, too.

    Raises:
        DataError: there is no structure.
    """
    energies, folds = evaluated.energies, evaluated.folds
    if evaluated.test_fold is None:
        pairs = [(predicted, energies) for predicted in folds]
    else:
        tests = [evaluated.test_fold == fold for fold in np.unique(evaluated.test_fold)]
        pairs = [(evaluated.predicted[test], energies[test]) for test in tests]
    held_out = None if fold_of_path is None else parents_held_out(evaluated, fold_of_path)
    return Errors(
        name,
        len(energies),
        np.array([rmse(*pair) for pair in pairs]),
        np.array([mae(*pair) for pair in pairs]),
        float(np.mean(evaluated.scores > 1)),
        part,
        None if held_out is None else errors_of(name, held_out).rmse,
    )


def parents_held_out(evaluated: Evaluated, fold_of_path: Mapping[str, int]) -> Evaluated | None:
    """Structures that derive from a path, each predicted by the fold that did not train on that path.

    Args:
        evaluated: structures whose path id is that of their parent.
        fold_of_path: test fold of each relaxation path.

    Returns:
        The structures that have a parent; None if no structure has.
    """
    rows = [i for i, s in enumerate(evaluated.structures) if s.path_id in fold_of_path]
    if not rows:
        return None
    part = evaluated.rows(rows)
    test_fold = np.array([fold_of_path[s.path_id] for s in part.structures])
    return replace(part, predicted=part.folds[test_fold, np.arange(len(rows))], test_fold=test_fold)


def barrier_errors(paths: Sequence[Evaluated]) -> PropertyErrors:
    """Errors of migration barriers, eV; each path holds its images in order."""
    reference = np.array([barrier(p.energies * p.n_atoms) for p in paths])
    folds = np.array([[barrier(energies * p.n_atoms) for energies in p.folds] for p in paths])
    averaged = np.array([barrier(p.predicted * p.n_atoms) for p in paths])
    return PropertyErrors(
        "migration barriers",
        "eV",
        len(paths),
        np.abs(folds - reference[:, None]).mean(axis=0),
        float(np.abs(averaged - reference).mean()),
    )


@dataclass(frozen=True)
class Moduli:
    """Bulk moduli of n structures, GPa; NaN where no curve could be fitted."""

    alpha: FloatArray
    """Composition, shape (n,)."""
    reference: FloatArray
    """Shape (n,)."""
    folds: FloatArray
    """Shape (n_folds, n)."""
    averaged: FloatArray
    """Of the averaged model, shape (n,)."""

    def mean_errors(self, predicted: FloatArray) -> tuple[float, float]:
        """Mean absolute error of some moduli, shape (n,): in GPa, and in percent of the reference; over the
        structures that have one, NaN if none has."""
        errors = np.abs(predicted - self.reference)
        known = np.isfinite(errors)
        if not known.any():
            return float("nan"), float("nan")
        return float(errors[known].mean()), float(100 * np.mean(errors[known] / self.reference[known]))


def bulk_moduli(series: Sequence[Evaluated]) -> Moduli:
    """Bulk moduli from strain series, by the same fit for reference and models."""
    return Moduli(
        np.array([s.info("alpha")[0] for s in series], dtype=float),
        np.array([_modulus(s, s.energies) for s in series]),
        np.array([[_modulus(s, energies) for energies in s.folds] for s in series]).T,
        np.array([_modulus(s, s.predicted) for s in series]),
    )


def modulus_errors(moduli: Moduli) -> PropertyErrors:
    """Errors of bulk moduli, GPa, over the structures that have one; the others are counted."""
    return PropertyErrors(
        "bulk moduli",
        "GPa",
        len(moduli.reference),
        np.array([moduli.mean_errors(values)[0] for values in moduli.folds]),
        moduli.mean_errors(moduli.averaged)[0],
        int(np.isnan(moduli.folds - moduli.reference).sum()),
    )


def _modulus(series: Evaluated, energies_per_atom: FloatArray) -> float:
    try:
        return bulk_modulus(series.volumes, energies_per_atom * series.n_atoms)
    except DataError:  # no minimum among the strains
        return float("nan")
