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

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

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

_CORRECTIONS = 2


def seminormal_weights(
    path: GreedyPath,
    size: int,
    X: FloatArray,
    y: FloatArray,
    row_weights: FloatArray,
    others: FloatArray,
) -> FloatArray | None:
    """Corrected weights of the first ``size`` columns of a path that was chosen from a Gram matrix, shape
    (size,).

    Parameters
    ----------
    X : the training rows in these columns, shape (n, size), not scaled with their weights.
    y, row_weights : shape (n,).
    others : further rows whose predictions count, shape (n_others, size).

    Returns None when the Gram matrix was not accurate enough: a prediction changes by more than
    ``GRAM_TOLERANCE``, or the corrections do not converge.
    """
    R, weights = path.R[:size, :size], path.weights(size)
    if not _contraction(R, X, row_weights) <= LARGEST_CONTRACTION:  # nor when it is NaN
        return None
    residual = y - X @ weights
    total_step, total_change = np.zeros(size), np.zeros(len(X))
    for _ in range(_CORRECTIONS):
        step = _solve(R, _solve(R, X.T @ (row_weights * residual), transposed=True))
        change = X @ step
        residual -= change
        total_step += step
        total_change += change
    last = _largest(change, others @ step)
    whole = _largest(total_change, others @ total_step)
    if last <= NEGLIGIBLE_CORRECTION and whole <= GRAM_TOLERANCE:
        return np.asarray(weights + total_step)
    return None


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


def _contraction(R: FloatArray, X: FloatArray, row_weights: FloatArray) -> float:
    """|E z| of the module's docstring for a random vector z, the same for every model."""
    z = np.random.default_rng(0).standard_normal(len(R))
    product = X.T @ (row_weights * (X @ _solve(R, z)))
    return float(np.linalg.norm(z - _solve(R, product, transposed=True)))


def _solve(R: FloatArray, right: FloatArray, transposed: bool = False) -> FloatArray:
    return np.asarray(solve_triangular(R, right, trans="T" if transposed else "N", check_finite=False))


def _largest(*changes: FloatArray) -> float:
    """Largest magnitude; NaN when there is one."""
    return float(np.max([np.abs(change).max(initial=0.0) for change in changes]))
