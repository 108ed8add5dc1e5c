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
  but it squares the condition number, so :func:`fit_model` compares its predictions with a QR factorisation
  of the rows.

Every criterion is a ratio that does not change when a column is multiplied by a number, so columns need no
unit norm; :func:`column_scales` takes care of magnitudes whose squares would leave the range of double
precision.

Dependent columns: a column whose |x_perp|^2 is at most ``PIVOT_GUARD`` of |x|^2 (``GRAM_PIVOT_GUARD`` with
the second source) lies in the span of the chosen ones and cannot be chosen. It is still drawn like the
others, so that draws do not depend on rounding. When all drawn columns are dependent, the step draws again;
the choice ends when no independent column is left (the rank is reached), after ``max_features`` steps, or
with a perfect fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from atomscatter.errors import FitError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PIVOT_GUARD = 1e-12
"""Smallest |x_perp|^2 / |x|^2 of a column that may be chosen."""

GRAM_PIVOT_GUARD = 1e-10
"""The same for a choice from the Gram matrix, where rounding is larger: with 1e-12, 3 in 100 random problems
of rank 5 were given a sixth column."""

PERFECT_FIT = 1e-7
"""Training RMSE, relative to the RMS of the energies, at which the choice ends: far below 1e-6 eV/atom, what
is left is rounding."""

GRAM_TOLERANCE = 1e-6
"""eV/atom; larger differences between predictions from the Gram matrix and from a QR of the rows: the QR is
used."""

_BLOCK = 48
_CHUNK_ROWS = 8192


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


@dataclass(frozen=True)
class SparseModel:
    """One fitted model: y = sum_k weights[k] * x[columns[k]]."""

    columns: IntArray
    """Shape (M*,), in the order of choice."""
    weights: FloatArray
    """Shape (M*,), eV/atom per unit of the column."""
    train_rmse: FloatArray
    """Weighted RMSE on the training structures after 1 .. n_chosen steps, eV/atom."""
    oob_rmse: FloatArray
    """RMSE on the out-of-bag structures after 1 .. n_chosen steps, eV/atom. Its minimum is at M*."""
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
        heads = np.where(np.arange(len(self.order))[:, None] < sizes, self.path.projection[:, None], 0.0)
        weights = solve_triangular(self.path.R, heads, check_finite=False)
        errors = X[np.ix_(rows, self.order)] @ weights - y[rows, None]
        return np.asarray(np.sqrt(np.mean(errors**2, axis=0)))


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


@numba.njit(cache=True)
def _apply(j, start, stop, C, pivots, correlations, projection):  # type: ignore[no-untyped-def]
    """Take steps start .. stop - 1 out of the residual norm of column j and of its product with the
    residual."""
    for i in range(start, stop):
        pivots[j] -= C[j, i] * C[j, i]
        correlations[j] -= C[j, i] * projection[i]


@numba.njit(cache=True)
def _new_coefficients(j, start, stop, source, from_rows, Q, C, order):  # type: ignore[no-untyped-def]
    """Coefficients c_ji, i = start .. stop - 1, of column j (the two sources of the module's docstring)."""
    for i in range(start, stop):
        if from_rows:
            C[j, i] = _dot(source[j], Q[i], source.shape[1])
        else:
            p = order[i]
            C[j, i] = (source[p, j] - _dot(C[j], C[p], i)) / C[p, i]


@numba.njit(cache=True)
def _enter_row_column(p, k, source, Q, C, residual):  # type: ignore[no-untyped-def]
    """Orthonormalise column p against q_0 .. q_{k-1}, twice because once is not enough; return q_k . y."""
    n = source.shape[1]
    q = source[p].copy()
    if k > 0:
        q -= np.dot(C[p, :k], Q[:k])
        again = np.dot(Q[:k], q)
        q -= np.dot(again, Q[:k])
        C[p, :k] += again
    norm = np.sqrt(_dot(q, q, n))
    C[p, k] = norm
    Q[k] = q / norm
    projection = _dot(Q[k], residual, n)
    residual -= projection * Q[k]
    return projection


@numba.njit(cache=True)
def _best(  # type: ignore[no-untyped-def]
    columns, k, source, from_rows, Q, C, norms, pivots, correlations, done, dependent, order, projection,
    guard
):  # fmt: skip
    """Index in ``columns`` of the one that lowers the error most at step k; -1 if all are dependent."""
    best, best_gain = -1, -1.0
    for s in range(columns.size):
        j = columns[s]
        if dependent[j]:
            continue
        _new_coefficients(j, done[j], k, source, from_rows, Q, C, order)
        _apply(j, done[j], k, C, pivots, correlations, projection)
        done[j] = k
        if pivots[j] <= guard * norms[j]:
            dependent[j] = True
            continue
        gain = correlations[j] * correlations[j] / pivots[j]
        if gain > best_gain:
            best, best_gain = s, gain
    return best


