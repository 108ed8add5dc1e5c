"""Training of the averaged model: 5 folds x 100 bootstraps of relaxation paths, fitted by Ray actors.

The scaled features lie once in Ray's object store and every actor reads them there. A unit of work is a fixed
batch of models of one fold; neither the batches nor the random numbers of a model depend on the number of
workers, so the result is the same, byte for byte, for any number of workers and any order of completion.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from ase.formula import Formula
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.ensemble import Ensemble
from atomscatter.errors import FitError
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.gram import packed_bytes
from atomscatter.metrics import mae, rmse
from atomscatter.resampling import path_folds
from atomscatter.selection import column_scales
from service.environment import environment
from service.references import require_references
from service.training import (
    NESTED_SPLITS,
    FitSettings,
    FoldErrors,
    TrainingData,
    TrainingReport,
)
from workers.cluster import connect
from workers.fit_worker import FittedModel, FitWorker, Problem
from workers.pool import run_units

GRAM_FROM_ROWS = 2500
"""Structures from which on the features are chosen from Gram matrices; with fewer, the rows are faster.
Measured with 3,741 columns: both take as long at 2,200 structures and 1,000 features, at 5,500 and 300."""

_GRAM_BYTES = 3 * 10**9  # Gram matrices that an actor holds at a time
# Models that share the products of single paths. With few structures these products cost little beside the
# models, and more batches keep more workers busy.
_GRAM_BATCH = 25
_LARGE_GRAM_BATCH = 50
_LARGE_ROWS = 40_000
_ROWS_BATCH = 10
_COPIED_ROWS = 256


def train_on(
    data: TrainingData,
    settings: FitSettings,
    *,
    workers: int | None = None,
    address: str | None = None,
    references: Mapping[str, float] | None = None,
    curve_features: FloatArray | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Ensemble, TrainingReport]:
    """Train ``folds`` x ``bootstraps`` models and average them.

    Args:
        workers, address: see :func:`workers.cluster.connect`.
        references: energy of each element in its reference state, eV/atom, for formation energies.
        curve_features: features of further structures, shape (n_others, n_features), for whose learning
            curves the report keeps what the models of each size predict.
        on_progress: called in this process with the number of models that are ready.

    Raises:
        ConfigError: ``references`` lack an element of the data.
        FitError: too few relaxation paths to leave each fold two to train on (without randomisation, as many
            as there are nested splits).
        WorkerError: workers die again and again.
    """
    began = time.perf_counter()
    if references is not None:
        formulas = set(data.compositions)
        require_references(references, (symbol for f in formulas for symbol in Formula(f).count()))
    differences = data.differences if settings.invariance > 0 else None
    n_structures, n_conditions = len(data.features), 0 if differences is None else len(differences)
    row_order, offsets, compositions = sort_by_path(data, n_conditions)
    path_fold = path_folds(compositions, settings.folds, settings.seed)
    _require_training_paths(path_fold, settings)
    columns = settings.columns(data)
    X, scales = design_matrix(data, settings.invariance, row_order, columns)
    problem = Problem(
        y=np.concatenate([data.energies, np.zeros(n_conditions)])[row_order],
        path_offsets=offsets,
        path_fold=path_fold,
        settings=settings,
        by_gram=len(X) >= GRAM_FROM_ROWS,
        is_structure=row_order < n_structures,
        others=_scaled_rows(curve_features, columns, scales),
        channel=_channels(data, columns, np.asarray(X[:, :-1].any(axis=0))),
    )
    with _shared(X, workers, address) as (X, fit):
        results = fit(problem, on_progress)
        with threadpool_limits(1):
            report = _report(X, problem, results, row_order)
    with threadpool_limits(1):
        ensemble = _average(data, problem, results, columns, scales, references, report)
    report = replace(report, seconds=time.perf_counter() - began)
    ensemble.card["environment"]["seconds"] = report.seconds
    return ensemble, report


def _require_training_paths(path_fold: IntArray, settings: FitSettings) -> None:
    needed = 2 if settings.selection == "bagged" else NESTED_SPLITS
    least = len(path_fold) - int(np.bincount(path_fold).max())
    if least < needed:
        raise FitError(
            f"{len(path_fold)} relaxation paths in {settings.folds} folds leave {least} to train on, where "
            f"at least {needed} are needed"
        )


def sort_by_path(data: TrainingData, n_conditions: int) -> tuple[IntArray, IntArray, list[str]]:
    """Row order that puts the rows of a path together, offsets of the paths, composition of each path.

    Rows are the structures and, after them, the first ``n_conditions`` differences.
    """
    path_ids = np.array(data.path_ids + data.difference_paths[:n_conditions])
    names, first, path = np.unique(path_ids, return_index=True, return_inverse=True)
    row_order = np.argsort(path, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(path, minlength=len(names)))])
    return row_order, offsets, [data.compositions[i] for i in first]


def design_matrix(
    data: TrainingData, invariance: float, rows: IntArray, columns: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Scaled features and bias as last column, shape (n, n_columns + 1) in Fortran order, of which single
    columns are read fast, and the scales, shape (n_columns + 1,). Rows from the number of structures on are
    conditions of invariance, with bias 0."""
    n_structures = len(data.features)
    differences = np.empty((0, data.features.shape[1])) if data.differences is None else data.differences
    X = np.ones((len(rows), len(columns) + 1), order="F")
    # Some rows at a time: no second copy of a matrix that may have gigabytes.
    for start in range(0, len(rows), _COPIED_ROWS):
        copied = slice(start, min(start + _COPIED_ROWS, len(rows)))
        of_structures = rows[copied] < n_structures
        part = np.empty((len(of_structures), len(columns)))
        part[of_structures] = data.features[np.ix_(rows[copied][of_structures], columns)]
        conditions = rows[copied][~of_structures] - n_structures
        part[~of_structures] = invariance * differences[np.ix_(conditions, columns)]
        X[copied, :-1] = part
        X[copied, -1] = of_structures
    scales = column_scales(X)
    X *= scales
    return X, scales


