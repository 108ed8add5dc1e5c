"""Averaged models with fewer features: which blocks to keep, and the weights of what is kept.

The powers q of a field come together (see :mod:`atomscatter.needed`), so whole blocks are kept or dropped.
With X the training structures' features and w_i the weights of model i, the pruned model predicts from the
kept columns X_K what the model predicted from all:

    v_i = argmin |X_K v - X w_i|^2 .

This needs no energies, and keeps the spread of the models. Blocks are chosen one after the other: the one
that brings X_K v closest to the averaged model's X w, for what it costs, comes next. All of it follows from
the Gram matrix X^T X.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from atomscatter.arrays import FloatArray, IntArray

RIDGE = 1e-10
"""Added to the diagonal of the Gram matrix of unit columns: dependent columns then share their weight."""


def block_order(
    G: FloatArray,
    target: FloatArray,
    blocks: Sequence[IntArray],
    free: IntArray,
    costs: Callable[[Sequence[int]], FloatArray],
) -> list[int]:
    """Blocks in the order in which they lower the error of the target, for their cost.

    Args:
        G: X^T X of columns with unit norm, shape (n_columns, n_columns).
        target: X^T t for the values t to be predicted, shape (n_columns,).
        blocks: columns of each block.
        free: columns that are there from the beginning.
        costs: gives the cost of every block, shape (n_blocks,), above 0, from those chosen before.

    Returns:
        the numbers of all blocks that lower the error at all.
    """
    S, r = G + RIDGE * np.eye(len(G)), target.copy()
    _take(S, r, free)
    left, order = list(range(len(blocks))), list[int]()
    while left:
        gains = np.array([_gain(S, r, blocks[b]) for b in left])
        if gains.max() <= 0:
            break
        best = left[int(np.argmax(gains / costs(order)[left]))]
        _take(S, r, blocks[best])
        left.remove(best)
        order.append(best)
    return order


def _gain(S: FloatArray, r: FloatArray, columns: IntArray) -> float:
    """How much a block lowers the sum of squares."""
    factor, ok = _factor(S, columns)
    if not ok:
        return 0.0
    half = solve_triangular(factor, r[columns], lower=True, check_finite=False)
    return float(half @ half)


def _factor(S: FloatArray, columns: IntArray) -> tuple[FloatArray, bool]:
    """Cholesky factor of a block of the Schur complement, and whether there is one."""
    try:
        return np.asarray(np.linalg.cholesky(S[np.ix_(columns, columns)])), True
    except np.linalg.LinAlgError:  # rounding: the block lies in the span of what is there
        return np.empty((0, 0)), False


def _take(S: FloatArray, r: FloatArray, columns: IntArray) -> None:
    """Eliminate columns from the Schur complement and the residual's products, in place."""
    factor, ok = _factor(S, columns)
    if not ok:
        return
    C = solve_triangular(factor, S[columns], lower=True, check_finite=False)
    r -= C.T @ solve_triangular(factor, r[columns], lower=True, check_finite=False)
    S -= C.T @ C


def projected(G: FloatArray, weights: FloatArray, columns: IntArray) -> FloatArray:
    """Weights of the kept columns whose predictions are closest to those of all.

    Args:
        G: X^T X of columns with unit norm, shape (n_columns, n_columns).
        weights: of each model, shape (n_models, n_columns).
        columns: the kept ones, shape (n_kept,).

    Returns:
        shape (n_models, n_kept).
    """
    kept = G[np.ix_(columns, columns)] + RIDGE * np.eye(len(columns))
    return np.asarray(cho_solve(cho_factor(kept, check_finite=False), G[columns] @ weights.T).T)