@numba.njit(cache=True)
def _choose(  # type: ignore[no-untyped-def]
    start, stop, source, from_rows, Q, C, norms, pivots, correlations, done, dependent, pool, n_pool, n_draw,
    rng, order, projection, residual, rows_residual, total, drawn, guard, perfect,
):  # fmt: skip
    """Steps start .. stop - 1 of the greedy choice; returns how many steps there are now, and how many
    columns are left in the pool (0: the choice has ended)."""
    k = start
    while k < stop and n_pool > 0:
        m = _draw(pool, n_pool, n_draw, rng)
        s = _best(
            pool[:m], k, source, from_rows, Q, C, norms, pivots, correlations, done, dependent, order,
            projection, guard,
        )  # fmt: skip
        if s < 0:
            # Only dependent columns were drawn. Is there any other? If so, draw again.
            s = _best(
                pool[:n_pool], k, source, from_rows, Q, C, norms, pivots, correlations, done, dependent,
                order, projection, guard,
            )  # fmt: skip
            if s < 0:
                n_pool = 0
            continue
        if drawn.shape[0] > 0:
            drawn[k, :m] = pool[:m]
        p = pool[s]
        n_pool -= 1
        pool[s] = pool[n_pool]
        order[k] = p
        done[p] = k + 1
        before = residual[k - 1] if k > 0 else total
        if from_rows:
            projection[k] = _enter_row_column(p, k, source, Q, C, rows_residual)
            residual[k] = _dot(rows_residual, rows_residual, rows_residual.size)
        else:
            C[p, k] = np.sqrt(pivots[p])
            projection[k] = correlations[p] / C[p, k]
            residual[k] = max(before - projection[k] * projection[k], 0.0)
        k += 1
        if residual[k - 1] <= perfect * perfect * total:
            n_pool = 0
    return k, n_pool


@numba.njit(cache=True)
def _absorb_block(start, stop, block, C, pivots, correlations, done, projection):  # type: ignore[no-untyped-def]
    """Store a block of coefficients, shape (n_columns, stop - start), for every column that lacks them."""
    for j in range(block.shape[0]):
        for i in range(done[j], stop):
            C[j, i] = block[j, i - start]
        _apply(j, done[j], stop, C, pivots, correlations, projection)
        done[j] = max(done[j], stop)


def _greedy(
    source: FloatArray,
    from_rows: bool,
    norms: FloatArray,
    products: FloatArray,
    y: FloatArray,
    total: float,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    record: bool,
) -> GreedyPath:
    """The greedy choice; ``source`` is X^T of the weighted rows or the Gram matrix, see the module's
    docstring."""
    n_columns = len(source)
    limit = min(max_features, n_columns, source.shape[1])
    Q = np.empty((limit, source.shape[1])) if from_rows else np.empty((0, 0))
    C = np.zeros((n_columns, limit))
    pivots, correlations = norms.copy(), products.copy()
    done = np.zeros(n_columns, dtype=np.int64)
    dependent = ~(norms > 0)  # zero columns
    pool, n_pool = np.arange(n_columns), n_columns
    order = np.full(limit, -1)
    projection, residual = np.zeros(limit), np.zeros(limit)
    drawn = np.full((limit, n_draw), -1) if record else np.empty((0, 0), dtype=np.int64)
    guard = PIVOT_GUARD if from_rows else GRAM_PIVOT_GUARD
    # Without bagging every column has its coefficients already when a block ends.
    block = _BLOCK if n_draw < n_columns else limit
    k = 0
    while k < limit and n_pool > 0:
        start = k
        k, n_pool = _choose(
            start, min(start + block, limit), source, from_rows, Q, C, norms, pivots, correlations, done,
            dependent, pool, n_pool, n_draw, rng, order, projection, residual, y, total, drawn, guard,
            PERFECT_FIT,
        )  # fmt: skip
        if k < limit and n_pool > 0:
            p = order[start:k]
            if from_rows:
                new = source @ Q[start:k].T
            else:
                new = np.ascontiguousarray(source[p].T) - C[:, :start] @ C[p, :start].T
                new = solve_triangular(C[p, start:k], new.T, lower=True, check_finite=False).T
            new = np.ascontiguousarray(new)
            _absorb_block(start, k, new, C, pivots, correlations, done, projection)
    if k == 0:
        raise FitError("every feature column of the training structures is zero")
    R = np.triu(C[order[:k], :k].T)
    return GreedyPath(order[:k], R, projection[:k], residual[:k], drawn[:k] if record else None)


def greedy_rows(
    X: FloatArray,
    y: FloatArray,
    *,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    record: bool = False,
) -> GreedyPath:
    """Greedy choice from the rows of the training structures, already scaled with the square root of their
    weights.

    ``X`` has shape (n_structures, n_columns), ``y`` (n_structures,). ``record`` keeps the columns drawn at
    each step. Raises FitError when every column is zero.
    """
    source = np.ascontiguousarray(X.T, dtype=np.float64)
    y = np.array(y, dtype=np.float64)
    norms = np.einsum("ij,ij->i", source, source)
    return _greedy(
        source, True, norms, source @ y, y, float(y @ y), max_features, min(n_draw, len(source)), rng, record
    )


