"""What learning curves are made from: some numbers of features, and predictions of a model cut at these."""

from __future__ import annotations

import numpy as np

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.greedy import GreedyPath

POINTS = 60
SHOWN_SIZES = (21, 41)
"""Numbers of features in the third row of the paper's Fig. 7, besides 1."""


def curve_sizes(largest: int) -> IntArray:
    """Numbers of features at which learning curves are kept, ascending, from 1 to ``largest``: evenly spaced
    on a logarithmic axis (at most POINTS), and those of SHOWN_SIZES. Shape (n_sizes,)."""
    spaced = np.round(np.geomspace(1, largest, POINTS)).astype(np.int64)
    return np.union1d(spaced, [size for size in SHOWN_SIZES if size < largest]).astype(np.int64)


def predictions_at(path: GreedyPath, sizes: IntArray, X: FloatArray) -> FloatArray:
    """Energies of structures by the models of the first ``sizes`` chosen columns.

    Args:
        path: the columns in the order of choice.
        sizes: numbers of columns, shape (n_sizes,), at most as many as were chosen.
        X: structures in the columns that ``path.order`` counts, shape (n, n_columns).

    Returns:
        shape (n_sizes, n), eV/atom.
    """
    return np.asarray((X[:, path.order] @ path.weights_at(sizes)).T)
