"""The part of a training that runs in a Ray actor: fit a batch of models of one fold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.gram import weighted_grams, weighted_products
from atomscatter.learning_curves import curve_sizes, predictions_at
from atomscatter.resampling import bootstrap_weights, model_rng, nested_split_weights
from atomscatter.selection import drawn_channels, fit_model
from service.training import NESTED_SPLITS, FitSettings


@dataclass(frozen=True)
class Problem:
    """The training data as the actors need it, without the features: n rows sorted by path."""

    y: FloatArray  # (n,), eV/atom
    path_offsets: IntArray  # (n_paths + 1,)
    path_fold: IntArray  # (n_paths,)
    settings: FitSettings
    by_gram: bool  # whether features are chosen from Gram matrices
    is_structure: NDArray[np.bool_]  # (n,); the other rows are conditions of invariance
    others: FloatArray  # (n_others, n_columns): structures that models of all sizes are to predict
    channel: IntArray  # (n_columns,): number of the channel of each column; -1: every model sees it

    @property
    def path_of_row(self) -> IntArray:
        """Path of each row, shape (n,)."""
        return np.repeat(np.arange(len(self.path_fold)), np.diff(self.path_offsets))

    @property
    def n_columns(self) -> int:
        """Columns of the features, bias included."""
        return int(self.others.shape[1])

    @property
    def n_channels(self) -> int:
        """Channels that models see or not."""
        return int(self.channel.max(initial=-1)) + 1

    @property
    def n_columns_seen(self) -> int:
        """Columns that a model may choose, bias included: the most, where channels differ."""
        widths = np.sort(np.bincount(self.channel[self.channel >= 0], minlength=self.n_channels))
        n_seen = self.settings.n_channels_seen(self.n_channels)
        return int(np.count_nonzero(self.channel < 0) + widths[self.n_channels - n_seen :].sum())

    @cached_property
    def sizes(self) -> IntArray:
        """Numbers of features at which learning curves are kept, shape (n_sizes,)."""
        return curve_sizes(min(self.settings.max_features, self.n_columns_seen))


@dataclass(frozen=True)
class FittedModel:
    """One fitted model, as an actor returns it."""

    columns: IntArray
    weights: FloatArray
    curves: FloatArray  # (3, n_sizes): train, out-of-bag, test RMSE, eV/atom; NaN beyond the last step
    others: FloatArray  # (n_sizes, n_others): predicted energies, eV/atom; NaN beyond the last step
    used_qr: bool
    seconds: tuple[float, float]  # processor time for its Gram matrix and for the rest


class FitWorker:
    """Fits batches of models; runs in a Ray actor."""

    def __init__(self, X: FloatArray, problem: Problem) -> None:
        self.X = X
        self.problem = problem

    def fit(self, fold: int, first: int, stop: int) -> list[FittedModel]:
        """Models first .. stop - 1 of a fold."""
        # One thread: with more, sums would depend on how many the machine has.
        with threadpool_limits(1):
            return self._fit(fold, first, stop)

    def _fit(self, fold: int, first: int, stop: int) -> list[FittedModel]:
        problem, X = self.problem, self.X
        rngs = [model_rng(problem.settings.seed, fold, i) for i in range(first, stop)]
        path_weights = self._path_weights(fold, first, stop, rngs)
        path_of_row = problem.path_of_row
        test = np.flatnonzero((problem.path_fold[path_of_row] == fold) & problem.is_structure)
        began = time.process_time()
        grams = products = None
        if problem.by_gram:
            drawn = path_weights.astype(np.float64)
            grams = weighted_grams(X, problem.path_offsets, drawn)
            products = weighted_products(X, problem.y, problem.path_offsets, drawn)
        gram_seconds = (time.process_time() - began) / (stop - first)
        results = []
        for i, (weights, rng) in enumerate(zip(path_weights, rngs, strict=True)):
            began = time.process_time()
            out_of_bag = (problem.path_fold != fold) & (weights == 0)
            row_weights = weights[path_of_row].astype(np.float64)
            columns = self._columns(rng)
            model = fit_model(
                X,
                problem.y,
                row_weights,
                np.flatnonzero(out_of_bag[path_of_row] & problem.is_structure),
                max_features=problem.settings.max_features,
                n_draw=problem.settings.n_drawn(len(columns)),
                rng=rng,
                size_factor=problem.settings.size_factor,
                columns=None if len(columns) == X.shape[1] else columns,
                gram=None if grams is None else grams[i],
                products=None if products is None else products[i],
            )
            reached = problem.sizes[problem.sizes <= len(model.order)]
            curves = np.full((3, len(problem.sizes)), np.nan)
            curves[0, : len(reached)] = model.train_rmse_at(
                reached, X, problem.y, row_weights, problem.is_structure
            )
            curves[1, : len(reached)] = model.oob_rmse[reached - 1]
            curves[2, : len(reached)] = model.rmse_at(reached, X, problem.y, test)
            others = np.full((len(problem.sizes), len(problem.others)), np.nan)
            others[: len(reached)] = predictions_at(model.path, reached, problem.others)
            seconds = (gram_seconds, time.process_time() - began)
            results.append(FittedModel(model.columns, model.weights, curves, others, model.used_qr, seconds))
        return results

    def _columns(self, rng: np.random.Generator) -> IntArray:
        """The columns that a model may choose, shape (n_seen,)."""
        problem, n_channels = self.problem, self.problem.n_channels
        seen = drawn_channels(n_channels, problem.settings.n_channels_seen(n_channels), rng)
        return np.flatnonzero((problem.channel < 0) | np.isin(problem.channel, seen))

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
