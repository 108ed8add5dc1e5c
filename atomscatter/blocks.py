"""Some rows and columns of a matrix that is too large to be copied.

Fast where the columns are contiguous (Fortran order): only the chosen ones are read then, where rows of 3,741
columns would be read as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np

from atomscatter.arrays import FloatArray, IntArray

# A block of 1,000 columns has 4 MB. With 256 rows the products are slower, with 1,024 the passes for the
# weights; much larger blocks go back to the system each time, and getting fresh pages took longer than
# filling them.
_BLOCK_ROWS = 512


@numba.njit(cache=True)
def _gather(transposed, rows, columns, out):  # type: ignore[no-untyped-def]
    """out[k, i] = transposed[columns[k], rows[i]]"""
    for k in range(columns.size):
        column = transposed[columns[k]]
        for i in range(rows.size):
            out[k, i] = column[rows[i]]


def take(X: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """``X[np.ix_(rows, columns)]`` in Fortran order."""
    taken = np.empty((len(columns), len(rows)))
    _gather(X.T, rows, columns, taken)
    return taken.T


def blocks(X: FloatArray, rows: IntArray, columns: IntArray) -> Iterator[tuple[slice, FloatArray]]:
    """``take(X, rows, columns)`` in blocks of rows: which of ``rows``, and the block."""
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, min(start + _BLOCK_ROWS, len(rows)))
        yield part, take(X, rows[part], columns)
