"""Weighted Gram matrices of many bootstraps at once, from the contributions of single relaxation paths.

A bootstrap gives every relaxation path p an integer weight w_p (how often it was drawn), so the Gram matrix
of bootstrap i is a weighted sum of per-path Gram matrices,

    G_i = sum_p w_ip X_p^T X_p .

The products X_p^T X_p are made once for a batch of bootstraps, one tile of columns at a time (all of them
together would not fit into memory), and one matrix product with the weights turns each tile into the tiles of
all G_i. New data enters in the same way: as further terms of the sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# (rows, columns) of a tile. Measured at 296 paths of 54 structures: smaller tiles waste the matrix products,
# larger ones gain nothing.
_TILE = (128, 256)


def weighted_grams(X: FloatArray, path_offsets: IntArray, path_weights: FloatArray) -> FloatArray:
    """Gram matrices G_i = sum_p w_ip X_p^T X_p, shape (n_models, n_columns, n_columns), symmetric.

    Parameters
    ----------
    X : shape (n_structures, n_columns), the structures of a path in consecutive rows.
    path_offsets : shape (n_paths + 1,); path p is rows path_offsets[p]:path_offsets[p + 1].
    path_weights : shape (n_models, n_paths).

    Memory: the result, and about 80 MB for a tile of 300 paths.
    """
    n_columns = X.shape[1]
    used = np.flatnonzero(path_weights.any(axis=0))
    weights = np.ascontiguousarray(path_weights[:, used], dtype=np.float64)
    bounds = [(int(path_offsets[p]), int(path_offsets[p + 1])) for p in used]
    grams = np.empty((len(weights), n_columns, n_columns))
    products = np.empty(len(used) * _TILE[0] * _TILE[1])
    for c0 in range(0, n_columns, _TILE[1]):
        columns = slice(c0, min(c0 + _TILE[1], n_columns))
        right = np.ascontiguousarray(X[:, columns])
        # Only tiles that touch the upper triangle; each is mirrored below.
        for r0 in range(0, columns.stop, _TILE[0]):
            rows = slice(r0, min(r0 + _TILE[0], columns.stop))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            tile = products[: len(used) * shape[0] * shape[1]].reshape(len(used), *shape)
            left = np.ascontiguousarray(X[:, rows].T)
            for product, (start, stop) in zip(tile, bounds, strict=True):
                np.matmul(left[:, start:stop], right[start:stop], out=product)
            combined = (weights @ tile.reshape(len(used), -1)).reshape(-1, *shape)
            grams[:, rows, columns] = combined
            grams[:, columns, rows] = combined.transpose(0, 2, 1)
    return grams