def greedy_gram(
    G: FloatArray,
    products: FloatArray,
    total: float,
    *,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    record: bool = False,
) -> GreedyPath:
    """Greedy choice from the weighted Gram matrix G = X^T X, ``products`` = X^T y and ``total`` = y^T y.

    Shapes (n_columns, n_columns) and (n_columns,). Raises FitError when every column is zero.
    """
    norms = np.ascontiguousarray(np.diagonal(G))
    unused = np.empty(0)
    return _greedy(G, False, norms, products, unused, total, max_features, min(n_draw, len(G)), rng, record)


def qr_path(X: FloatArray, y: FloatArray, order: IntArray) -> GreedyPath:
    """The same columns in the same order, factorised from the weighted rows: the accurate version of a Gram
    path.

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


def squared_errors(path: GreedyPath, X: FloatArray, y: FloatArray) -> FloatArray:
    """Mean squared error of the models of 1 .. n_chosen features on other structures, shape (n_chosen,),
    eV^2/atom^2.

    ``X`` has shape (n_structures, n_chosen): the chosen columns in order. The predictions of all sizes come
    from one triangular solve: X R^-1 holds the values of q_1 .. q_n on these structures, and predictions are
    its running sums.
    """
    total = np.zeros(len(path.order))
    for start in range(0, len(X), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        values = solve_triangular(path.R, X[rows].T, trans="T", check_finite=False)
        values *= path.projection[:, None]
        np.cumsum(values, axis=0, out=values)
        values -= y[rows]
        total += np.einsum("ij,ij->i", values, values)
    return total / len(X)


def fit_model(
    X: FloatArray,
    y: FloatArray,
    row_weights: FloatArray,
    oob: IntArray,
    *,
    max_features: int,
    n_draw: int,
    rng: np.random.Generator,
    gram: FloatArray | None = None,
    structures: NDArray[np.bool_] | None = None,
) -> SparseModel:
    """Fit one sparse model and choose its size on the out-of-bag structures (equations (3) and (4) of the
    paper).

    Parameters
    ----------
    X : shape (n_structures, n_columns); y : shape (n_structures,), eV/atom.
    row_weights : shape (n_structures,), weight of each training structure, 0 outside the training set.
    oob : rows of the out-of-bag structures; none of them may have a weight.
    max_features : largest number of features M_max.
    n_draw : columns drawn at each step; n_columns or more: all of them, no bagging.
    gram : X^T diag(row_weights) X, to choose from instead of the rows.
    structures : which rows are structures, shape (n_structures,); other rows are conditions on the weights
        and do not count in the mean of the training error. Default: all.

    Raises FitError when there is no training or no out-of-bag structure, or an out-of-bag structure has a
    weight.
    """
    train = np.flatnonzero(row_weights)
    if len(train) == 0 or len(oob) == 0:
        raise FitError(f"a model needs training and out-of-bag structures, got {len(train)} and {len(oob)}")
    if row_weights[oob].any():
        raise FitError("out-of-bag structures must not be in the training set")
    root = np.sqrt(row_weights[train])
    y_train = y[train] * root
    if gram is None:
        path = greedy_rows(
            X[train] * root[:, None], y_train, max_features=max_features, n_draw=n_draw, rng=rng
        )
    else:
        products = X[train].T @ (y_train * root)
        path = greedy_gram(
            gram, products, float(y_train @ y_train), max_features=max_features, n_draw=n_draw, rng=rng
        )
    X_oob = X[np.ix_(oob, path.order)]
    oob_mse = squared_errors(path, X_oob, y[oob])
    size = int(np.argmin(oob_mse)) + 1
    weights, used_qr = path.weights(size), False
    if gram is not None:
        exact = _by_qr(path, size, X, train, root, y_train, X_oob)
        used_qr = exact is None
        if exact is not None:
            weights = exact
        else:
            path = qr_path(X[np.ix_(train, path.order)] * root[:, None], y_train, path.order)
            oob_mse = squared_errors(path, X[np.ix_(oob, path.order)], y[oob])
            size = int(np.argmin(oob_mse)) + 1
            weights = path.weights(size)
    return SparseModel(
        columns=path.order[:size],
        weights=weights,
        train_rmse=np.sqrt(
            path.residual / (row_weights if structures is None else row_weights[structures]).sum()
        ),
        oob_rmse=np.sqrt(oob_mse),
        used_qr=used_qr,
        path=path,
    )


def _by_qr(
    path: GreedyPath,
    size: int,
    X: FloatArray,
    train: IntArray,
    root: FloatArray,
    y_train: FloatArray,
    X_oob: FloatArray,
) -> FloatArray | None:
    """Weights of the first ``size`` columns by QR of the rows; None when the Gram matrix predicts
    otherwise."""
    chosen = X[np.ix_(train, path.order[:size])]
    exact = qr_path(chosen * root[:, None], y_train, path.order[:size])
    if len(exact.order) < size:
        return None
    weights = exact.weights(size)
    difference = path.weights(size) - weights
    worst = max(np.abs(chosen @ difference).max(), np.abs(X_oob[:, :size] @ difference).max())
    # Written so that a NaN counts as a miss.
    return weights if worst <= GRAM_TOLERANCE else None
