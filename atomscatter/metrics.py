"""Error measures of predicted energies."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from atomscatter.arrays import FloatArray
from atomscatter.errors import DataError


def _differences(predicted: ArrayLike, reference: ArrayLike) -> FloatArray:
    """Predicted minus reference as a flat array; raises DataError when the two cannot be compared."""
    a, b = np.asarray(predicted, dtype=float), np.asarray(reference, dtype=float)
    if a.shape != b.shape:
        raise DataError(f"predicted energies have shape {a.shape}, reference energies {b.shape}")
    if a.size == 0:
        raise DataError("no energies to compare")
    return np.asarray(a - b, dtype=np.float64).ravel()


def rmse(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Root mean square error, in the unit of the input (eV/atom in, eV/atom out).

    Both arguments have the same shape. Raises DataError when shapes differ or there is nothing to compare.
    """
    return float(np.sqrt(np.mean(_differences(predicted, reference) ** 2)))


def mae(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Mean absolute error, in the unit of the input; arguments and errors as for :func:`rmse`."""
    return float(np.mean(np.abs(_differences(predicted, reference))))
