"""Greedy selection by groups: the four powers q of one invariant enter a model together."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular

from atomscatter.greedy import GreedyPath

GUARD = 1e-9
"""Part of its squared norm that a column must keep beside the chosen ones."""


def groups_of(labels) -> list[np.ndarray]:
    """Columns of each group, the bias (one past the labels) alone."""
    found: dict[tuple, list[int]] = {}
    for i, x in enumerate(labels):
        found.setdefault((x.order, x.channel, x.j1, x.l1, x.j2, x.l2, x.center, x.species), []).append(i)
    return [*map(np.array, found.values()), np.array([len(labels)])]


def choose(gram, products, groups, n_groups, n_draw, rng) -> tuple[GreedyPath, np.ndarray]:
    """Columns in the order of choice with their factor, and the number of columns after each step.

    At each step ``n_draw`` groups are drawn and the one that lowers the squared error most enters: with S the
    Gram matrix of its columns and r their products with the residual, both orthogonal to the chosen columns,
    it is lowered by r S^-1 r. Columns that depend on the chosen ones stay out. The factor grows with the
    choice: the Gram matrix of all chosen columns need not be positive definite after rounding.
    """
    residual_gram, residual = gram.copy(), products.copy()
    norms = np.diag(gram)
    left = list(range(len(groups)))
    order, sizes, coefficients, projection = [], [], [], []
    while left and len(sizes) < n_groups:
        best, gain = None, 0.0
        for g in rng.choice(left, min(n_draw, len(left)), replace=False):
            columns = groups[g][residual_gram[groups[g], groups[g]] > GUARD * norms[groups[g]]]
            if not len(columns):
                continue
            S = residual_gram[np.ix_(columns, columns)]
            with np.errstate(all="ignore"):
                try:
                    here = residual[columns] @ cho_solve(cho_factor(S), residual[columns])
                except LinAlgError:
                    continue
            if here > gain:
                best, gain = (g, columns), here
        if best is None:
            break
        g, columns = best
        left.remove(g)
        L = cholesky(residual_gram[np.ix_(columns, columns)], lower=True)
        C = solve_triangular(L, residual_gram[columns], lower=True)
        of_y = solve_triangular(L, residual[columns], lower=True)
        residual -= C.T @ of_y
        residual_gram -= C.T @ C
        order.extend(columns.tolist())
        sizes.append(len(order))
        coefficients.append(C)
        projection.append(of_y)
    R = np.triu(np.vstack(coefficients)[:, order])
    return GreedyPath(np.array(order), R, np.concatenate(projection), np.zeros(len(order))), np.array(sizes)
