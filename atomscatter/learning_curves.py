"""Predictions of a model cut at several numbers of features: what learning curves are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atomscatter.greedy import GreedyPath

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def predictions_at(path: GreedyPath, sizes: IntArray, X: FloatArray) -> FloatArray:
    """Energies of structures by the models of the first ``sizes`` chosen columns.

    Parameters
    ----------
    path : the columns in the order of choice.
    sizes : numbers of columns, shape (n_sizes,), at most as many as were chosen.
    X : structures in the columns that ``path.order`` counts, shape (n, n_columns).

    Returns shape (n_sizes, n), eV/atom.
    """
    return np.asarray((X[:, path.order] @ path.weights_at(sizes)).T)
