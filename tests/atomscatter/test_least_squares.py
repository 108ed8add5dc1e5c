"""Weights from the Gram matrix, corrected with the rows, against a QR of the rows."""

import numpy as np
import pytest

from atomscatter.greedy import GreedyPath, greedy_gram
from atomscatter.least_squares import GRAM_TOLERANCE, qr_path, seminormal_weights


def ill_conditioned(seed, condition, n=400, size=40):
    """Weighted rows whose columns, each of length about one, have this condition number."""
    rng = np.random.default_rng(seed)
    left, right = np.linalg.qr(rng.normal(size=(n, size)))[0], np.linalg.qr(rng.normal(size=(size, size)))[0]
    row_weights = rng.integers(1, 5, size=n).astype(float)
    X = (left * np.geomspace(1, 1 / condition, size)) @ right / np.sqrt(row_weights)[:, None]
    y = X @ rng.normal(size=size) + 0.01 * rng.normal(size=n)
    return X, y, row_weights


def chosen_from_gram(X, y, row_weights):
    size = X.shape[1]
    gram, products = X.T @ (row_weights[:, None] * X), X.T @ (row_weights * y)
    options = {"max_features": size, "n_draw": size, "rng": np.random.default_rng(0)}
    path = greedy_gram(gram, products, float(row_weights @ y**2), **options)
    return path, X[:, path.order]


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("seed", range(3))
def test_as_accurate_as_a_qr_where_the_gram_matrix_is_not(condition, seed) -> None:
    X, y, row_weights = ill_conditioned(seed, condition)
    path, X = chosen_from_gram(X, y, row_weights)
    size, root = len(path.order), np.sqrt(row_weights)
    weights = seminormal_weights(path, size, X, y, row_weights, X[:50])
    exact = qr_path(X * root[:, None], y * root, path.order).weights(size)
    by_lstsq = np.linalg.lstsq(X * root[:, None], y * root, rcond=None)[0]
    scale = np.abs(exact).max()
    # Two accurate methods differ by as much from each other as the corrected weights from either.
    spread = max(np.abs(exact - by_lstsq).max(), 1e-13 * scale)
    assert np.abs(weights - exact).max() <= 20 * spread
    assert np.abs(X @ (weights - exact)).max() <= 1e-13 * scale
    if condition >= 1e4:
        assert np.abs(X @ (path.weights(size) - exact)).max() > 100 * np.abs(X @ (weights - exact)).max()


def test_part_of_the_path() -> None:
    X, y, row_weights = ill_conditioned(7, 1e3)
    path, X = chosen_from_gram(X, y, row_weights)
    weights = seminormal_weights(path, 9, X[:, :9], y, row_weights, X[:0, :9])
    root = np.sqrt(row_weights)
    expected = np.linalg.lstsq(X[:, :9] * root[:, None], y * root, rcond=None)[0]
    np.testing.assert_allclose(weights, expected, rtol=1e-9)


def factored(path, R, projection):
    """The path as an inaccurate Gram matrix would have given it."""
    return GreedyPath(path.order, R, projection, path.residual)


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_factor_is_noticed_in_any_direction(seed) -> None:
    # One direction in 40 is wrong; the energies do not show it, so corrections alone would look converged.
    rng = np.random.default_rng(seed)
    X, y, row_weights = ill_conditioned(seed, 10.0)
    path, X = chosen_from_gram(X, y, row_weights)
    wrong = np.linalg.qr(np.column_stack([path.projection, rng.normal(size=40)]))[0][:, 1]
    R = np.linalg.qr((np.eye(40) + 2 * np.outer(wrong, wrong)) @ path.R)[1]
    bad = factored(path, R, np.linalg.solve(R.T, path.R.T @ path.projection))
    np.testing.assert_allclose(bad.weights(40), path.weights(40), rtol=1e-9)
    assert seminormal_weights(bad, 40, X, y, row_weights, X) is None
    assert seminormal_weights(path, 40, X, y, row_weights, X) is not None


@pytest.mark.parametrize(
    ("error", "others", "accepted"),
    [(1e-2, 1.0, True), (1e3, 1.0, False), (1e-2, 1e4, False), (np.nan, 1.0, False)],
    ids=["small", "on training rows", "on other rows only", "not a number"],
)
def test_predictions_far_off_are_refused(error, others, accepted) -> None:
    X, y, row_weights = ill_conditioned(3, 10.0)
    path, X = chosen_from_gram(X, y, row_weights)
    projection = path.projection + np.eye(40)[5] * error * GRAM_TOLERANCE
    found = seminormal_weights(factored(path, path.R, projection), 40, X, y, row_weights, others * X)
    assert (found is not None) == accepted


def test_a_factor_that_is_not_finite_is_refused() -> None:
    X, y, row_weights = ill_conditioned(3, 10.0)
    path, X = chosen_from_gram(X, y, row_weights)
    bad = factored(path, path.R * np.nan, path.projection)
    assert seminormal_weights(bad, 40, X, y, row_weights, X) is None