def _scaled_rows(features: FloatArray | None, columns: IntArray, scales: FloatArray) -> FloatArray:
    """Further structures in the columns of the design matrix, shape (n, n_columns + 1)."""
    if features is None:
        return np.empty((0, len(columns) + 1))
    return np.column_stack([features[:, columns], np.ones(len(features))]) * scales


def _channels(data: TrainingData, columns: IntArray, nonzero: NDArray[np.bool_]) -> IntArray:
    """Number of the channel of each column of the design matrix, shape (n_columns + 1,); -1 for order 0, the
    bias, and columns of zeros, so that a channel without any other column is not drawn."""
    channels = np.full(len(columns) + 1, -1)
    numbered = np.flatnonzero((data.feature_orders[columns] > 0) & nonzero)
    if data.feature_channels is None:
        channels[numbered] = 0
    else:
        channels[numbered] = np.unique(data.feature_channels[columns[numbered]], return_inverse=True)[1]
    return channels


def _units(problem: Problem) -> dict[str, tuple[int, int, int]]:
    """Batches of models: fold, first model, one past the last."""
    n_models, units = problem.settings.models_per_fold, {}
    for fold in range(problem.settings.folds):
        batch = _ROWS_BATCH
        if problem.by_gram:
            batch = _GRAM_BATCH if len(problem.y) < _LARGE_ROWS else _LARGE_GRAM_BATCH
            batch = max(1, min(batch, _GRAM_BYTES // packed_bytes(problem.n_columns)))
        elif problem.settings.selection == "full":
            batch = 1
        for first in range(0, n_models, batch):
            stop = min(first + batch, n_models)
            units[f"fold {fold}, models {first} to {stop - 1}"] = (fold, first, stop)
    return units


@contextlib.contextmanager
def _shared(
    X: FloatArray, workers: int | None, address: str | None
) -> Iterator[tuple[FloatArray, Callable[..., list[list[FittedModel]]]]]:
    """Ray with ``X`` in its object store: the array there, to be used instead of the caller's until the block
    ends, and :func:`_fit_all` with this array and these workers."""
    import ray

    with connect(address, workers, object_store_bytes=X.nbytes + 2**28) as n_workers:
        reference = ray.put(X)
        del X  # the store's copy is enough: it may have gigabytes
        yield ray.get(reference), functools.partial(_fit_all, reference, n_workers)


def _fit_all(
    shared: Any, n_workers: int | None, problem: Problem, on_progress: Callable[[int], None] | None
) -> list[list[FittedModel]]:
    """Results by fold and model; ``shared`` is Ray's reference of the features."""
    import ray

    units = _units(problem)
    results: dict[tuple[int, int], FittedModel] = {}

    def keep(unit: str, batch: list[FittedModel]) -> None:
        fold, first, _ = units[unit]
        results.update({(fold, first + i): result for i, result in enumerate(batch)})
        if on_progress is not None:
            on_progress(len(results))

    actor = ray.remote(num_cpus=1)(FitWorker)
    run_units(lambda: actor.remote(shared, problem), units, "fit", n_workers=n_workers, on_result=keep)
    n_models = problem.settings.models_per_fold
    return [[results[fold, i] for i in range(n_models)] for fold in range(problem.settings.folds)]


def _mean_weights(results: Sequence[FittedModel], n_columns: int) -> FloatArray:
    """Averaged weights of the scaled columns, shape (n_columns,)."""
    mean = np.zeros(n_columns)
    for result in results:
        mean[result.columns] += result.weights / len(results)
    return mean


def _report(
    X: FloatArray, problem: Problem, results: list[list[FittedModel]], row_order: IntArray
) -> TrainingReport:
    fold_of_row = problem.path_fold[problem.path_of_row]
    predicted = np.empty(len(X))
    errors = []
    for fold, models in enumerate(results):
        test = (fold_of_row == fold) & problem.is_structure
        predicted[test] = X[test] @ _mean_weights(models, X.shape[1])
        n_paths = int(np.sum(problem.path_fold == fold))
        fold_rmse, fold_mae = rmse(predicted[test], problem.y[test]), mae(predicted[test], problem.y[test])
        errors.append(FoldErrors(fold, n_paths, int(test.sum()), fold_rmse, fold_mae))
    models = [model for fold in results for model in fold]
    curves = np.stack([model.curves for model in models])
    # A mean over a few models that went on longest would not be comparable with the sizes before.
    common = np.isfinite(curves[:, 0]).mean(axis=0) >= 0.5
    train_rmse, oob_rmse, test_rmse = np.nanmean(curves[:, :, common], axis=0)
    back = np.argsort(row_order)[: np.count_nonzero(problem.is_structure)]
    return TrainingReport(
        folds=tuple(errors),
        sizes=problem.sizes[common],
        train_rmse=train_rmse,
        oob_rmse=oob_rmse,
        test_rmse=test_rmse,
        n_selected=np.array([len(model.columns) for model in models]),
        out_of_fold=predicted[back],
        energies=problem.y[back],
        fold_of_structure=fold_of_row[back],
        n_used_qr=sum(model.used_qr for model in models),
        processor_seconds=(sum(m.seconds[0] for m in models), sum(m.seconds[1] for m in models)),
        others=np.stack([model.others for model in models])[:, common],
    )


def _average(
    data: TrainingData,
    problem: Problem,
    results: list[list[FittedModel]],
    columns: IntArray,
    scales: FloatArray,
    references: Mapping[str, float] | None,
    report: TrainingReport,
) -> Ensemble:
    """The ensemble in terms of the unscaled features."""
    models = [model for fold in results for model in fold]
    weights, bias = np.zeros((len(models), data.features.shape[1])), np.zeros(len(models))
    for i, model in enumerate(models):
        unscaled = model.weights * scales[model.columns]
        is_bias = model.columns == len(columns)
        weights[i, columns[model.columns[~is_bias]]] = unscaled[~is_bias]
        bias[i] = unscaled[is_bias].sum()
    settings = problem.settings
    return Ensemble(
        weights=weights,
        bias=bias,
        fold=np.repeat(np.arange(settings.folds), settings.models_per_fold),
        n_selected=report.n_selected,
        scattering_config=data.scattering_config,
        extrapolation=ExtrapolationModel.fit(data.features, weights.mean(axis=0), report.fold_of_structure),
        data_hash=data.data_hash,
        reference_energies=None if references is None else {k: float(v) for k, v in references.items()},
        card={
            "settings": asdict(settings)
            | {
                "columns": problem.n_columns,
                "columns_seen": problem.n_columns_seen,
                "columns_drawn": settings.n_drawn(problem.n_columns_seen),
                "channels": problem.n_channels,
                "channels_seen": settings.n_channels_seen(problem.n_channels),
            },
            "n_structures": len(data.features),
            "n_paths": len(problem.path_fold),
            "n_invariance_conditions": int(np.count_nonzero(~problem.is_structure)),
            "errors": report.summary(),
            "environment": environment(),
        },
    )
