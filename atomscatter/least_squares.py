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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from atomscatter.blocks import blocks
from atomscatter.greedy import PIVOT_GUARD, GreedyPath

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

GRAM_TOLERANCE = 1e-6
"""eV/atom; where predictions by the weights from the Gram matrix are off by more, they are not used."""

NEGLIGIBLE_CORRECTION = 1e-9
"""eV/atom; the last correction may change no prediction by more."""

LARGEST_CONTRACTION = 1e-3
"""Largest |E z| of a random vector z. Were |E| 0.1 or more in any direction, less than 1 in 100 draws of z
would come out so small."""


def seminormal_weights(
    path: GreedyPath, size: int, X: FloatArray, y: FloatArray, row_weights: FloatArray, others: IntArray
) -> FloatArray | None:
    """Corrected weights of the first ``size`` columns of a path that was chosen from a Gram matrix, shape
    (size,).

    Parameters
    ----------
    X : shape (n, n_columns).
    y, row_weights : shape (n,); rows with a weight are the training set.
    others : further rows whose predictions count.

    Returns None when the Gram matrix was not accurate enough: a prediction changes by more than
    ``GRAM_TOLERANCE``, or the corrections do not converge.
    """
    R, columns, train = path.R[:size, :size], path.order[:size], np.flatnonzero(row_weights)
    rows = _TrainingRows(X, train, columns, row_weights[train])
    weights, z = path.weights(size), np.random.default_rng(0).standard_normal(size)
    residuals = np.column_stack([y[train], np.zeros(len(train))])
    # The products with the random vector share the pass over the rows.
    products = rows.subtract(np.column_stack([weights, -_solve(R, z)]), residuals)
    contraction = np.linalg.norm(z - _solve(R, products[:, 1], transposed=True))
    first = _solve(R, _solve(R, products[:, :1], transposed=True))
    second = _solve(R, _solve(R, rows.subtract(first, residuals[:, :1]), transposed=True))
    changes = _largest_predictions(
        X, np.concatenate([train, others]), columns, np.hstack([first + second, second])
    )
    # Written so that a NaN counts as a miss.
    if contraction <= LARGEST_CONTRACTION and (changes <= (GRAM_TOLERANCE, NEGLIGIBLE_CORRECTION)).all():
        return np.asarray(weights + first[:, 0] + second[:, 0])
    return None


@dataclass(frozen=True)
class _TrainingRows:
    X: FloatArray
    rows: IntArray
    columns: IntArray
    weights: FloatArray

    def subtract(self, steps: FloatArray, residuals: FloatArray) -> FloatArray:
        """Subtract X ``steps`` from ``residuals`` in place, shapes (n_columns, m) and (n, m); return
        X^T V residuals."""
        products = np.zeros(steps.shape)
        for part, block in blocks(self.X, self.rows, self.columns):
            residuals[part] -= block @ steps
            products += block.T @ (self.weights[part, None] * residuals[part])
        return products


def _largest_predictions(X: FloatArray, rows: IntArray, columns: IntArray, weights: FloatArray) -> FloatArray:
    """Largest magnitude that each column of ``weights``, shape (n_columns, m), predicts; NaN if there is
    one."""
    found = [np.abs(block @ weights).max(axis=0) for _, block in blocks(X, rows, columns)]
    return np.asarray(np.max(found, axis=0))


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
