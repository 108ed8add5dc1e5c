"""Accurate least-squares weights of columns that are chosen already, from the weighted rows themselves.

A choice from the Gram matrix X^T V X (V: the weights of the rows) comes with its Cholesky factor R and with
weights w whose error grows with the square of the condition number. Two ways lead to accurate ones:

* ``seminormal_weights``: corrected semi-normal equations (A. Bjorck, Linear Algebra Appl. 88/89, 31, 1987,
  "Stability analysis of the method of seminormal equations for linear least squares problems"),

      r = y - X w ,     R^T R dw = X^T V r ,     w + dw ,

  for a few products with the rows. Each correction multiplies the error by

      E = 1 - R^-T X^T V X R^-1 ,

  which is far below 1 where R is good enough.
* ``qr_path``: a QR factorisation of the rows, some hundred times as much work, always accurate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import qr, solve_triangular

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.blocks import blocks
from atomscatter.greedy import PIVOT_GUARD, GreedyPath

GRAM_TOLERANCE = 1e-3
"""eV/atom (conditions of invariance: times their weight); where predictions by weights from the Gram matrix
are off by more, the path is not used. The weights of a model are corrected in any case: this is for the
errors of the other sizes, among which its own is chosen. An error of 1e-3 that has nothing to do with the
others adds 3e-5 to one of 0.015 eV/atom."""

NEGLIGIBLE_CORRECTION = 1e-9
"""eV/atom; the last correction may change no prediction by more."""

MOST_CORRECTIONS = 6
"""Passes over the rows, of which two or three are usual; a QR of the rows takes as long as a hundred."""

LARGEST_CONTRACTION = 1e-2
"""Largest |E z| of a random vector z. Were |E| 0.8 or more in any direction, less than 1 in 100 draws of z
would come out so small."""

LARGEST_CONTRACTION_OF_PATH = 1.0
"""The same for all columns of the path, whose weights are not corrected: above, the errors of its larger
sizes mean nothing."""


def seminormal_weights(
    path: GreedyPath, size: int, X: FloatArray, y: FloatArray, row_weights: FloatArray, others: IntArray
) -> FloatArray | None:
    """Corrected weights of the first ``size`` columns of a path that was chosen from a Gram matrix, shape
    (size,).

    Args:
        X: shape (n, n_columns).
        y, row_weights: shape (n,); rows with a weight are the training set.
        others: further rows whose predictions count.

    Returns:
        the weights; None when the Gram matrix was not accurate enough: predictions by these columns, or those
        for the training set by the whole path (root mean square), change by more than ``GRAM_TOLERANCE``, or
        the corrections converge too slowly. (Every comparison is one that a NaN fails.)
    """
    train = np.flatnonzero(row_weights)
    whole = _TrainingRows(X, train, path.order, row_weights[train])
    rows, R = replace(whole, columns=path.order[:size]), path.R[:size, :size]
    weights = path.weights(size)
    rng, n = np.random.default_rng(0), len(path.order)
    z, z_whole = rng.standard_normal(size), rng.standard_normal(n)
    # One pass over the rows for the weights and a random vector, of the first columns and of the whole path.
    steps = np.zeros((n, 4))
    steps[:size, 0], steps[:size, 1] = weights, -_solve(R, z)
    steps[:, 2], steps[:, 3] = path.weights(n), -_solve(path.R, z_whole)
    residuals = np.column_stack([y[train], np.zeros(len(train))] * 2)
    products, _ = whole.subtract(steps, residuals)
    contraction = np.linalg.norm(z - _solve(R, products[:size, 1], transposed=True))
    of_path = np.linalg.norm(z_whole - _solve(path.R, products[:, 3], transposed=True))
    if not (contraction <= LARGEST_CONTRACTION and of_path <= LARGEST_CONTRACTION_OF_PATH):
        return None
    # The norm of what a correction changes in the predictions, by X^T V X = R^T R.
    change = np.linalg.norm(_solve(path.R, products[:, 2], transposed=True))
    if not change <= GRAM_TOLERANCE * np.sqrt(row_weights.sum()):
        return None
    total = _corrections(rows, R, residuals[:, :1].copy(), products[:size, :1], others)
    return None if total is None else np.asarray(weights + total)


def _corrections(
    rows: _TrainingRows, R: FloatArray, residuals: FloatArray, products: FloatArray, others: IntArray
) -> FloatArray | None:
    """Sum of the corrections of weights with these residuals and X^T V residuals, shapes (n, 1) and
    (n_columns, 1); changes ``residuals``. None as in ``seminormal_weights``."""
    total, changes = np.zeros(products.shape), [np.inf]
    while changes[-1] > NEGLIGIBLE_CORRECTION and len(changes) <= MOST_CORRECTIONS:
        last = _solve(R, _solve(R, products, transposed=True))
        products, largest = rows.subtract(last, residuals)
        total += last
        changes.append(largest)
    of_others = _largest_predictions(rows.X, others, rows.columns, np.hstack([total, last]))
    found = np.maximum([sum(changes[1:]), changes[-1]], of_others)
    return total[:, 0] if (found <= (GRAM_TOLERANCE, NEGLIGIBLE_CORRECTION)).all() else None


@dataclass(frozen=True)
class _TrainingRows:
    X: FloatArray
    rows: IntArray
    columns: IntArray
    weights: FloatArray

    def subtract(self, steps: FloatArray, residuals: FloatArray) -> tuple[FloatArray, float]:
        """Subtract X ``steps`` from ``residuals`` in place, shapes (n_columns, m) and (n, m); return
        X^T V residuals and the largest magnitude of X ``steps``, NaN if there is one."""
        products, largest = np.zeros(steps.shape), 0.0
        for part, block in blocks(self.X, self.rows, self.columns):
            predicted = block @ steps
            residuals[part] -= predicted
            products += block.T @ (self.weights[part, None] * residuals[part])
            largest = float(np.maximum(largest, np.abs(predicted).max()))
        return products, largest


def _largest_predictions(X: FloatArray, rows: IntArray, columns: IntArray, weights: FloatArray) -> FloatArray:
    """Largest magnitude that each column of ``weights``, shape (n_columns, m), predicts; NaN if there is
    one."""
    found = [np.abs(block @ weights).max(axis=0) for _, block in blocks(X, rows, columns)]
    return np.asarray(np.max(found, axis=0, initial=0.0))


def qr_path(X: FloatArray, y: FloatArray, order: IntArray) -> GreedyPath:
    """Columns in the order of their choice, factorised from the weighted rows: the accurate version of a path
    from a Gram matrix.

    ``X`` has shape (n_structures, len(order)): the chosen columns, rows scaled with the square root of their
    weights. A column that turns out to be dependent on those before it is left out.
    """
    # With y as a last column, Q^T y comes without Q, which would cost as much again.
    n_columns = X.shape[1]
    factor = qr(np.column_stack([X, y]), mode="raw", overwrite_a=True, check_finite=False)[1]
    R = np.ascontiguousarray(factor[:n_columns, :n_columns])
    independent = np.diagonal(R) ** 2 > PIVOT_GUARD * np.einsum("ij,ij->j", X, X)[: len(R)]
    if not independent.all() or R.shape[0] < R.shape[1]:
        kept = np.flatnonzero(independent)
        return qr_path(X[:, kept], y, order[kept])
    projection = factor[:n_columns, n_columns].copy()
    residual = np.maximum(y @ y - np.cumsum(projection**2), 0.0)
    return GreedyPath(order, R, projection, residual)


def _solve(R: FloatArray, right: FloatArray, transposed: bool = False) -> FloatArray:
    return np.asarray(solve_triangular(R, right, trans="T" if transposed else "N", check_finite=False))
