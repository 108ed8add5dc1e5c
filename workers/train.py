"""Training of the averaged model: 5 folds x 100 bootstraps of relaxation paths, fitted by Ray actors.

The scaled features lie once in Ray's object store and every actor reads them there. A unit of work is a fixed
batch of models of one fold; neither the batches nor the random numbers of a model depend on the number of
workers, so the result is the same, byte for byte, for any number of workers and any order of completion.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError, DataError, FitError
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.gram import weighted_grams
from atomscatter.metrics import mae, rmse
from atomscatter.resampling import bootstrap_weights, model_rng, nested_split_weights, path_folds
from atomscatter.scattering import Scattering
from atomscatter.selection import column_scales, fit_model, number_drawn
from workers.cluster import connect
from workers.pool import run_units

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Orders = Literal["0-2", "0-1"]
Selection = Literal["bagged", "full"]

NESTED_SPLITS = 4
"""Models for each test fold without randomisation (appendix C of the paper)."""

GRAM_FROM_ROWS = 2500
"""Structures from which on the features are chosen from Gram matrices; with fewer, the rows are faster.
Measured with 3,741 columns: both take as long at 2,200 structures and 1,000 features, at 5,500 and 300."""

_GRAM_BYTES = 3 * 10**9  # Gram matrices that an actor holds at a time
_GRAM_BATCH = 25  # models that share the products of single paths
_ROWS_BATCH = 10
_CURVE_POINTS = 60


class Store(Protocol):
    """What training needs of a feature store; n structures."""

    @property
    def features(self) -> Any:
        """Array-like, shape (n, n_features)."""

    @property
    def energies(self) -> Any:
        """Total energies, shape (n,), eV."""

    @property
    def n_atoms(self) -> Any:
        """Number of atoms, shape (n,)."""

    @property
    def path_ids(self) -> Sequence[str]:
        """Relaxation path of each structure."""

    @property
    def compositions(self) -> Sequence[str]:
        """Reduced formula of each structure."""

    @property
    def originals(self) -> Any:
        """Row of which each row is a translated copy, -1 for the structures themselves, shape (n,)."""

    @property
    def scattering_config(self) -> dict[str, Any]:
        """Configuration of the transform."""

    @property
    def data_hash(self) -> str:
        """Hash of structures and energies."""


@dataclass(frozen=True)
class TrainingData:
    """Features and energies of n structures in relaxation paths."""

    features: FloatArray
    """Shape (n, n_features)."""
    energies: FloatArray
    """Shape (n,), eV/atom."""
    path_ids: tuple[str, ...]
    """Relaxation path of each structure."""
    compositions: tuple[str, ...]
    """Reduced formula of each structure; a path has that of its first structure."""
    feature_orders: IntArray
    """Scattering order of each feature, shape (n_features,)."""
    scattering_config: dict[str, Any]
    data_hash: str
    differences: FloatArray | None = None
    """Features of translated copies minus those of their originals, shape (n_copies, n_features); None: no
    copies. An exact transform would give zeros."""
    difference_paths: tuple[str, ...] = ()
    """Relaxation path of each difference."""

    def __post_init__(self) -> None:
        n = len(self.features)
        if n == 0:
            raise DataError("there are no structures to train on")
        if not len(self.energies) == len(self.path_ids) == len(self.compositions) == n:
            raise DataError(
                f"{n} structures have {len(self.energies)} energies, {len(self.path_ids)} path ids and "
                f"{len(self.compositions)} compositions"
            )
        if self.features.shape[1:] != self.feature_orders.shape:
            raise DataError(f"{self.features.shape[1]} features have {len(self.feature_orders)} labels")
        bad = np.flatnonzero(~np.isfinite(self.energies))
        if len(bad):
            raise DataError(f"structure {bad[0]} (path {self.path_ids[bad[0]]}) has no finite energy")
        # One sum instead of a mask of the size of the features; it can only be finite when they all are, or
        # nearly.
        with np.errstate(invalid="ignore", over="ignore"):
            total = self.features.sum()
        if not np.isfinite(total):
            bad = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
            if len(bad):
                raise DataError(
                    f"structure {bad[0]} (path {self.path_ids[bad[0]]}) has a feature that is not finite"
                )


@dataclass(frozen=True)
class FitSettings:
    """How the models are drawn and fitted. Raises ConfigError for a value that cannot work."""

    folds: int = 5
    """Test folds."""
    bootstraps: int = 100
    """Models for each fold (bagged); without randomisation there are 4."""
    max_features: int = 1000
    """Largest number of features M_max, bias included."""
    seed: int = 0
    """Root of all random numbers."""
    orders: Orders = "0-2"
    """Scattering orders of the features that may be chosen."""
    selection: Selection = "bagged"
    """``bagged``: bootstraps, about sqrt(d + 1) columns drawn at each step. ``full``: appendix C of the
    paper, nested 4-fold cross-validation, all columns at each step."""
    invariance: float = 30.0
    """Weight of invariance: features of randomly translated copies differ from their originals by the error
    of the grids, and each difference d enters the training set as a condition (invariance * d) . w = 0. So
    the fit prefers combinations of features that the grids do not disturb. 0: the paper's fit."""

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("bootstraps", 1), ("max_features", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not (math.isfinite(self.invariance) and self.invariance >= 0):
            raise ConfigError(f"invariance must be a number >= 0, got {self.invariance}")
        if self.orders not in ("0-2", "0-1"):
            raise ConfigError(f"orders must be 0-2 or 0-1, got {self.orders!r}")
        if self.selection not in ("bagged", "full"):
            raise ConfigError(f"selection must be bagged or full, got {self.selection!r}")

    @property
    def models_per_fold(self) -> int:
        """Models for each test fold."""
        return self.bootstraps if self.selection == "bagged" else NESTED_SPLITS

    def n_drawn(self, n_columns: int) -> int:
        """Columns that are drawn at each greedy step."""
        return number_drawn(n_columns) if self.selection == "bagged" else n_columns


@dataclass(frozen=True)
class FoldErrors:
    """Errors of the averaged model of one fold on its test paths, eV/atom."""

    fold: int
    n_paths: int
    n_structures: int
    rmse: float
    mae: float


@dataclass(frozen=True)
class TrainingReport:
    """What is known about the errors of a trained ensemble. Energies and errors in eV/atom."""

    folds: tuple[FoldErrors, ...]
    sizes: IntArray
    """Numbers of features M for which the learning curves are given, shape (n_sizes,)."""
    train_rmse: FloatArray
    """Weighted training RMSE at each size, mean over the models that reached it, shape (n_sizes,)."""
    oob_rmse: FloatArray
    """RMSE on the out-of-bag paths, like ``train_rmse``."""
    test_rmse: FloatArray
    """RMSE of the single models on the test paths, like ``train_rmse``."""
    n_selected: IntArray
    """M* of each model, shape (n_models,)."""
    out_of_fold: FloatArray
    """Each structure predicted by the averaged model of the fold whose test set it is in, shape (n,),
    eV/atom."""
    energies: FloatArray
    """Reference energies, shape (n,), eV/atom."""
    fold_of_structure: IntArray
    """Test fold of each structure, shape (n,)."""
    n_used_qr: int
    """Models for which the Gram matrix was too inaccurate, so that a QR of the rows took its place."""
    processor_seconds: tuple[float, float]
    """Processor time of all workers for Gram matrices and for the rest of the fits."""
    seconds: float = 0.0
    """Wall time of the training."""

    def summary(self) -> dict[str, Any]:
        """The numbers for the model card, JSON values; errors in eV/atom, mean and standard deviation over
        the folds."""
        errors = {name: np.array([getattr(f, name) for f in self.folds]) for name in ("rmse", "mae")}
        return {
            "unit": "eV/atom",
            "folds": [asdict(f) for f in self.folds],
            **{f"{name}_mean": float(v.mean()) for name, v in errors.items()},
            **{f"{name}_std": float(v.std()) for name, v in errors.items()},
            "n_selected_mean": float(self.n_selected.mean()),
            "n_selected_std": float(self.n_selected.std()),
            "n_models_by_qr": self.n_used_qr,
        }


@dataclass(frozen=True)
class _Problem:
    """The training data as the actors need it, without the features: n rows sorted by path."""

    y: FloatArray  # (n,), eV/atom
    path_offsets: IntArray  # (n_paths + 1,)
    path_fold: IntArray  # (n_paths,)
    settings: FitSettings
    sizes: IntArray  # (n_sizes,)
    by_gram: bool  # whether features are chosen from Gram matrices
    is_structure: NDArray[np.bool_]  # (n,); the other rows are conditions of invariance

    @property
    def path_of_row(self) -> IntArray:
        """Path of each row, shape (n,)."""
        return np.repeat(np.arange(len(self.path_fold)), np.diff(self.path_offsets))


@dataclass(frozen=True)
class _Result:
    """One fitted model, as an actor returns it."""

    columns: IntArray
    weights: FloatArray
    curves: FloatArray  # (3, n_sizes): train, out-of-bag, test RMSE, eV/atom; NaN beyond the last step
    used_qr: bool
    seconds: tuple[float, float]  # processor time for its Gram matrix and for the rest


class _FitWorker:
    """Fits batches of models; runs in a Ray actor."""

    def __init__(self, X: FloatArray, problem: _Problem) -> None:
        self.X = X
        self.problem = problem

    def fit(self, fold: int, first: int, stop: int) -> list[_Result]:
        """Models first .. stop - 1 of a fold."""
        # One thread: with more, sums would depend on how many the machine has.
        with threadpool_limits(1):
            return self._fit(fold, first, stop)

    def _fit(self, fold: int, first: int, stop: int) -> list[_Result]:
        problem, X = self.problem, self.X
        rngs = [model_rng(problem.settings.seed, fold, i) for i in range(first, stop)]
        path_weights = self._path_weights(fold, first, stop, rngs)
        path_of_row = problem.path_of_row
        test = np.flatnonzero((problem.path_fold[path_of_row] == fold) & problem.is_structure)
        began = time.process_time()
        grams = None
        if problem.by_gram:
            grams = weighted_grams(X, problem.path_offsets, path_weights.astype(np.float64))
        gram_seconds = (time.process_time() - began) / (stop - first)
        results = []
        for i, (weights, rng) in enumerate(zip(path_weights, rngs, strict=True)):
            began = time.process_time()
            out_of_bag = (problem.path_fold != fold) & (weights == 0)
            model = fit_model(
                X,
                problem.y,
                weights[path_of_row].astype(np.float64),
                np.flatnonzero(out_of_bag[path_of_row] & problem.is_structure),
                max_features=problem.settings.max_features,
                n_draw=problem.settings.n_drawn(X.shape[1]),
                rng=rng,
                gram=None if grams is None else grams[i],
                structures=problem.is_structure,
            )
            reached = problem.sizes[problem.sizes <= len(model.order)]
            curves = np.full((3, len(problem.sizes)), np.nan)
            curves[0, : len(reached)] = model.train_rmse[reached - 1]
            curves[1, : len(reached)] = model.oob_rmse[reached - 1]
            curves[2, : len(reached)] = model.rmse_at(reached, X, problem.y, test)
            seconds = (gram_seconds, time.process_time() - began)
            results.append(_Result(model.columns, model.weights, curves, model.used_qr, seconds))
        return results

    def _path_weights(
        self, fold: int, first: int, stop: int, rngs: Sequence[np.random.Generator]
    ) -> IntArray:
        """How often each path is drawn for each model, shape (n_models, n_paths)."""
        path_fold = self.problem.path_fold
        train_paths, n_paths = np.flatnonzero(path_fold != fold), len(path_fold)
        if self.problem.settings.selection == "bagged":
            return np.stack([bootstrap_weights(train_paths, n_paths, rng) for rng in rngs])
        # One split for the whole fold, whichever of its models this batch holds.
        split_rng = model_rng(self.problem.settings.seed, fold, NESTED_SPLITS)
        return nested_split_weights(train_paths, n_paths, NESTED_SPLITS, split_rng)[first:stop]


def training_data(stores: Store | Sequence[Store]) -> TrainingData:
    """Training data of one or several feature stores; equal path ids in two stores are one path.

    Raises ConfigError when the stores were made with different scattering configurations, DataError for
    unusable energies or features.
    """
    found: list[Store] = list(stores) if isinstance(stores, (list, tuple)) else [stores]  # type: ignore[list-item]
    if not found:
        raise DataError("there is no feature store to train on")
    config = found[0].scattering_config
    for i, store in enumerate(found[1:], start=1):
        if store.scattering_config != config:
            raise ConfigError(
                f"feature store {i} was made with another scattering configuration than store 0"
            )
    hashes = [store.data_hash for store in found]
    features = np.concatenate([np.asarray(s.features, dtype=np.float64) for s in found])
    energies = np.concatenate([np.asarray(s.energies, float) / np.asarray(s.n_atoms) for s in found])
    path_ids = [str(p) for s in found for p in s.path_ids]
    compositions = [str(c) for s in found for c in s.compositions]
    originals = _joined_originals(found)
    kept, copies = np.flatnonzero(originals < 0), np.flatnonzero(originals >= 0)
    return TrainingData(
        features=features[kept],
        energies=energies[kept],
        path_ids=tuple(path_ids[i] for i in kept),
        compositions=tuple(compositions[i] for i in kept),
        feature_orders=np.array([label.order for label in Scattering.from_config(config).labels]),
        scattering_config=config,
        data_hash=hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest(),
        differences=features[copies] - features[originals[copies]] if len(copies) else None,
        difference_paths=tuple(path_ids[i] for i in copies),
    )


def _joined_originals(stores: Sequence[Store]) -> IntArray:
    """``originals`` of all stores, as rows of the stores one after the other."""
    parts, start = [], 0
    for store in stores:
        part = np.asarray(store.originals)
        parts.append(np.where(part < 0, -1, part + start))
        start += len(part)
    return np.concatenate(parts)


def train(
    stores: Store | Sequence[Store],
    *,
    folds: int = 5,
    bootstraps: int = 100,
    max_features: int = 1000,
    seed: int = 0,
    workers: int | None = None,
    address: str | None = None,
    orders: Orders = "0-2",
    selection: Selection = "bagged",
    invariance: float = FitSettings.invariance,
    references: Mapping[str, float] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Ensemble, TrainingReport]:
    """Train the averaged model on feature stores; see :class:`FitSettings` for the parameters and
    :func:`train_on`."""
    settings = FitSettings(folds, bootstraps, max_features, seed, orders, selection, invariance)
    return train_on(
        training_data(stores),
        settings,
        workers=workers,
        address=address,
        references=references,
        on_progress=on_progress,
    )


def train_on(
    data: TrainingData,
    settings: FitSettings,
    *,
    workers: int | None = None,
    address: str | None = None,
    references: Mapping[str, float] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Ensemble, TrainingReport]:
    """Train ``folds`` x ``bootstraps`` models and average them.

    Parameters
    ----------
    workers, address : see :func:`workers.cluster.connect`.
    references : energy of each element in its reference state, eV/atom, for formation energies.
    on_progress : called in this process with the number of models that are ready.

    Raises FitError for fewer relaxation paths than folds, WorkerError when workers die again and again.
    """
    began = time.perf_counter()
    differences = data.differences if settings.invariance > 0 else None
    n_structures, n_conditions = len(data.features), 0 if differences is None else len(differences)
    row_order, offsets, compositions = _sort_by_path(data, n_conditions)
    path_fold = path_folds(compositions, settings.folds, settings.seed)
    if settings.folds == len(path_fold) == 2:
        raise FitError("2 relaxation paths in 2 folds leave 1 path to train on; at least 3 paths are needed")
    columns = np.flatnonzero(data.feature_orders <= (1 if settings.orders == "0-1" else 2))
    X, scales = _design_matrix(data, settings.invariance, row_order, columns)
    problem = _Problem(
        y=np.concatenate([data.energies, np.zeros(n_conditions)])[row_order],
        path_offsets=offsets,
        path_fold=path_fold,
        settings=settings,
        sizes=_curve_sizes(settings, X.shape[1]),
        by_gram=len(X) >= GRAM_FROM_ROWS,
        is_structure=row_order < n_structures,
    )
    results = _fit_all(X, problem, workers, address, on_progress)
    with threadpool_limits(1):
        report = _report(X, problem, results, row_order)
        ensemble = _average(data, problem, results, columns, scales, references, report)
    report = replace(report, seconds=time.perf_counter() - began)
    ensemble.card["environment"]["seconds"] = report.seconds
    return ensemble, report


def _sort_by_path(data: TrainingData, n_conditions: int) -> tuple[IntArray, IntArray, list[str]]:
    """Row order that puts the rows of a path together, offsets of the paths, composition of each path.

    Rows are the structures and, after them, the first ``n_conditions`` differences.
    """
    path_ids = np.array(data.path_ids + data.difference_paths[:n_conditions])
    names, first, path = np.unique(path_ids, return_index=True, return_inverse=True)
    row_order = np.argsort(path, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(path, minlength=len(names)))])
    return row_order, offsets, [data.compositions[i] for i in first]


