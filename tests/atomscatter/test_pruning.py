"""Order of blocks and projected weights against least squares on the rows."""

import numpy as np
import pytest

from atomscatter.pruning import block_order, projected


@pytest.fixture
def problem():
    """Unit columns in blocks of two, the last column free; targets from three models."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 13)) @ np.diag(rng.uniform(0.5, 2, 13))
    X /= np.linalg.norm(X, axis=0)
    weights = rng.normal(size=(3, 13)) * np.array([1, 1, 0, 0, 3, 3, 0.1, 0.1, 9, 9, 0.5, 0.5, 1])
    blocks = [np.array([2 * i, 2 * i + 1]) for i in range(6)]
    return X, weights, blocks, np.array([12])


def ones(chosen):
    return np.ones(6)


def test_projection_is_the_least_squares_fit_to_the_predictions(problem):
    X, weights, _, _ = problem
    kept = np.array([1, 4, 5, 8, 12])
    found = projected(X.T @ X, weights, kept)
    expected = np.linalg.lstsq(X[:, kept], X @ weights.T, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


def test_all_columns_give_the_weights_back(problem):
    X, weights, _, _ = problem
    np.testing.assert_allclose(projected(X.T @ X, weights, np.arange(13)), weights, rtol=1e-6, atol=1e-7)


def test_each_block_is_the_best_next_one(problem):
    X, weights, blocks, free = problem
    target = X @ weights.mean(axis=0)
    order = block_order(X.T @ X, X.T @ target, blocks, free, ones)
    assert sorted(order) != order
    assert len(set(order)) == len(order)

    def left(chosen):
        columns = np.concatenate([free, *(blocks[b] for b in chosen)])
        fit = X[:, columns] @ np.linalg.lstsq(X[:, columns], target, rcond=None)[0]
        return np.sum((target - fit) ** 2)

    for k, block in enumerate(order[:4]):
        others = [left([*order[:k], b]) for b in range(6) if b not in order[:k]]
        assert left([*order[:k], block]) == pytest.approx(min(others), rel=1e-6)


def test_costs_decide_and_see_what_was_chosen(problem):
    X, weights, blocks, free = problem
    target = X.T @ (X @ weights.mean(axis=0))
    seen = []

    def dear(chosen):
        seen.append(list(chosen))
        return np.where(np.arange(6) == 4, 1e6, 1.0)

    order = block_order(X.T @ X, target, blocks, free, dear)
    assert order[-1] == 4 != block_order(X.T @ X, target, blocks, free, ones)[-1]
    assert seen[:3] == [[], order[:1], order[:2]]


def test_dependent_blocks_do_no_harm(problem):
    X, weights, blocks, _ = problem
    X = np.column_stack([X[:, :12], X[:, :2], X[:, 12]])
    blocks = [*blocks, np.array([12, 13])]
    mean = np.concatenate([weights.mean(axis=0)[:12], [0, 0], weights.mean(axis=0)[12:]])
    G = X.T @ X
    order = block_order(G, G @ mean, blocks, np.array([14]), lambda chosen: np.ones(7))
    kept = np.concatenate([[14], *(blocks[b] for b in order)])
    found = projected(G, mean[None], kept)
    np.testing.assert_allclose(X[:, kept] @ found[0], X @ mean, atol=1e-6)
    assert np.abs(found).max() < 20
