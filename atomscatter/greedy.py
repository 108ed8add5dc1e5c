"""Greedy orthogonal least squares with feature bagging (sections II C and III A of the paper).

At every step ``n_draw`` of the columns that are not yet chosen are drawn without replacement, and the one
that lowers the weighted training error

    L(w) = sum_i v_i (E_i - x_i . w)^2 / sum_i v_i          (v_i: how often the path of structure i was drawn)

most is added to the model: orthogonal least squares. With the chosen columns orthonormalised as q_1 .. q_k
(of the rows scaled with sqrt(v_i)), adding column x lowers the sum of squares by

    (x . r)^2 / |x_perp|^2 ,     x_perp = x - sum_k (q_k . x) q_k ,     r = y - sum_k (q_k . y) q_k ,

and choosing amounts to a QR factorisation whose columns are picked one by one. Only drawn columns need their
coefficients c_jk = q_k . x_j, so these are computed when a column is drawn, and for all columns in one matrix
product when a block of steps is full.

The coefficients come from one of two sources, the same greedy choice either way:

* ``greedy_rows``: from the weighted rows themselves. Best for few structures.
* ``greedy_gram``: from the weighted Gram matrix, c_jk = (G_jp - sum_{i<k} c_ji c_pi) / c_pk with p the k-th
  chosen column: a left-looking Cholesky factorisation. Its cost does not grow with the number of structures,
  but it squares the condition number, so :func:`atomscatter.selection.fit_model` corrects its weights with
  the rows, and falls back on a QR factorisation of them.

Every criterion is a ratio that does not change when a column is multiplied by a number, so columns need no
unit norm; :func:`atomscatter.selection.column_scales` takes care of magnitudes whose squares would leave the
range of double precision.

Dependent columns: a column whose |x_perp|^2 is at most ``PIVOT_GUARD`` of |x|^2 (``GRAM_PIVOT_GUARD`` with
the second source) lies in the span of the chosen ones and cannot be chosen. It is still drawn like the
others, so that draws do not depend on rounding. When all drawn columns are dependent, the step draws again;
the choice ends when no independent column is left (the rank is reached), after ``max_features`` steps, or
with a perfect fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import FitError

PIVOT_GUARD = 1e-12
"""Smallest |x_perp|^2 / |x|^2 of a column that may be chosen."""

GRAM_PIVOT_GUARD = 1e-10
"""The same for a choice from the Gram matrix, where rounding is larger: with 1e-12, 3 in 100 random problems
of rank 5 were given a sixth column."""

PERFECT_FIT = 1e-7
"""Training RMSE at which the choice ends, eV/atom, whatever the energies are counted from."""

_GRAM_ROUNDING = 1e-14  # of a sum of squared errors, relative to that of the squared energies
_BLOCK = 48


@dataclass(frozen=True)
class GreedyPath:
    """The columns chosen one after the other, and the QR factors of the weighted rows of these columns."""

    order: IntArray
    """Chosen columns, shape (n_chosen,), in the order of choice."""
    R: FloatArray
    """Upper triangular, shape (n_chosen, n_chosen): x_order[k] = sum_i R_ik q_i."""
    projection: FloatArray
    """q_k . y, shape (n_chosen,)."""
    residual: FloatArray
    """Weighted sum of squared training errors after each step, shape (n_chosen,), eV^2/atom^2."""
    drawn: IntArray | None = None
    """Columns drawn at each step, shape (n_chosen, n_draw), filled up with -1; only when asked for."""

    def weights(self, size: int) -> FloatArray:
        """Weights of the first ``size`` chosen columns, shape (size,), in the order of choice."""
        R = self.R[:size, :size]
        return np.asarray(solve_triangular(R, self.projection[:size], check_finite=False))

    def weights_at(self, sizes: IntArray) -> FloatArray:
        """Weights of the first ``sizes`` chosen columns, 0 for the others, shape (n_chosen, n_sizes), from
        one triangular solve."""
        heads = np.where(np.arange(len(self.order))[:, None] < sizes, self.projection[:, None], 0.0)
        return np.asarray(solve_triangular(self.R, heads, check_finite=False))


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(a, b, n):  # type: ignore[no-untyped-def]
    """Sum of a_i b_i over the first n elements."""
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True)
def _draw(pool, n_pool, n_draw, rng):  # type: ignore[no-untyped-def]
    """Move ``n_draw`` columns, drawn without replacement, to the front of the pool; return how many."""
    if n_draw >= n_pool:
        return n_pool
    for i in range(n_draw):
        j = i + int(rng.random() * (n_pool - i))
        pool[i], pool[j] = pool[j], pool[i]
    return n_draw


class _Choice(NamedTuple):
    """Arrays of a choice in progress. The functions below change all but the first two and the last three."""

    source: FloatArray
    """X^T of the weighted rows, or the Gram matrix; rows belong to columns."""
    norms: FloatArray
    """|x|^2 of each column."""
    Q: FloatArray
    """q_k in row k; empty with the Gram matrix."""
    C: FloatArray
    """Coefficients c_jk = q_k . x_j, in row j."""
    pivots: FloatArray
    """|x_perp|^2 of each column, as far as it is ``done``."""
    correlations: FloatArray
    """x_perp . r of each column, as far as it is ``done``."""
    done: IntArray
    """Steps whose coefficients each column has."""
    dependent: NDArray[np.bool_]
    """Columns that cannot be chosen."""
    pool: IntArray
    """Columns that are not chosen, first; the rest are leftovers."""
    order: IntArray
    """Chosen columns."""
    projection: FloatArray
    """q_k . y."""
    residual: FloatArray
    """Weighted sum of squared training errors after each step."""
    rows_residual: FloatArray
    """y less its projections; empty with the Gram matrix."""
    drawn: IntArray
    """Columns drawn at each step; empty if nobody asks."""
    from_rows: bool
    total: float
    """y . y"""
    perfect: float
    """Weighted sum of squared errors at which the choice ends."""


@numba.njit(cache=True)
def _apply(j, start, stop, c):  # type: ignore[no-untyped-def]
    """Take steps start .. stop - 1 out of the residual norm of column j and of its product with the
    residual."""
    for i in range(start, stop):
        c.pivots[j] -= c.C[j, i] * c.C[j, i]
        c.correlations[j] -= c.C[j, i] * c.projection[i]


@numba.njit(cache=True)
def _new_coefficients(j, start, stop, c):  # type: ignore[no-untyped-def]
    """Coefficients c_ji, i = start .. stop - 1, of column j (the two sources of the module's docstring)."""
    for i in range(start, stop):
        if c.from_rows:
            c.C[j, i] = _dot(c.source[j], c.Q[i], c.source.shape[1])
        else:
            p = c.order[i]
            c.C[j, i] = (c.source[p, j] - _dot(c.C[j], c.C[p], i)) / c.C[p, i]


@numba.njit(cache=True)
def _enter_row_column(p, k, c):  # type: ignore[no-untyped-def]
    """Orthonormalise column p against q_0 .. q_{k-1}, twice because once is not enough; return q_k . y."""
    n = c.source.shape[1]
    q = c.source[p].copy()
    if k > 0:
        q -= np.dot(c.C[p, :k], c.Q[:k])
        again = np.dot(c.Q[:k], q)
        q -= np.dot(again, c.Q[:k])
        c.C[p, :k] += again
    norm = np.sqrt(_dot(q, q, n))
    c.C[p, k] = norm
    c.Q[k] = q / norm
    projection = _dot(c.Q[k], c.rows_residual, n)
    c.rows_residual[:] -= projection * c.Q[k]
    return projection


@numba.njit(cache=True)
def _best(n_columns, k, c):  # type: ignore[no-untyped-def]
    """Place among the first columns of the pool of the one that lowers the error most at step k; -1 if all
    are dependent."""
    guard = PIVOT_GUARD if c.from_rows else GRAM_PIVOT_GUARD
    best, best_gain = -1, -1.0
    for s in range(n_columns):
        j = c.pool[s]
        if c.dependent[j]:
            continue
        _new_coefficients(j, c.done[j], k, c)
        _apply(j, c.done[j], k, c)
        c.done[j] = k
        if c.pivots[j] <= guard * c.norms[j]:
            c.dependent[j] = True
            continue
        gain = c.correlations[j] * c.correlations[j] / c.pivots[j]
        if gain > best_gain:
            best, best_gain = s, gain
    return best


@numba.njit(cache=True)
def _enter(p, k, c):  # type: ignore[no-untyped-def]
    """Add column p to the model as its step k; return whether the fit is perfect now."""
    c.order[k] = p
    c.done[p] = k + 1
    if c.from_rows:
        c.projection[k] = _enter_row_column(p, k, c)
        c.residual[k] = _dot(c.rows_residual, c.rows_residual, c.rows_residual.size)
        return c.residual[k] <= c.perfect
    c.C[p, k] = np.sqrt(c.pivots[p])
    c.projection[k] = c.correlations[p] / c.C[p, k]
    gain = c.projection[k] * c.projection[k]
    before = c.residual[k - 1] if k > 0 else c.total
    c.residual[k] = max(before - gain, 0.0)
    # The difference of large numbers is rounding before the errors are small; the gain is no difference.
    return c.residual[k] <= max(c.perfect, _GRAM_ROUNDING * c.total) and gain <= c.perfect


@numba.njit(cache=True)
def _choose(start, stop, n_pool, n_draw, rng, c):  # type: ignore[no-untyped-def]
    """Steps start .. stop - 1 of the greedy choice; returns how many steps there are now, and how many
    columns are left in the pool (0: the choice has ended)."""
    k = start
    while k < stop and n_pool > 0:
        m = _draw(c.pool, n_pool, n_draw, rng)
        s = _best(m, k, c)
        if s < 0:
            # Only dependent columns were drawn. Is there any other? If so, draw again.
            if _best(n_pool, k, c) < 0:
                n_pool = 0
            continue
        if c.drawn.shape[0] > 0:
            c.drawn[k, :m] = c.pool[:m]
        p = c.pool[s]
        n_pool -= 1
        c.pool[s] = c.pool[n_pool]
        if _enter(p, k, c):
            n_pool = 0
        k += 1
    return k, n_pool


@numba.njit(cache=True)
def _absorb_block(start, stop, block, c):  # type: ignore[no-untyped-def]
    """Store a block of coefficients, shape (n_columns, stop - start), for every column that lacks them."""
    for j in range(block.shape[0]):
        for i in range(c.done[j], stop):
            c.C[j, i] = block[j, i - start]
        _apply(j, c.done[j], stop, c)
        c.done[j] = max(c.done[j], stop)


def _greedy(
    source: FloatArray,
    norms: FloatArray,
    products: FloatArray,
    y: FloatArray | None,
    total: float,
    *,
    weight: float,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    record: bool,
) -> GreedyPath:
    """The greedy choice; ``source`` is X^T of the weighted rows, or the Gram matrix where there is no
    ``y``."""
    n_columns, from_rows = len(source), y is not None
    n_draw = min(n_draw, n_columns)
    limit = min(max_features, n_columns, source.shape[1])
    c = _Choice(
        source=source,
        norms=norms,
        Q=np.empty((limit, source.shape[1]) if from_rows else (0, 0)),
        C=np.zeros((n_columns, limit)),
        pivots=norms.copy(),
        correlations=products.copy(),
        done=np.zeros(n_columns, dtype=np.int64),
        dependent=~(norms > 0),  # zero columns
        pool=np.arange(n_columns),
        order=np.full(limit, -1),
        projection=np.zeros(limit),
        residual=np.zeros(limit),
        rows_residual=np.empty(0) if y is None else y.copy(),
        drawn=np.full((limit, n_draw) if record else (0, 0), -1),
        from_rows=from_rows,
        total=total,
        perfect=weight * PERFECT_FIT**2,
    )
    # Without bagging every column has its coefficients already when a block ends.
    block = _BLOCK if n_draw < n_columns else limit
    k, n_pool = 0, n_columns
    while k < limit and n_pool > 0:
        start = k
        k, n_pool = _choose(start, min(start + block, limit), n_pool, n_draw, rng, c)
        if k < limit and n_pool > 0:
            p = c.order[start:k]
            if from_rows:
                new = source @ c.Q[start:k].T
            else:
                new = np.ascontiguousarray(source[p].T) - c.C[:, :start] @ c.C[p, :start].T
                new = solve_triangular(c.C[p, start:k], new.T, lower=True, check_finite=False).T
            _absorb_block(start, k, np.ascontiguousarray(new), c)
    if k == 0:
        raise FitError("every feature column of the training structures is zero")
    order = c.order[:k]
    R = np.triu(c.C[order, :k].T)
    return GreedyPath(order, R, c.projection[:k], c.residual[:k], c.drawn[:k] if record else None)


def greedy_rows(
    X: FloatArray,
    y: FloatArray,
    *,
    weight: float,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    record: bool = False,
) -> GreedyPath:
    """Greedy choice from the rows of the training structures, already scaled with the square root of their
    weights.

    ``X`` has shape (n_structures, n_columns), ``y`` (n_structures,), eV/atom; ``weight`` is the sum of the
    structures' weights. ``record`` keeps the columns drawn at each step. Raises FitError when every column is
    zero.
    """
    source = np.ascontiguousarray(X.T, dtype=np.float64)
    y = np.array(y, dtype=np.float64)
    norms = np.einsum("ij,ij->i", source, source)
    return _greedy(
        source, norms, source @ y, y, float(y @ y),
        weight=weight, max_features=max_features, n_draw=n_draw, rng=rng, record=record,
    )  # fmt: skip


def greedy_gram(
    G: FloatArray,
    products: FloatArray,
    total: float,
    *,
    weight: float,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    record: bool = False,
) -> GreedyPath:
    """Greedy choice from the weighted Gram matrix G = X^T X, ``products`` = X^T y and ``total`` = y^T y.

    Shapes (n_columns, n_columns) and (n_columns,); ``weight`` and ``record`` as of :func:`greedy_rows`.
    Raises FitError when every column is zero.
    """
    norms = np.ascontiguousarray(np.diagonal(G))
    return _greedy(
        G, norms, products, None, total,
        weight=weight, max_features=max_features, n_draw=n_draw, rng=rng, record=record,
    )  # fmt: skip
