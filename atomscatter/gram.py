"""Weighted Gram matrices of many bootstraps at once, from the contributions of single relaxation paths.

A bootstrap gives every relaxation path p an integer weight w_p (how often it was drawn), so the Gram matrix
of bootstrap i is a weighted sum of per-path Gram matrices,

    G_i = sum_p w_ip X_p^T X_p .

The products X_p^T X_p are made once for a batch of bootstraps, one tile of columns at a time (all of them
together would not fit into memory), and one matrix product with the weights turns each tile into the tiles of
all G_i.

Only tiles that touch the upper triangle are made and kept, so that twice as many models share the products of
the paths in the same memory; a single matrix is unpacked when its model is fitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Columns in a tile. Measured at 296 paths of 60 and of 250 structures: tiles of half the size cost 5 % more
# time, larger ones gain nothing.
_TILE = 256


@dataclass(frozen=True)
class PackedGrams:
    """Symmetric matrices of one size, of which the tiles on and above the diagonal are stored."""

    tiles: tuple[tuple[slice, slice, FloatArray], ...]
    """Rows, columns, and this tile of all matrices, shape (n_models, n_rows, n_columns)."""

    def __len__(self) -> int:
        return len(self.tiles[0][2])

    def __iter__(self) -> Iterator[FloatArray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, model: int) -> FloatArray:
        """The whole matrix of one model, a new array of shape (n_columns, n_columns)."""
        n_columns = self.tiles[-1][1].stop
        gram = np.empty((n_columns, n_columns))
        for rows, columns, tile in self.tiles:
            gram[rows, columns] = tile[model]
            gram[columns, rows] = tile[model].T
        return gram


def packed_bytes(n_columns: int) -> int:
    """Memory of one packed Gram matrix, nearly half of a whole one."""
    return 8 * sum(columns.stop * (columns.stop - columns.start) for columns in _tiles(n_columns))


def weighted_grams(X: FloatArray, path_offsets: IntArray, path_weights: FloatArray) -> PackedGrams:
    """Gram matrices G_i = sum_p w_ip X_p^T X_p, shape (n_columns, n_columns), of n_models weightings.

    Parameters
    ----------
    X : shape (n_structures, n_columns), the structures of a path in consecutive rows.
    path_offsets : shape (n_paths + 1,); path p is rows path_offsets[p]:path_offsets[p + 1].
    path_weights : shape (n_models, n_paths).

    Memory: the result, and about 160 MB for a tile of 300 paths.
    """
    used, weights = _used_paths(path_weights)
    bounds = [(int(path_offsets[p]), int(path_offsets[p + 1])) for p in used]
    products = np.empty(len(used) * _TILE**2)
    tiles = []
    for columns in _tiles(X.shape[1]):
        for rows in _tiles(columns.stop):
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            tile = products[: len(used) * shape[0] * shape[1]].reshape(len(used), *shape)
            for product, (start, stop) in zip(tile, bounds, strict=True):
                # BLAS reads the blocks where they are: copies of the columns took a third of the time.
                np.matmul(X[start:stop, rows].T, X[start:stop, columns], out=product)
            tiles.append((rows, columns, (weights @ tile.reshape(len(used), -1)).reshape(-1, *shape)))
    return PackedGrams(tuple(tiles))


def weighted_products(
    X: FloatArray, y: FloatArray, path_offsets: IntArray, path_weights: FloatArray
) -> FloatArray:
    """Right-hand sides sum_p w_ip X_p^T y_p that belong to :func:`weighted_grams`, shape (n_models,
    n_columns). ``y`` has shape (n_structures,)."""
    used, weights = _used_paths(path_weights)
    paths = [slice(int(path_offsets[p]), int(path_offsets[p + 1])) for p in used]
    return np.asarray(weights @ np.stack([X[path].T @ y[path] for path in paths]))


def _used_paths(path_weights: FloatArray) -> tuple[IntArray, FloatArray]:
    """Paths that any model has drawn, shape (n_used,), and their weights, shape (n_models, n_used)."""
    used = np.flatnonzero(path_weights.any(axis=0))
    return used, np.ascontiguousarray(path_weights[:, used], dtype=np.float64)


def _tiles(n_columns: int) -> list[slice[int, int, None]]:
    return [slice(start, min(start + _TILE, n_columns)) for start in range(0, n_columns, _TILE)]
