"""One sparse model: the greedy choice of its columns, and its size by the out-of-bag structures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dtrtri

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.blocks import blocks, take
from atomscatter.errors import FitError
from atomscatter.greedy import GreedyPath, greedy_gram, greedy_rows
from atomscatter.least_squares import qr_path, seminormal_weights


@dataclass(frozen=True)
class SparseModel:
    """One fitted model: y = sum_k weights[k] * x[columns[k]]."""

    columns: IntArray
    """Shape (M,), in the order of choice."""
    weights: FloatArray
    """Shape (M,), eV/atom per unit of the column."""
    oob_rmse: FloatArray
    """RMSE on the out-of-bag structures after 1 .. n_chosen steps, eV/atom. Its minimum is at M*, and M = M*
    unless a factor was given. From a Gram matrix, it is as accurate as ``path`` (GRAM_TOLERANCE); ``weights``
    are more accurate."""
    used_qr: bool
    """Whether predictions from the Gram matrix were too inaccurate, so that a QR of the rows took their
    place."""
    path: GreedyPath
    """All steps; ``columns`` is the beginning of its order."""

    @property
    def order(self) -> IntArray:
        """All chosen columns, shape (n_chosen,)."""
        return self.path.order

    def rmse_at(self, sizes: IntArray, X: FloatArray, y: FloatArray, rows: IntArray) -> FloatArray:
        """RMSE of the models of ``sizes`` features on some rows of ``X``, shape (n_sizes,), eV/atom."""
        return np.asarray(np.sqrt(self._squares_at(sizes, X, y, rows, np.ones(len(rows))) / len(rows)))

    def train_rmse_at(
        self,
        sizes: IntArray,
        X: FloatArray,
        y: FloatArray,
        row_weights: FloatArray,
        structures: NDArray[np.bool_] | None = None,
    ) -> FloatArray:
        """Weighted RMSE of the models of ``sizes`` features on their training structures, shape (n_sizes,),
        eV/atom; arguments as of :func:`fit_model`.

        ``structures``: which rows are structures, shape (n_structures,); the others are conditions on the
        weights, whose part is taken from the sum that the choice has lowered. Default: all.
        """
        total, n = self.path.residual[sizes - 1], row_weights.sum()
        if structures is not None:
            conditions = np.flatnonzero((row_weights > 0) & ~structures)
            total = total - self._squares_at(sizes, X, y, conditions, row_weights[conditions])
            n = row_weights[structures].sum()
        return np.asarray(np.sqrt(np.maximum(total, 0.0) / n))

    def _squares_at(
        self, sizes: IntArray, X: FloatArray, y: FloatArray, rows: IntArray, row_weights: FloatArray
    ) -> FloatArray:
        """Weighted sums of squared errors, shape (n_sizes,)."""
        weights, total = self.path.weights_at(sizes), np.zeros(len(sizes))
        for part, block in blocks(X, rows, self.order):
            total += row_weights[part] @ (block @ weights - y[rows[part], None]) ** 2
        return total


def column_scales(X: FloatArray) -> FloatArray:
    """Powers of two that bring the largest magnitude of each column to between 0.5 and 1 (1 for a zero
    column).

    Shape (n_columns,). ``X * column_scales(X)`` is exact, and squares of its values stay in the range of
    double precision for columns as far apart as 1e-300 and 1e300.
    """
    largest = np.maximum(X.max(axis=0), -X.min(axis=0))
    exponent = np.frexp(largest)[1]
    # 2^1023 is the largest power of two; smaller columns than its inverse are subnormal.
    return np.asarray(np.where(largest > 0, np.ldexp(1.0, np.clip(-exponent, -1022, 1023)), 1.0))


def number_drawn(n_columns: int) -> int:
    """Columns drawn at each step of the bagged choice: round(sqrt(n_columns)), bias column included."""
    return max(1, round(float(np.sqrt(n_columns))))


def number_of_channels(n_channels: int, share: float) -> int:
    """Channels that a model sees: ``share`` of them, rounded (halves up), at least one."""
    return min(n_channels, max(1, int(share * n_channels + 0.5)))


def drawn_channels(n_channels: int, n_seen: int, rng: np.random.Generator) -> IntArray:
    """The channels that one model sees, drawn without replacement; ascending, shape (n_seen,).

    Where all are seen, no random number is drawn.
    """
    if n_seen >= n_channels:
        return np.arange(n_channels)
    return np.sort(rng.choice(n_channels, size=n_seen, replace=False)).astype(np.int64)


def squared_errors(path: GreedyPath, X: FloatArray, y: FloatArray, rows: IntArray) -> FloatArray:
    """Mean squared error of the models of 1 .. n_chosen features on some rows of ``X``, shape (n_chosen,),
    eV^2/atom^2.

    The predictions of all sizes come from one product: X R^-1 holds the values of q_1 .. q_n on these
    structures, and predictions are its running sums.
    """
    # Multiplying by the inverse takes two thirds of the time of triangular solves. R is as well conditioned
    # as the guard of the choice makes it; the weights of the model come from solves.
    inverse, failed = dtrtri(path.R.T, lower=1)  # of the transposed, which needs no copy
    if failed:
        raise FitError("two of the chosen columns depend on each other")
    total = np.zeros(len(path.order))
    for part, block in blocks(X, rows, path.order):
        values = dtrmm(1.0, inverse, block, side=1, lower=1, trans_a=1, overwrite_b=1)
        _add_squared_errors(values.T, path.projection, y[rows[part]], total)
    return total / len(rows)


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_squared_errors(values, projection, y, total):  # type: ignore[no-untyped-def]
    """Values of q_k in row k."""
    error = -y
    for k in range(values.shape[0]):
        squares = 0.0
        for i in range(values.shape[1]):
            error[i] += values[k, i] * projection[k]
            squares += error[i] * error[i]
        total[k] += squares


def fit_model(
    X: FloatArray,
    y: FloatArray,
    row_weights: FloatArray,
    oob: IntArray,
    *,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    size_factor: float = 1.0,
    columns: IntArray | None = None,
    gram: FloatArray | None = None,
    products: FloatArray | None = None,
) -> SparseModel:
    """Fit one sparse model and choose its size on the out-of-bag structures (equations (3) and (4) of the
    paper).

    Args:
        X: shape (n_structures, n_columns), fastest in Fortran order.
        y: shape (n_structures,), eV/atom.
        row_weights: shape (n_structures,), weight of each training structure, 0 outside the training set.
        oob: rows of the out-of-bag structures; none of them may have a weight.
        max_features: largest number of features M_max.
        n_draw: columns drawn at each step; as many as may be chosen, or more: all of them, no bagging.
        size_factor: features of the model, as a multiple of the number M* with the smallest out-of-bag error;
            at least 1 feature, at most all that were chosen.
        columns: the columns that may be chosen, ascending, shape (n,). Default: all.
        gram: X^T diag(row_weights) X, to choose from instead of the rows.
        products: X^T diag(row_weights) y, with ``gram`` only. Default: they are computed here.

    Raises:
        FitError: there is no training or no out-of-bag structure, or an out-of-bag structure has a weight.
    """
    train = np.flatnonzero(row_weights)
    if len(train) == 0 or len(oob) == 0:
        raise FitError(f"a model needs training and out-of-bag structures, got {len(train)} and {len(oob)}")
    if row_weights[oob].any():
        raise FitError("out-of-bag structures must not be in the training set")
    root = np.sqrt(row_weights[train])
    y_train = y[train] * root
    weight = float(row_weights.sum())
    choice: dict[str, Any] = {"weight": weight, "max_features": max_features, "n_draw": n_draw, "rng": rng}
    if gram is None:
        rows = X[train] if columns is None else take(X, train, columns)
        path = greedy_rows(rows * root[:, None], y_train, **choice)
    else:
        if products is None:
            products = X.T @ (row_weights * y)
        if columns is not None:
            gram, products = gram[np.ix_(columns, columns)], products[columns]
        path = greedy_gram(gram, products, float(y_train @ y_train), **choice)
    if columns is not None:
        path = replace(path, order=columns[path.order], drawn=None)
    oob_mse = squared_errors(path, X, y, oob)
    size = _size(oob_mse, size_factor)
    weights, used_qr = path.weights(size), False
    if gram is not None:
        exact = seminormal_weights(path, size, X, y, row_weights, oob)
        used_qr = exact is None
        if exact is not None:
            weights = exact
        else:
            path = qr_path(take(X, train, path.order) * root[:, None], y_train, path.order)
            oob_mse = squared_errors(path, X, y, oob)
            size = _size(oob_mse, size_factor)
            weights = path.weights(size)
    return SparseModel(
        columns=path.order[:size],
        weights=weights,
        oob_rmse=np.sqrt(oob_mse),
        used_qr=used_qr,
        path=path,
    )


def _size(oob_mse: FloatArray, factor: float) -> int:
    """The number of features with the smallest out-of-bag error, times ``factor``, within the path."""
    best = int(np.argmin(oob_mse)) + 1
    return max(1, round(min(factor * best, len(oob_mse))))
