import numpy as np
import pytest

from atomscatter.blocks import blocks, take


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_and_columns_in_pieces(order: str) -> None:
    rng = np.random.default_rng(0)
    X = np.array(rng.normal(size=(3000, 9)), order=order)
    rows, columns = rng.permutation(3000)[:2500], np.array([8, 0, 3])
    expected = X[np.ix_(rows, columns)]
    np.testing.assert_array_equal(take(X, rows, columns), expected)
    found = np.full(expected.shape, np.nan)
    for part, block in blocks(X, rows, columns):
        found[part] = block
    np.testing.assert_array_equal(found, expected)


def test_no_rows() -> None:
    X, none, columns = np.ones((3, 2)), np.array([], dtype=int), np.array([1])
    assert take(X, none, columns).shape == (0, 1)
    assert list(blocks(X, none, columns)) == []
