"""Changes of the fit, each alone: what benchmarks/fit_options.py compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from error_tables import fold_weights
from group_selection import choose, groups_of
from peer_fits import Ridge, Sets

from atomscatter.ensemble import Ensemble
from atomscatter.gram import weighted_grams, weighted_products
from atomscatter.resampling import bootstrap_weights, model_rng
from atomscatter.scattering import Scattering
from atomscatter.selection import number_drawn, squared_errors
from service import defaults
from service.path_steps import rows_of_steps
from service.spacing import evenly
from service.training import FitSettings, TrainingData
from workers.train import design_matrix, sort_by_path, train_on

Predicted = dict[str, np.ndarray]
BATCH, MAX_GROUPS = 25, 120


@dataclass(frozen=True)
class Outcome:
    """What an option gives.

    Attributes:
        predicted: energies of every fold, shape (n_folds, n), for each set, eV/atom.
        size: number of models and of features, for the tables.
        weights: of the averaged model of each fold, shape (n_folds, n_features), where there is one.
    """

    predicted: Predicted
    size: str
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Study:
    """Data, sets and the fits that several options start from."""

    data: TrainingData
    sets: Sets
    features: dict[str, np.ndarray]
    settings: FitSettings  # the paper's

    @property
    def package_settings(self) -> FitSettings:
        """The package's fit, with as many models of at most as many features."""
        package = {"invariance": FitSettings.invariance, "channel_share": FitSettings.channel_share}
        return replace(self.settings, **package)

    @property
    def fold_of_path(self) -> np.ndarray:
        """Test fold of each path, in the order of their names."""
        return np.array([self.sets.fold_of_path[name] for name in sorted(self.sets.fold_of_path)])

    @cached_property
    def paper(self) -> Ensemble:
        """The paper's fit."""
        return self.trained(self.data, self.settings)

    def trained(self, data: TrainingData, settings: FitSettings) -> Ensemble:
        ensemble, report = train_on(data, settings)
        fold_of_path = dict(zip(data.path_ids, report.fold_of_structure.tolist(), strict=True))
        if fold_of_path != dict(self.sets.fold_of_path):
            raise SystemExit("the folds differ")
        return ensemble

    def predicted(self, ensemble: Ensemble) -> Predicted:
        return {kind: ensemble.fold_predictions(x) for kind, x in self.features.items()}

    def outcome(self, ensemble: Ensemble) -> Outcome:
        return Outcome(self.predicted(ensemble), mean_size(ensemble), fold_weights(ensemble))

    def model_energies(self, ensemble: Ensemble, kind: str) -> np.ndarray:
        """eV/atom, shape (n_folds, models of a fold, n)."""
        energies = self.features[kind] @ ensemble.weights.T + ensemble.bias
        return energies.T.reshape(self.settings.folds, -1, len(energies))

    def draws(self, fold: int) -> np.ndarray:
        """How often each path, in the order of names, is drawn for each model, shape (n_models, n_paths)."""
        training = np.flatnonzero(self.fold_of_path != fold)
        rngs = (model_rng(self.settings.seed, fold, i) for i in range(self.settings.bootstraps))
        return np.stack([bootstrap_weights(training, len(self.fold_of_path), rng) for rng in rngs])


def mean_size(ensemble: Ensemble) -> str:
    return f"{ensemble.n_models} x {ensemble.n_selected.mean():.0f}"


def paper(study: Study) -> Outcome:
    return study.outcome(study.paper)


def with_settings(**changes: float) -> Callable[[Study], Outcome]:
    """The paper's fit with other settings; with the package's weight of invariance, if none is given."""

    def predict(study: Study) -> Outcome:
        settings = replace(study.settings, invariance=FitSettings.invariance)
        return study.outcome(study.trained(study.data, replace(settings, **changes)))

    return predict


def median(study: Study) -> Outcome:
    ensemble = study.paper
    middle = {kind: np.median(study.model_energies(ensemble, kind), axis=1) for kind in study.features}
    return Outcome(middle, mean_size(ensemble))


def out_of_bag_weights(study: Study) -> Outcome:
    """Models weigh as the inverse of their squared out-of-bag error."""
    ensemble, y, fold = study.paper, study.data.energies, study.sets.fold
    path = np.unique(study.data.path_ids, return_inverse=True)[1]
    square = (study.model_energies(ensemble, "paths") - y) ** 2
    weights = np.empty(square.shape[:2])
    for k in range(len(weights)):
        for i, draws in enumerate(study.draws(k)):
            weights[k, i] = 1 / square[k, i, (fold != k) & (draws[path] == 0)].mean()
    weights /= weights.sum(axis=1, keepdims=True)
    averaged = {
        kind: np.einsum("ki,kin->kn", weights, study.model_energies(ensemble, kind))
        for kind in study.features
    }
    return Outcome(averaged, mean_size(ensemble))


def of_chosen(share: float, ridge: bool) -> Callable[[Study], Outcome]:
    """Least squares, or ridge, on the columns that this share of the models of a fold has chosen."""

    def predict(study: Study) -> Outcome:
        ensemble, predicted, sizes = study.paper, {kind: [] for kind in study.features}, []
        for k in range(study.settings.folds):
            chosen = np.flatnonzero((ensemble.weights[ensemble.fold == k] != 0).mean(axis=0) >= share)
            sizes.append(len(chosen))
            some = {kind: x[:, chosen] for kind, x in study.features.items()}
            found = Ridge().predict(study.sets, some).predicted if ridge else least_squares(study, some)
            for kind, energies in found.items():
                predicted[kind].append(energies[k])
        together = {kind: np.array(rows) for kind, rows in predicted.items()}
        return Outcome(together, f"{np.mean(sizes):.0f}")

    return predict


