import tracemalloc

import numpy as np
import pytest

from atomscatter.gram import packed_bytes, weighted_grams, weighted_products


@pytest.mark.parametrize("n_columns", [1, 7, 256, 257, 520])
def test_equals_the_product_of_weighted_rows(n_columns) -> None:
    rng = np.random.default_rng(n_columns)
    lengths = rng.integers(1, 6, size=9)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    X = rng.normal(size=(offsets[-1], n_columns))
    weights = rng.integers(0, 4, size=(3, 9)).astype(float)
    weights[:, 2] = 0  # a path that no model has drawn
    grams = weighted_grams(X, offsets, weights)
    assert sum(tile.nbytes for *_, tile in grams.tiles) == len(grams) * packed_bytes(n_columns)
    for gram, w in zip(grams, weights, strict=True):
        expected = X.T @ (np.repeat(w, lengths)[:, None] * X)
        np.testing.assert_allclose(gram, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gram, gram.T, rtol=1e-13, atol=1e-13)


def test_right_hand_sides() -> None:
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(12, 20)), rng.normal(size=12)
    weights = np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0]])
    products = weighted_products(X, y, np.array([0, 3, 7, 12]), weights)
    for product, w in zip(products, weights, strict=True):
        np.testing.assert_allclose(product, X.T @ (np.repeat(w, [3, 4, 5]) * y), rtol=1e-12, atol=1e-14)


def test_new_paths_add_their_own_gram_matrix() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 20))
    offsets = np.array([0, 3, 7, 12])
    whole = weighted_grams(X, offsets, np.array([[1.0, 2.0, 3.0]]))[0]
    old = weighted_grams(X[:7], offsets[:3], np.array([[1.0, 2.0]]))[0]
    new = weighted_grams(X[7:], np.array([0, 5]), np.array([[3.0]]))[0]
    np.testing.assert_allclose(whole, old + new, rtol=1e-12)


def test_memory_does_not_grow_with_the_number_of_paths() -> None:
    rng = np.random.default_rng(1)
    offsets = np.arange(1001)  # every structure is a path of its own
    X, y = rng.normal(size=(1000, 20)), rng.normal(size=1000)
    weights = rng.integers(0, 4, size=(3, 1000)).astype(float)
    tracemalloc.start()
    grams = weighted_grams(X, offsets, weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6  # products of all paths would take 524 MB
    products = weighted_products(X, y, offsets, weights)
    for gram, product, w in zip(grams, products, weights, strict=True):
        np.testing.assert_allclose(gram, X.T @ (w[:, None] * X), rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(product, X.T @ (w * y), rtol=1e-12, atol=1e-9)
