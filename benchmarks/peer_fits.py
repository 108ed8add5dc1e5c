"""Linear models for peers.py: ridge regression, and atomscatter's own bagged fit on any columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from atomscatter.labels import FeatureLabel
from atomscatter.resampling import path_folds
from service.evaluation import Evaluated
from service.reading import LabelledStructure, reduced_formula
from service.training import FitSettings, TrainingData
from workers.train import train_on

PENALTIES = 10.0 ** np.arange(-11, 1)  # of columns with unit variance, times the number of rows
CONSTANT = 1e-10  # columns whose spread is a smaller part of their size say nothing


@dataclass(frozen=True)
class Sets:
    """Labelled structures of every set, their Li fractions, and the fold that tests each relaxation path."""

    structures: Mapping[str, Sequence[LabelledStructure]]  # "paths" and the sets to extrapolate to
    fold_of_path: Mapping[str, int]

    @classmethod
    def deal(cls, structures: Mapping[str, Sequence[LabelledStructure]], folds: int, seed: int) -> Sets:
        """Folds as atomscatter's training deals them."""
        compositions: dict[str, str] = {}
        for structure in structures["paths"]:
            compositions.setdefault(structure.path_id, reduced_formula(structure.atoms))
        names = sorted(compositions)
        fold = path_folds([compositions[name] for name in names], folds, seed)
        return cls(structures, dict(zip(names, fold.tolist(), strict=True)))

    @property
    def fold(self) -> np.ndarray:
        """Test fold of each structure of the paths."""
        return np.array([self.fold_of_path[s.path_id] for s in self.structures["paths"]])

    def energies(self, kind: str) -> np.ndarray:
        """eV/atom."""
        return np.array([s.energy / len(s.atoms) for s in self.structures[kind]])

    def composition(self, kind: str) -> np.ndarray:
        """Share of the atoms that are lithium."""
        return np.array([np.mean(s.atoms.numbers == 3) for s in self.structures[kind]])

    def evaluated(
        self, predicted: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray] | None
    ) -> dict[str, Evaluated]:
        """From predictions of every fold, shape (n_folds, n), eV/atom; paths by the fold that tests them.
        ``scores``: of extrapolation, shape (n,), for a model that has them."""
        result = {}
        for kind, folds in predicted.items():
            test, mean = None, folds.mean(axis=0)
            if kind == "paths":
                test = self.fold
                mean = folds[test, np.arange(len(test))]
            spread = folds.std(axis=0)
            found = self.structures[kind]
            score = np.full(len(found), np.nan) if scores is None else scores[kind]
            result[kind] = Evaluated(found, folds, mean, spread, score, test)
        return result


class Rows(Protocol):
    """What is fitted along with energies: :class:`Differences`, or all forces (limits.py)."""

    def sums(
        self, columns: np.ndarray, scale: np.ndarray, fold: int, n_energies: int, n_unpenalised: int
    ) -> Sums:
        """Products over the rows of a fold, of the columns times their scales."""


@dataclass(frozen=True)
class Differences:
    """Pairs of structures of the same composition whose difference in energy is known (forces.py).

    Attributes:
        features: differences of features, shape (m, d).
        energies: differences of energies, shape (m,), eV/atom.
        fold: test fold of each pair, shape (m,).
        weight: of all pairs together, relative to that of all energies.
    """

    features: np.ndarray
    energies: np.ndarray
    fold: np.ndarray
    weight: float

    def sums(
        self, columns: np.ndarray, scale: np.ndarray, fold: int, n_energies: int, n_unpenalised: int
    ) -> Sums:
        """Of the pairs of a fold; what is not penalised is the same on both sides of a pair."""
        rows = self.fold == fold
        root = np.sqrt(self.weight * n_energies / np.count_nonzero(rows))
        Z = self.features[np.ix_(rows, columns)] * (scale * root)
        return Sums.of(np.zeros((len(Z), n_unpenalised)), Z, self.energies[rows] * root)


