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

from atomscatter.arrays import FloatArray, IntArray

# Columns in a tile. Measured at 296 paths of 60 and of 250 structures: tiles of half the size cost 5 % more
# time, larger ones gain nothing.
_TILE = 256
_PATHS = 300  # whose products are in memory at a time

_Group = tuple[list[slice], FloatArray]  # rows of some paths, and their weights, shape (n_models, n_paths)


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

    Args:
        X: shape (n_structures, n_columns), the structures of a path in consecutive rows.
        path_offsets: shape (n_paths + 1,); path p is rows path_offsets[p]:path_offsets[p + 1].
        path_weights: shape (n_models, n_paths).

    Memory: the result, and 160 MB for the products of 300 paths in a tile, however many there are.
    """
    groups = _groups(path_offsets, path_weights)
    products = np.empty(max(len(paths) for paths, _ in groups) * _TILE**2)
    tiles = [
        (rows, columns, _weighted_tile(X, rows, columns, groups, products))
        for columns in _tiles(X.shape[1])
        for rows in _tiles(columns.stop)
    ]
    return PackedGrams(tuple(tiles))


def _weighted_tile(
    X: FloatArray, rows: slice, columns: slice, groups: list[_Group], products: FloatArray
) -> FloatArray:
    """One tile of all matrices, shape (n_models, n_rows, n_columns); ``products`` is for those of single
    paths."""
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    total = np.zeros((len(groups[0][1]), shape[0] * shape[1]))
    for paths, weights in groups:
        tile = products[: len(paths) * total.shape[1]].reshape(len(paths), *shape)
        for product, path in zip(tile, paths, strict=True):
            # BLAS reads the blocks where they are: copies of the columns took a third of the time.
            np.matmul(X[path, rows].T, X[path, columns], out=product)
        total += weights @ tile.reshape(len(paths), -1)
    return total.reshape(-1, *shape)


def weighted_products(
    X: FloatArray, y: FloatArray, path_offsets: IntArray, path_weights: FloatArray
) -> FloatArray:
    """Right-hand sides sum_p w_ip X_p^T y_p that belong to :func:`weighted_grams`, shape (n_models,
    n_columns). ``y`` has shape (n_structures,)."""
    total = np.zeros((len(path_weights), X.shape[1]))
    for paths, weights in _groups(path_offsets, path_weights):
        total += weights @ np.stack([X[path].T @ y[path] for path in paths])
    return total


def _groups(path_offsets: IntArray, path_weights: FloatArray) -> list[_Group]:
    """The paths that any model has drawn, some at a time."""
    used = np.flatnonzero(path_weights.any(axis=0))
    groups = []
    for start in range(0, len(used), _PATHS):
        paths = used[start : start + _PATHS]
        rows = [slice(int(path_offsets[p]), int(path_offsets[p + 1])) for p in paths]
        groups.append((rows, np.ascontiguousarray(path_weights[:, paths], dtype=np.float64)))
    return groups


def _tiles(n_columns: int) -> list[slice[int, int, None]]:
    return [slice(start, min(start + _TILE, n_columns)) for start in range(0, n_columns, _TILE)]
