"""Pruned models: fewer features, almost the same predictions, the same spread (see atomscatter.pruning)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.ensemble import Ensemble
from atomscatter.errors import DataError
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.needed import columns_by_block, needed
from atomscatter.pruning import block_order, projected
from service.training import TrainingData, folds_of_paths, require_trained_on

MAX_ROWS = 20_000
"""Training structures that the Gram matrix is made from; evenly spaced ones of a larger set."""

CURVE_POINTS = 40
CELL = 11.0
"""Side (Angstrom) of the cubic cell that the costs of blocks are counted for."""
_FIELDS_OF_PRODUCTS = 20
"""Products at the atoms take about as long as so many fields on the finest grid. They are made together: more
of them cost nothing but the place of features, which counts as one field."""


@dataclass(frozen=True)
class PrunedSize:
    """What a model pruned to some number of blocks is worth; errors on held-out paths, eV/atom."""

    n_blocks: int
    columns: IntArray
    """Features that keep a weight, shape (n_kept,)."""
    rmse: FloatArray
    """Of each fold, shape (n_folds,)."""
    mae: FloatArray
    rise: float
    """Mean RMSE over that of the whole model, minus 1."""


class Pruning:
    """A model with its training data, ready to be pruned to any size.

    Raises:
        ModelError: the model was trained on other data.
        ConfigError: the features are those of another transform.
        DataError: the model uses no feature above order 0.
    """

    def __init__(self, ensemble: Ensemble, data: TrainingData) -> None:
        require_trained_on(ensemble, data.data_hash, data.scattering_config, "pruning")
        self.ensemble, self.data = ensemble, data
        fold_of_path = folds_of_paths(ensemble.card, data)
        self.folds = np.array([fold_of_path[path] for path in data.path_ids])
        labels = ensemble.scattering.labels
        used = np.flatnonzero(ensemble.weights.any(axis=0))
        with_used = set(used.tolist())
        self._blocks = [c for c in columns_by_block(labels).values() if with_used & set(c.tolist())]
        self._free = [c for c in self._blocks if labels[c[0]].order == 0]
        self._blocks = [c for c in self._blocks if labels[c[0]].order > 0]
        if not self._blocks:
            raise DataError(f"model {ensemble.model_id} uses no feature above order 0: nothing can be pruned")
        # Positions in the Gram matrix: the columns of all these blocks, and the bias at the end.
        self._columns = np.concatenate([*self._free, *self._blocks])
        self._n_free = sum(len(columns) for columns in self._free)
        bounds = self._n_free + np.cumsum([0, *(len(columns) for columns in self._blocks)])
        self._positions = [np.arange(a, b) for a, b in pairwise(bounds.tolist())]
        self._gram, self._scale = _gram(ensemble, data, self._columns)
        self._order = self._choose()
        weights = np.column_stack([ensemble.weights[:, self._columns], ensemble.bias])
        self._weights = weights / self._scale
        self.whole = self._errors([self.ensemble_fold_weights()])[0]

    @property
    def n_blocks(self) -> int:
        """Blocks that can be kept."""
        return len(self._order)

    def sizes(self) -> list[int]:
        """Numbers of blocks, evenly spaced on a logarithmic axis."""
        spaced = np.geomspace(1, self.n_blocks, CURVE_POINTS).round().astype(int)
        return [int(size) for size in np.unique(spaced)]

    def curve(self, sizes: Sequence[int]) -> list[PrunedSize]:
        """Errors of the models pruned to some numbers of blocks."""
        weights = [self._fold_weights(size) for size in sizes]
        found = []
        for size, (rmse, mae) in zip(sizes, self._errors(weights), strict=True):
            columns = np.sort(self._columns[self._kept(size)[:-1]])
            rise = float(rmse.mean() / self.whole[0].mean()) - 1
            found.append(PrunedSize(size, columns, rmse, mae, rise))
        return found

    def smallest(self, *, features: int | None = None, max_rise: float = 0.02) -> PrunedSize:
        """The largest model of at most ``features`` features; without it, the smallest whose RMSE on held-out
        paths is at most ``max_rise`` above that of the whole model.

        Raises:
            DataError: no size fulfils it.
        """
        curve = self.curve(range(1, self.n_blocks + 1) if features is not None else self.sizes())
        if features is not None:
            fitting = [size for size in curve if len(size.columns) <= features]
            if not fitting:
                raise DataError(f"the smallest pruned model has {len(curve[0].columns)} features")
            return fitting[-1]
        for size in curve:
            if size.rise <= max_rise:
                return size
        least = min(curve, key=lambda size: size.rise)
        raise DataError(
            f"no pruned model has an error rise of at most {100 * max_rise:g} %; the least is "
            f"{100 * least.rise:.2f} % with {len(least.columns)} features"
        )

    def model(self, size: PrunedSize) -> Ensemble:
        """The pruned model, its models as far from the mean of their fold as those of the whole model."""
        kept = self._kept(size.n_blocks)
        found = self._spread_kept(projected(self._gram, self._weights, kept), kept) * self._scale[kept]
        weights = np.zeros_like(self.ensemble.weights)
        weights[:, self._columns[kept[:-1]]] = found[:, :-1]
        extrapolation = ExtrapolationModel.fit(self.data.features, weights.mean(axis=0), self.folds)
        return replace(
            self.ensemble,
            weights=weights,
            bias=found[:, -1].copy(),
            n_selected=np.full(len(weights), len(kept)),
            extrapolation=extrapolation,
            card=self.ensemble.card | {"pruned": self._card(size), "errors": self._errors_card(size)},
        )

    def _spread_kept(self, found: FloatArray, kept: IntArray) -> FloatArray:
        """What is dropped takes some of the spread with it; deviations from the mean of the fold are
        lengthened so that their mean square over the training structures is what it was."""
        fold = self.ensemble.fold
        means = _fold_means(found, fold)[fold]
        away = found - means
        whole = self._weights - _fold_means(self._weights, fold)[fold]
        left = np.sum((away @ self._gram[np.ix_(kept, kept)]) * away)
        if left <= 0:
            return found
        return np.asarray(means + away * np.sqrt(np.sum((whole @ self._gram) * whole) / left))

    def ensemble_fold_weights(self) -> FloatArray:
        """Averaged weights of each fold of the whole model, bias last, shape (n_folds, n_features + 1)."""
        whole = np.column_stack([self.ensemble.weights, self.ensemble.bias])
        return _fold_means(whole, self.ensemble.fold)

    def _kept(self, size: int) -> IntArray:
        """Positions in the Gram matrix of a size; the bias is the last."""
        positions = [self._positions[block] for block in self._order[:size]]
        return np.concatenate([np.arange(self._n_free), *positions, [len(self._columns)]]).astype(np.int64)

    def _choose(self) -> list[int]:
        free = np.append(np.arange(self._n_free), len(self._columns))
        mean = np.append(self.ensemble.weights.mean(axis=0)[self._columns], self.ensemble.bias.mean())
        target = self._gram @ (mean / self._scale)
        return block_order(self._gram, target, self._positions, free, self._costs)

    def _costs(self, chosen: Sequence[int]) -> FloatArray:
        """Grid points of the fields that each block needs beyond those of the blocks chosen before."""
        scattering = self.ensemble.scattering
        lengths = np.full(3, CELL)
        labels = [scattering.labels[columns[0]] for columns in self._blocks]
        have = {(labels[b].j1, labels[b].l1) for b in chosen if labels[b].center is None}
        products = any(labels[b].center is not None for b in chosen)
        costs = np.zeros(len(labels))
        for i, label in enumerate(labels):
            if label.center is not None:
                finest = scattering.grid.first_points(lengths, scattering.beta, 0, 0)
                costs[i] = (1 if products else _FIELDS_OF_PRODUCTS) * math.prod(finest)
                continue
            j1, l1 = int(label.j1 or 0), int(label.l1 or 0)
            first = math.prod(scattering.grid.first_points(lengths, scattering.beta, j1, l1))
            costs[i] = first
            if (j1, l1) not in have:
                costs[i] += first * len(scattering.species) * (2 * l1 + 1)
            if label.j2 is not None and label.l2 is not None:
                second = scattering.grid.second_points(lengths, scattering.beta, label.j2, label.l2)
                costs[i] += math.prod(second) * (2 * label.l2 + 1)
        return costs

    def _fold_weights(self, size: int) -> FloatArray:
        kept = self._kept(size)
        means = _fold_means(self._weights, self.ensemble.fold)
        whole = np.zeros((len(means), self.ensemble.n_features + 1))
        found = projected(self._gram, means, kept) * self._scale[kept]
        whole[:, self._columns[kept[:-1]]] = found[:, :-1]
        whole[:, -1] = found[:, -1]
        return whole

    def _errors(self, weights: Sequence[FloatArray]) -> list[tuple[FloatArray, FloatArray]]:
        """RMSE and MAE of each fold on its test paths for each set of averaged weights."""
        stacked = np.stack(weights)  # (n_sizes, n_folds, n_features + 1)
        rmse, mae = np.empty(stacked.shape[:2]), np.empty(stacked.shape[:2])
        for i, fold in enumerate(np.unique(self.folds)):
            rows = self.folds == fold
            predicted = self.data.features[rows] @ stacked[:, i, :-1].T + stacked[:, i, -1]
            errors = predicted - self.data.energies[rows, None]
            rmse[:, i] = np.sqrt(np.mean(errors**2, axis=0))
            mae[:, i] = np.abs(errors).mean(axis=0)
        return list(zip(rmse, mae, strict=True))

    def _card(self, size: PrunedSize) -> dict[str, Any]:
        fields = needed(self.ensemble.scattering.labels, size.columns)
        return {
            "from_model": self.ensemble.model_id,
            "features": len(size.columns),
            "features_before": int(self.ensemble.weights.any(axis=0).sum()),
            "second_order_fields": sum(map(len, fields.second.values())),
            "rmse_rise": size.rise,
        }

    def _errors_card(self, size: PrunedSize) -> dict[str, Any]:
        folds = [
            known | {"rmse": float(r), "mae": float(m)}
            for known, r, m in zip(self.ensemble.card["errors"]["folds"], size.rmse, size.mae, strict=True)
        ]
        errors: dict[str, Any] = self.ensemble.card["errors"]
        return errors | {
            "folds": folds,
            "rmse_mean": float(size.rmse.mean()),
            "rmse_std": float(size.rmse.std()),
            "mae_mean": float(size.mae.mean()),
            "mae_std": float(size.mae.std()),
            "n_selected_mean": float(len(size.columns) + 1),
            "n_selected_std": 0.0,
        }


def _gram(ensemble: Ensemble, data: TrainingData, columns: IntArray) -> tuple[FloatArray, FloatArray]:
    """Gram matrix of unit columns and bias, shape (n + 1, n + 1), and the factors that make them unit.

    Conditions of invariance enter as in the training, so that the pruned model answers to them alike.
    """
    rows = _even(len(data.features), 1.0)
    X = np.column_stack([data.features[np.ix_(rows, columns)], np.ones(len(rows))])
    invariance = float(ensemble.card["settings"]["invariance"])
    if data.differences is not None and invariance > 0:
        share = len(rows) / len(data.features)
        D = invariance * data.differences[np.ix_(_even(len(data.differences), share), columns)]
        X = np.vstack([X, np.column_stack([D, np.zeros(len(D))])])
    largest = np.abs(X).max(axis=0)
    X /= np.where(largest > 0, largest, 1.0)
    norms = np.sqrt(np.einsum("ij,ij->j", X, X))
    X /= np.where(norms > 0, norms, 1.0)
    scale = 1.0 / (np.where(largest > 0, largest, 1.0) * np.where(norms > 0, norms, 1.0))
    return X.T @ X, scale


def _even(n: int, share: float) -> IntArray:
    """Evenly spaced rows: a share of n, and at most MAX_ROWS."""
    count = min(max(1, round(share * n)), MAX_ROWS)
    return np.arange(n) if count == n else np.linspace(0, n - 1, count).astype(np.int64)


def _fold_means(weights: FloatArray, fold: IntArray) -> FloatArray:
    return np.stack([weights[fold == f].mean(axis=0) for f in np.unique(fold)])
