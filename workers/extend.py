"""New relaxation paths join a trained ensemble: only models that draw them change.

Each new path gets a test fold and a number of draws for each model; folds and draws of the paths that are
there stay as they are. A model that does not draw a new path has no new training data and is kept. The others
keep their features and get the weights of the least-squares fit to all of their rows. So the result is, up to
rounding, what fitting the features of the ensemble anew to everything gives. Training anew would also choose
the features again, and their number: with the new path among the out-of-bag paths of those that do not draw
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.blocks import take
from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError, DataError
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.least_squares import qr_path
from atomscatter.metrics import mae, rmse
from atomscatter.resampling import bootstrap_weights, model_rng, new_path_draws
from service.training import (
    Store,
    TrainingData,
    folds_of_paths,
    joined_hash,
    require_trained_on,
    training_data,
)
from workers.train import design_matrix, sort_by_path


@dataclass(frozen=True)
class Resampling:
    """Which path tests and trains which model."""

    names: tuple[str, ...]
    """Paths in alphabetical order, shape (n_paths,)."""
    path_fold: IntArray
    """Test fold of each path, shape (n_paths,)."""
    draws: IntArray
    """How often each model draws each path, shape (n_models, n_paths)."""


def extend(
    ensemble: Ensemble,
    known: Sequence[Store],
    new: Sequence[Store],
    *,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Ensemble, IntArray]:
    """Extend an ensemble by the relaxation paths of further feature stores.

    Args:
        known: stores that the ensemble was trained on, in the same order.
        new: stores with new paths.
        on_progress: called with the number of models that are ready.

    Returns:
        the extended ensemble and the numbers of the models that changed.

    Raises:
        ModelError: ``known`` is not what the ensemble was trained on.
        ConfigError: the ensemble was not bagged or was pruned; stores of another transform.
        DataError: a path is not new, or there is none.
    """
    require_trained_on(ensemble, joined_hash(known), known[0].scattering_config, "an extension")
    settings = _settings(ensemble)
    names = list(dict.fromkeys(str(p) for store in new for p in store.path_ids))
    old = {str(p) for store in known for p in store.path_ids} & set(names)
    if old:
        raise DataError(f"path {min(old)} is known already; an extension adds whole new paths")
    if not names:
        raise DataError("no new path")
    data = training_data([*known, *new])
    resampling = resampling_of(ensemble, data, names)
    joined = np.isin(resampling.names, names)
    changed = np.flatnonzero(resampling.draws[:, joined].any(axis=1))
    weights, bias, n_selected = ensemble.weights.copy(), ensemble.bias.copy(), ensemble.n_selected.copy()
    with threadpool_limits(1):  # with more, sums would depend on how many the machine has
        rows = _Rows.of(data, float(settings["invariance"]))
        for count, model in enumerate(changed.tolist(), start=1):
            columns = np.flatnonzero(ensemble.weights[model])
            weights[model, columns], bias[model] = rows.fit(
                columns, bool(ensemble.bias[model]), resampling.draws[model]
            )
            n_selected[model] = np.count_nonzero(weights[model]) + bool(bias[model])
            if on_progress is not None:
                on_progress(count)
    path = dict(zip(resampling.names, resampling.path_fold.tolist(), strict=True))
    folds = np.array([path[name] for name in data.path_ids])
    extended = replace(
        ensemble,
        weights=weights,
        bias=bias,
        n_selected=n_selected,
        data_hash=data.data_hash,
        extrapolation=ExtrapolationModel.fit(data.features, weights.mean(axis=0), folds),
    )
    return replace(extended, card=_card(extended, data, folds, names)), changed


def resampling_of(ensemble: Ensemble, data: TrainingData, new: Sequence[str]) -> Resampling:
    """Folds and draws after an extension by ``new`` paths: those of the training, and of all that joined
    since."""
    settings = ensemble.card["settings"]
    added = [*ensemble.card.get("added_paths", []), *new]
    folds = folds_of_paths(ensemble.card | {"added_paths": added}, data)
    base = [name for name in folds if name not in added]
    draws = dict(
        zip(base, _training_draws(settings, np.array([folds[name] for name in base])).T, strict=True)
    )
    for name in added:
        draws[name] = new_path_draws(settings["seed"], name, folds[name], ensemble.fold)
    names = tuple(sorted(folds))
    return Resampling(names, np.array([folds[n] for n in names]), np.stack([draws[n] for n in names], axis=1))


def _training_draws(settings: dict[str, Any], path_fold: IntArray) -> IntArray:
    """Bootstraps of the training, shape (n_models, n_paths)."""
    n_paths = len(path_fold)
    return np.stack([
        bootstrap_weights(np.flatnonzero(path_fold != fold), n_paths, model_rng(settings["seed"], fold, i))
        for fold in range(settings["folds"])
        for i in range(settings["bootstraps"])
    ])  # fmt: skip


def _settings(ensemble: Ensemble) -> dict[str, Any]:
    settings: dict[str, Any] = ensemble.card["settings"]
    if settings["selection"] != "bagged" or "pruned" in ensemble.card:
        raise ConfigError(f"model {ensemble.model_id} was not bagged, or pruned: it cannot be extended")
    return settings


@dataclass(frozen=True)
class _Rows:
    """Structures and conditions of invariance, sorted by path, with the scaled features of a training."""

    X: FloatArray  # (n, n_features + 1), bias last
    y: FloatArray  # (n,), eV/atom
    scales: FloatArray  # (n_features + 1,)
    path: IntArray  # (n,), in alphabetical order of the names

    @classmethod
    def of(cls, data: TrainingData, invariance: float) -> _Rows:
        n_conditions = 0 if data.differences is None or invariance == 0 else len(data.differences)
        order, offsets, _ = sort_by_path(data, n_conditions)
        X, scales = design_matrix(data, invariance, order, np.arange(data.features.shape[1]))
        y = np.concatenate([data.energies, np.zeros(n_conditions)])[order]
        return cls(X, y, scales, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))

    def fit(self, features: IntArray, with_bias: bool, draws: IntArray) -> tuple[FloatArray, float]:
        """Least-squares weights of some features, shape (n,), and the bias; of the unscaled features.

        A column that depends on others in the new rows keeps no weight.
        """
        columns = np.append(features, self.X.shape[1] - 1) if with_bias else features
        train = np.flatnonzero(draws[self.path])
        root = np.sqrt(draws[self.path[train]].astype(np.float64))
        path = qr_path(take(self.X, train, columns) * root[:, None], self.y[train] * root, columns)
        weights = np.zeros(self.X.shape[1])
        weights[path.order] = path.weights(len(path.order)) * self.scales[path.order]
        return weights[features], float(weights[-1])


def _card(ensemble: Ensemble, data: TrainingData, folds: IntArray, new: list[str]) -> dict[str, Any]:
    """The card of the training with errors, counts and new paths brought up to date."""
    errors = []
    for fold in range(len(ensemble.card["errors"]["folds"])):
        test = folds == fold
        models = ensemble.fold == fold
        predicted = data.features[test] @ ensemble.weights[models].mean(axis=0) + ensemble.bias[models].mean()
        errors.append({
            "fold": fold,
            "n_paths": len({p for p, t in zip(data.path_ids, test, strict=True) if t}),
            "n_structures": int(test.sum()),
            "rmse": rmse(predicted, data.energies[test]),
            "mae": mae(predicted, data.energies[test]),
        })  # fmt: skip
    summary: dict[str, Any] = {"folds": errors}
    for name in ("rmse", "mae"):
        values = np.array([e[name] for e in errors])
        summary |= {f"{name}_mean": float(values.mean()), f"{name}_std": float(values.std())}
    summary["n_selected_mean"] = float(ensemble.n_selected.mean())
    summary["n_selected_std"] = float(ensemble.n_selected.std())
    with_conditions = data.differences is not None and ensemble.card["settings"]["invariance"] > 0
    return ensemble.card | {
        "errors": ensemble.card["errors"] | summary,
        "n_structures": len(data.features),
        "n_invariance_conditions": len(data.difference_paths) if with_conditions else 0,
        "n_paths": len(set(data.path_ids)),
        "added_paths": [*ensemble.card.get("added_paths", []), *new],
    }