def least_squares(study: Study, features: Predicted) -> Predicted:
    fold, y = study.sets.fold, study.data.energies
    columns = {kind: np.column_stack([x, np.ones(len(x))]) for kind, x in features.items()}
    scale = 1 / np.linalg.norm(columns["paths"], axis=0)
    weights = [
        np.linalg.lstsq(columns["paths"][fold != k] * scale, y[fold != k], rcond=None)[0]
        for k in range(study.settings.folds)
    ]
    return {kind: np.array(weights) @ (x * scale).T for kind, x in columns.items()}


def ridge_of_all(study: Study) -> Outcome:
    predicted = Ridge().predict(study.sets, study.features).predicted
    return Outcome(predicted, str(study.features["paths"].shape[1]))


def with_ridge(study: Study) -> Outcome:
    """The mean of the paper's fit and of ridge on all columns: a linear model, too."""
    bagged, ridge = study.predicted(study.paper), Ridge().predict(study.sets, study.features).predicted
    mean = {kind: (bagged[kind] + ridge[kind]) / 2 for kind in ridge}
    return Outcome(mean, str(study.features["paths"].shape[1]))


def without_near_duplicates(near: float) -> Callable[[Study], Outcome]:
    """Of each path, only structures that differ by ``near`` from the last that was kept; and the last one."""

    def predict(study: Study) -> Outcome:
        part = apart(study.data, near)
        ensemble = study.trained(part, study.settings)
        size = f"{mean_size(ensemble)} ({len(part.energies)} structures)"
        return Outcome(study.predicted(ensemble), size)

    return predict


def at_most(steps: int, channel_share: float = FitSettings.channel_share) -> Callable[[Study], Outcome]:
    """The package's fit with so many structures of each path, those of ``atomscatter featurize --steps``."""

    def predict(study: Study) -> Outcome:
        part = thinned(study.data, steps)
        settings = replace(study.package_settings, channel_share=channel_share)
        ensemble = study.trained(part, settings)
        outcome = study.outcome(ensemble)
        return replace(outcome, size=f"{outcome.size} ({len(part.energies)} structures)")

    return predict


def counting_ends(first: int, last: int) -> Callable[[Study], Outcome]:
    """The package's fit, in which the first and the last structure of each path count several times."""

    def predict(study: Study) -> Outcome:
        path = np.array(study.data.path_ids)
        of_paths = [np.flatnonzero(path == name) for name in np.unique(path)]
        again = [[rows[0]] * (first - 1) + [rows[-1]] * (last - 1) for rows in of_paths]
        repeated = rows_of(study.data, np.append(np.arange(len(path)), again))
        return study.outcome(study.trained(repeated, study.package_settings))

    return predict


def thinned(data: TrainingData, steps: int) -> TrainingData:
    """At most ``steps`` structures of each path, and conditions of invariance, of any of its steps, as many
    as ``atomscatter featurize`` makes for so many structures."""
    part = rows_of(data, rows_of_steps(data.path_ids, steps))
    if data.differences is None:
        return part
    conditions = evenly(len(data.differences), round(defaults.COPIES * len(part.energies)))
    return replace(
        part,
        differences=data.differences[conditions],
        difference_paths=tuple(data.difference_paths[i] for i in conditions),
    )


def apart(data: TrainingData, near: float) -> TrainingData:
    """Structures of each path whose energies differ by ``near``, eV/atom, from one to the next; and its
    last."""
    kept = []
    path = np.array(data.path_ids)
    for name in np.unique(path):
        rows = np.flatnonzero(path == name)
        last = np.inf
        for row in rows:
            if abs(data.energies[row] - last) >= near or row == rows[-1]:
                kept.append(row)
                last = data.energies[row]
    return rows_of(data, np.sort(kept))


def rows_of(data: TrainingData, rows: np.ndarray) -> TrainingData:
    """Some of the structures, with the conditions of all."""
    return replace(
        data,
        features=data.features[rows],
        energies=data.energies[rows],
        path_ids=tuple(data.path_ids[i] for i in rows),
        compositions=tuple(data.compositions[i] for i in rows),
    )


def by_groups(study: Study) -> Outcome:
    """Groups of columns enter together; sizes by the out-of-bag error; bootstraps of the paper's fit."""
    data, fold_of_path = study.data, study.fold_of_path
    order, offsets, _ = sort_by_path(data, 0)
    X, scales = design_matrix(data, 0.0, order, np.arange(data.features.shape[1]))
    y, path = data.energies[order], np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    groups = groups_of(Scattering.from_config(data.scattering_config).labels)
    mean, sizes = np.zeros((study.settings.folds, X.shape[1])), []
    for k, draws in enumerate(map(study.draws, range(study.settings.folds))):
        for first in range(0, len(draws), BATCH):
            batch = draws[first : first + BATCH].astype(float)
            grams = weighted_grams(X, offsets, batch)
            products = weighted_products(X, y, offsets, batch)
            for i, product in enumerate(products):
                rng = model_rng(study.settings.seed, k, first + i)
                model, ends = choose(grams[i], product, groups, MAX_GROUPS, number_drawn(len(groups)), rng)
                out_of_bag = np.flatnonzero(((fold_of_path != k) & (batch[i] == 0))[path])
                size = ends[np.argmin(squared_errors(model, X, y, out_of_bag)[ends - 1])]
                mean[k, model.order[:size]] += model.weights(size) / len(draws)
                sizes.append(size)
    design = {kind: np.column_stack([x, np.ones(len(x))]) * scales for kind, x in study.features.items()}
    predicted = {kind: mean @ x.T for kind, x in design.items()}
    return Outcome(predicted, f"{len(sizes)} x {np.mean(sizes):.0f}")