def _design_matrix(
    data: TrainingData, invariance: float, rows: IntArray, columns: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Scaled features and bias as last column, shape (n, n_columns + 1), and the scales, shape
    (n_columns + 1,). Rows from the number of structures on are conditions of invariance, with bias 0."""
    n_structures = len(data.features)
    X = np.ones((len(rows), len(columns) + 1))
    # Row by row: no second copy of a matrix that may have gigabytes.
    for i, row in enumerate(rows):
        if row < n_structures or data.differences is None:
            X[i, :-1] = data.features[row, columns]
        else:
            X[i, :-1] = invariance * data.differences[row - n_structures, columns]
            X[i, -1] = 0.0
    scales = column_scales(X)
    X *= scales
    return X, scales


def _curve_sizes(settings: FitSettings, n_columns: int) -> IntArray:
    """Numbers of features at which learning curves are kept, evenly spaced on a logarithmic axis."""
    largest = min(settings.max_features, n_columns)
    return np.unique(np.round(np.geomspace(1, largest, _CURVE_POINTS)).astype(np.int64))


def _units(problem: _Problem, n_columns: int) -> dict[str, tuple[int, int, int]]:
    """Batches of models: fold, first model, one past the last."""
    n_models, units = problem.settings.models_per_fold, {}
    for fold in range(problem.settings.folds):
        batch = _ROWS_BATCH
        if problem.by_gram:
            batch = max(1, min(_GRAM_BATCH, _GRAM_BYTES // (8 * n_columns**2)))
        elif problem.settings.selection == "full":
            batch = 1
        for first in range(0, n_models, batch):
            stop = min(first + batch, n_models)
            units[f"fold {fold}, models {first} to {stop - 1}"] = (fold, first, stop)
    return units


def _fit_all(
    X: FloatArray,
    problem: _Problem,
    workers: int | None,
    address: str | None,
    on_progress: Callable[[int], None] | None,
) -> list[list[_Result]]:
    """Results by fold and model."""
    import ray

    units = _units(problem, X.shape[1])
    results: dict[tuple[int, int], _Result] = {}

    def keep(unit: str, batch: list[_Result]) -> None:
        fold, first, _ = units[unit]
        results.update({(fold, first + i): result for i, result in enumerate(batch)})
        if on_progress is not None:
            on_progress(len(results))

    with connect(address, workers, object_store_bytes=X.nbytes + 2**28) as n_workers:
        shared = ray.put(X)
        actor = ray.remote(num_cpus=1)(_FitWorker)
        run_units(lambda: actor.remote(shared, problem), units, "fit", n_workers=n_workers, on_result=keep)
    n_models = problem.settings.models_per_fold
    return [[results[fold, i] for i in range(n_models)] for fold in range(problem.settings.folds)]


def _mean_weights(results: Sequence[_Result], n_columns: int) -> FloatArray:
    """Averaged weights of the scaled columns, shape (n_columns,)."""
    mean = np.zeros(n_columns)
    for result in results:
        mean[result.columns] += result.weights / len(results)
    return mean


def _report(
    X: FloatArray, problem: _Problem, results: list[list[_Result]], row_order: IntArray
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
    )


def _average(
    data: TrainingData,
    problem: _Problem,
    results: list[list[_Result]],
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
            | {"columns": len(columns) + 1, "columns_drawn": settings.n_drawn(len(columns) + 1)},
            "n_structures": len(data.features),
            "n_paths": len(problem.path_fold),
            "n_invariance_conditions": int(np.count_nonzero(~problem.is_structure)),
            "errors": report.summary(),
            "environment": _environment(),
        },
    )


def _environment() -> dict[str, Any]:
    """Versions, hardware and date: what is known about the machine, without influence on the model id."""
    packages = ("numpy", "scipy", "numba", "ray", "ase")
    try:
        own = importlib.metadata.version("atomscatter")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"atomscatter": own, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    """Name of the processor; the platform module does not know it on Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