@dataclass(frozen=True)
class Fitted:
    """What a model says about all sets.

    Attributes:
        predicted: energies by every fold, shape (n_folds, n), for each set, eV/atom.
        about: for the row of a table: the fit, and what it chose.
        scores: of extrapolation, shape (n,), for each set, where the model has them.
    """

    predicted: dict[str, np.ndarray]
    about: dict
    scores: dict[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Ridge:
    """Ridge regression of energies per atom; the energy of each species (composition) is not penalised.

    Columns are scaled to equal variance (``scaling`` "standard") or all by the same factor ("common"), after
    what composition explains of them is taken away. Penalty (and scaling, where several are given) are those
    with the lowest error in cross validation over the other folds of the training set, so by whole paths.
    ``others`` are fitted along with the energies.
    """

    scalings: Sequence[str] = ("standard", "common")
    others: Rows | None = None

    def predict(self, sets: Sets, features: Mapping[str, np.ndarray]) -> Fitted:
        """Fit to the paths and predict each set; the features of each have shape (n, d)."""
        weights, intercepts, chosen = self.fit(sets, features["paths"])
        return Fitted(linear(sets, features, weights, intercepts), {"fit": "ridge", "chosen": chosen})

    def fit(self, sets: Sets, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[dict]]:
        """For the features of the paths, shape (n, d): weights, shape (n_folds, d), those of the columns of
        :func:`with_constant`, shape (n_folds, 2), and what was chosen for each fold."""
        y, fold = sets.energies("paths"), sets.fold
        n_folds = fold.max() + 1
        U = with_constant(sets.composition("paths"))
        weights, intercepts, chosen = [None] * n_folds, [None] * n_folds, [{}] * n_folds
        best = np.full(n_folds, np.inf)
        trend = np.linalg.lstsq(U, X, rcond=None)[0]
        rest = X - U @ trend
        spread = rest.std(axis=0)
        kept = spread > CONSTANT * np.abs(X).max(axis=0)
        for scaling in self.scalings:
            scale = 1 / (spread[kept] if scaling == "standard" else np.sqrt(np.mean(spread[kept] ** 2)))
            Z = rest[:, kept] * scale
            sums = [Sums.of(U[fold == k], Z[fold == k], y[fold == k]) for k in range(n_folds)]
            if self.others is not None:
                pairs = (
                    self.others.sums(np.flatnonzero(kept), scale, k, total.n, U.shape[1])
                    for k, total in enumerate(sums)
                )
                sums = [Sums.total(both) for both in zip(sums, pairs, strict=True)]
            errors = cross_validation(sums, U, Z, y, fold)
            for k in range(n_folds):
                if errors[k].min() < best[k]:
                    best[k], penalty = errors[k].min(), PENALTIES[errors[k].argmin()]
                    total = Sums.total(s for i, s in enumerate(sums) if i != k)
                    u, w = total.solve([penalty])
                    weights[k] = np.zeros(X.shape[1])
                    weights[k][kept] = w[:, 0] * scale
                    intercepts[k] = u[:, 0] - trend @ weights[k]
                    chosen[k] = {"penalty": float(penalty), "scaling": scaling, "cv_rmse": float(best[k])}
        return np.array(weights), np.array(intercepts), chosen


def linear(sets: Sets, features: Mapping[str, np.ndarray], weights: np.ndarray, intercepts: np.ndarray):
    """Predictions of every fold, shape (n_folds, n), for each set; arguments as :meth:`Ridge.fit` gives."""
    return {
        kind: weights @ x.T + intercepts @ with_constant(sets.composition(kind)).T
        for kind, x in features.items()
    }


def with_constant(composition: np.ndarray) -> np.ndarray:
    """Columns 1 and share of lithium."""
    return np.column_stack([np.ones(len(composition)), composition])


@dataclass(frozen=True)
class Sums:
    """Products of unpenalised columns U, penalised columns Z and energies y over some rows."""

    n: int
    UU: np.ndarray
    UZ: np.ndarray
    ZZ: np.ndarray
    Uy: np.ndarray
    Zy: np.ndarray

    @classmethod
    def of(cls, U, Z, y) -> Sums:
        return cls(len(y), U.T @ U, U.T @ Z, Z.T @ Z, U.T @ y, Z.T @ y)

    @classmethod
    def total(cls, parts: Iterable[Sums]) -> Sums:
        parts = list(parts)
        fields = ("n", "UU", "UZ", "ZZ", "Uy", "Zy")
        return cls(*(sum(getattr(part, name) for part in parts) for name in fields))

    def solve(self, penalties: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Weights of U and of Z, a column for each penalty; NaN where rounding leaves no positive definite
        matrix."""
        explained = np.linalg.solve(self.UU, self.UZ)
        A = self.ZZ - self.UZ.T @ explained
        b = self.Zy - explained.T @ self.Uy
        diagonal = np.diag_indices(len(A))
        weights = np.full((len(A), len(penalties)), np.nan)
        for i, penalty in enumerate(penalties):
            shifted = A.copy()
            shifted[diagonal] += penalty * self.n
            with contextlib.suppress(LinAlgError):
                weights[:, i] = cho_solve(cho_factor(shifted, overwrite_a=True, check_finite=False), b)
        return np.linalg.solve(self.UU, self.Uy[:, None] - self.UZ @ weights), weights


def cross_validation(sums: Sequence[Sums], U, Z, y, fold) -> np.ndarray:
    """RMSE of each penalty within the training set of each fold, shape (n_folds, n_penalties), eV/atom.

    Each of the other folds is predicted once, from the rest of them.
    """
    n_folds = len(sums)
    squares = np.zeros((n_folds, len(PENALTIES)))
    for a, b in combinations(range(n_folds), 2):
        u, w = Sums.total(s for i, s in enumerate(sums) if i not in (a, b)).solve(PENALTIES)
        for outer, inner in ((a, b), (b, a)):
            rows = fold == inner
            squares[outer] += np.sum((U[rows] @ u + Z[rows] @ w - y[rows, None]) ** 2, axis=0)
    n_training = len(y) - np.bincount(fold, minlength=n_folds)
    return np.nan_to_num(np.sqrt(squares / n_training[:, None]), nan=np.inf)


@dataclass(frozen=True)
class Bagged:
    """Atomscatter's own fit: averaged models of greedily chosen columns.

    Attributes:
        settings: of the fit.
        labels: of the columns, if they are our own features: their orders and channels.
    """

    settings: FitSettings
    labels: Sequence[FeatureLabel] = ()

    def predict(self, sets: Sets, features: Mapping[str, np.ndarray]) -> Fitted:
        """As for Ridge; composition is one more column."""
        columns = {k: np.column_stack([sets.composition(k), x]) for k, x in features.items()}
        structures = sets.structures["paths"]
        orders = [label.order for label in self.labels] or [0] * features["paths"].shape[1]
        channels = np.array(["", *(label.channel for label in self.labels)]) if self.labels else None
        data = TrainingData(
            features=columns["paths"],
            energies=sets.energies("paths"),
            path_ids=tuple(s.path_id for s in structures),
            compositions=tuple(reduced_formula(s.atoms) for s in structures),
            feature_orders=np.array([0, *orders]),
            feature_channels=channels,
            scattering_config={},
            data_hash="",
        )
        ensemble, report = train_on(data, self.settings)
        assert np.array_equal(report.fold_of_structure, sets.fold)
        size = report.n_selected.mean()
        return Fitted(
            {kind: ensemble.fold_predictions(x) for kind, x in columns.items()},
            {"fit": f"{ensemble.n_models} x {size:.0f}", "features_per_model": float(size)},
            {kind: ensemble.extrapolation.scores(x) for kind, x in columns.items()},
        )
