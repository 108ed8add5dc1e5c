import numpy as np
import pytest

from atomscatter.blocks import blocks, take

SHUFFLED = np.random.default_rng(1).permutation(3000)[:2500]
# Runs that end within, at, and after the ends of blocks, a row twice, and the first and last of all.
RUNS = np.concatenate([np.arange(700, 1300), [1300, 1300, 1299], np.arange(1400, 2700, 3), [0, 2999]])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [SHUFFLED, RUNS], ids=["shuffled", "runs"])
def test_rows_and_columns_in_pieces(rows: np.ndarray, order: str) -> None:
    X = np.array(np.random.default_rng(0).normal(size=(3000, 9)), order=order)
    columns = np.array([8, 0, 3])
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
