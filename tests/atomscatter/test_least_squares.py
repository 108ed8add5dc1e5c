"""Weights from the Gram matrix, corrected with the rows, against a QR of the rows."""

import numpy as np
import pytest

from atomscatter.greedy import GreedyPath, greedy_gram
from atomscatter.least_squares import GRAM_TOLERANCE, NEGLIGIBLE_CORRECTION, qr_path, seminormal_weights

N_TRAIN, N_OTHERS, SIZE = 1500, 300, 40
OTHERS = np.arange(N_TRAIN, N_TRAIN + N_OTHERS)


def ill_conditioned(seed, condition, scale_of_others=1.0):
    """Rows whose weighted columns have this condition number, and others, of weight 0."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(N_TRAIN, SIZE)))[0] * np.geomspace(1, 1 / condition, SIZE)
    row_weights = rng.integers(1, 5, size=N_TRAIN).astype(float)
    X = left @ np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0] / np.sqrt(row_weights)[:, None]
    X = np.vstack([X, scale_of_others * X[rng.integers(N_TRAIN, size=N_OTHERS)]])
    y = X @ rng.normal(size=SIZE) + 0.01 * rng.normal(size=len(X))
    return X, y, np.append(row_weights, np.zeros(N_OTHERS))


def chosen_from_gram(X, y, row_weights):
    gram, products = X.T @ (row_weights[:, None] * X), X.T @ (row_weights * y)
    options = {"max_features": SIZE, "n_draw": SIZE, "rng": np.random.default_rng(0)}
    return greedy_gram(gram, products, float(row_weights @ y**2), weight=float(row_weights.sum()), **options)


def weighted(X, y, row_weights):
    root = np.sqrt(row_weights)
    return X * root[:, None], y * root


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("seed", range(3))
def test_as_accurate_as_a_qr_where_the_gram_matrix_is_not(condition, seed) -> None:
    X, y, row_weights = ill_conditioned(seed, condition)
    path = chosen_from_gram(X, y, row_weights)
    found = seminormal_weights(path, SIZE, X, y, row_weights, OTHERS)
    chosen = X[:, path.order]
    exact = qr_path(*weighted(chosen, y, row_weights), path.order).weights(SIZE)
    by_lstsq = np.linalg.lstsq(*weighted(chosen, y, row_weights), rcond=None)[0]
    scale = np.abs(exact).max()
    # What rounding does to the weights by any accurate method, and to their predictions.
    for weights in (found, by_lstsq):
        assert np.abs(weights - exact).max() <= 10 * condition * np.finfo(float).eps * scale
    assert np.abs(chosen @ (found - exact)).max() <= 1e-13 * scale
    if condition >= 1e4:
        uncorrected = np.abs(chosen @ (path.weights(SIZE) - exact)).max()
        assert uncorrected > 100 * np.abs(chosen @ (found - exact)).max()


def test_part_of_the_path() -> None:
    X, y, row_weights = ill_conditioned(7, 1e3)
    path = chosen_from_gram(X, y, row_weights)
    expected = np.linalg.lstsq(*weighted(X[:, path.order[:9]], y, row_weights), rcond=None)[0]
    np.testing.assert_allclose(seminormal_weights(path, 9, X, y, row_weights, OTHERS), expected, rtol=1e-9)


def factored(path, R, projection):
    """The path as an inaccurate Gram matrix would have given it."""
    return GreedyPath(path.order, R, projection, path.residual)


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_factor_is_noticed_in_any_direction(seed) -> None:
    # One direction in 40 is wrong; the energies do not show it, so corrections alone would look converged.
    X, y, row_weights = ill_conditioned(seed, 10.0)
    path = chosen_from_gram(X, y, row_weights)
    others = np.random.default_rng(seed).normal(size=SIZE)
    wrong = np.linalg.qr(np.column_stack([path.projection, others]))[0][:, 1]
    R = np.linalg.qr((np.eye(SIZE) + 2 * np.outer(wrong, wrong)) @ path.R)[1]
    bad = factored(path, R, np.linalg.solve(R.T, path.R.T @ path.projection))
    np.testing.assert_allclose(bad.weights(SIZE), path.weights(SIZE), rtol=1e-9)
    assert seminormal_weights(bad, SIZE, X, y, row_weights, OTHERS) is None
    assert seminormal_weights(path, SIZE, X, y, row_weights, OTHERS) is not None


@pytest.mark.parametrize("seed", range(3))
def test_corrected_until_nothing_changes(seed) -> None:
    # Every correction leaves some hundredth of an error along u, so that two of them would not do.
    X, y, row_weights = ill_conditioned(seed, 1e3)
    path = chosen_from_gram(X, y, row_weights)
    chosen = X[:, path.order]
    exact = qr_path(*weighted(chosen, y, row_weights), path.order).weights(SIZE)
    u = np.eye(SIZE)[20]
    R = np.linalg.qr((np.eye(SIZE) + 4e-3 * np.outer(u, u)) @ path.R)[1]
    off = np.linalg.solve(path.R, 5e-3 * u)
    found = seminormal_weights(factored(path, R, R @ (exact + off)), SIZE, X, y, row_weights, OTHERS)
    assert 1e-4 < np.abs(chosen @ off).max() < GRAM_TOLERANCE
    assert (8e-3) ** 2 * np.abs(chosen @ off).max() > NEGLIGIBLE_CORRECTION
    assert np.abs(chosen @ (found - exact)).max() <= NEGLIGIBLE_CORRECTION


def test_corrections_that_converge_too_slowly_are_refused() -> None:
    # Every correction halves the error along u, which the random vector (of seed 0) does not see.
    X, y, row_weights = ill_conditioned(2, 10.0)
    path = chosen_from_gram(X, y, row_weights)
    exact = path.weights(SIZE)
    z = np.random.default_rng(0).standard_normal(SIZE)
    u = np.linalg.qr(np.column_stack([z, np.eye(SIZE)[20]]))[0][:, 1]
    R = np.linalg.qr((np.eye(SIZE) + (2**0.5 - 1) * np.outer(u, u)) @ path.R)[1]
    for error, accepted in ((2e-8, True), (5e-3, False)):
        off = np.linalg.solve(path.R, error * u)
        assert np.abs(X[:, path.order] @ off).max() < GRAM_TOLERANCE
        bad = factored(path, R, R @ (exact + off))
        found = seminormal_weights(bad, SIZE, X, y, row_weights, OTHERS)
        assert (found is not None) == accepted


def test_without_others() -> None:
    X, y, row_weights = ill_conditioned(5, 1e3)
    path = chosen_from_gram(X, y, row_weights)
    found = seminormal_weights(path, SIZE, X, y, row_weights, OTHERS[:0])
    np.testing.assert_array_equal(found, seminormal_weights(path, SIZE, X, y, row_weights, OTHERS))


@pytest.mark.parametrize("seed", range(5))
def test_a_factor_that_is_bad_behind_the_chosen_size_is_noticed(seed) -> None:
    # In a direction that the energies do not show, as in the test of a bad factor above.
    X, y, row_weights = ill_conditioned(seed, 10.0)
    path = chosen_from_gram(X, y, row_weights)
    behind = np.where(np.arange(SIZE) >= 9, np.random.default_rng(seed).normal(size=SIZE), 0.0)
    parallel = np.where(np.arange(SIZE) >= 9, path.projection, 0.0)
    wrong = np.linalg.qr(np.column_stack([parallel, behind]))[0][:, 1]
    R = np.linalg.qr((np.eye(SIZE) - 0.9 * np.outer(wrong, wrong)) @ path.R)[1]
    bad = factored(path, R, np.linalg.solve(R.T, path.R.T @ path.projection))
    np.testing.assert_allclose(bad.weights(SIZE), path.weights(SIZE), rtol=1e-9)
    assert seminormal_weights(bad, 9, X, y, row_weights, OTHERS) is None


def test_a_path_that_is_wrong_behind_the_chosen_size_is_refused() -> None:
    # The errors of its larger sizes, among which the size was chosen, would mean nothing.
    X, y, row_weights = ill_conditioned(4, 10.0)
    path = chosen_from_gram(X, y, row_weights)
    assert seminormal_weights(path, 9, X, y, row_weights, OTHERS) is not None
    projection = path.projection + np.eye(SIZE)[-1] * 1e3
    assert seminormal_weights(factored(path, path.R, projection), 9, X, y, row_weights, OTHERS) is None


@pytest.mark.parametrize(
    ("error", "scale_of_others", "accepted"),
    [(1e-2, 1.0, True), (1e3, 1.0, False), (1e-2, 1e6, False), (np.nan, 1.0, False)],
    ids=["small", "on training rows", "on other rows only", "not a number"],
)
def test_predictions_far_off_are_refused(error, scale_of_others, accepted) -> None:
    X, y, row_weights = ill_conditioned(3, 10.0, scale_of_others)
    path = chosen_from_gram(X, y, row_weights)
    projection = path.projection + np.eye(SIZE)[5] * error * GRAM_TOLERANCE
    found = seminormal_weights(factored(path, path.R, projection), SIZE, X, y, row_weights, OTHERS)
    assert (found is not None) == accepted


def test_a_factor_that_is_not_finite_is_refused() -> None:
    X, y, row_weights = ill_conditioned(3, 10.0)
    path = chosen_from_gram(X, y, row_weights)
    bad = factored(path, path.R * np.nan, path.projection)
    assert seminormal_weights(bad, SIZE, X, y, row_weights, OTHERS) is None
