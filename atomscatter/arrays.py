"""Kinds of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
RealArray = NDArray[np.floating[Any]]
"""float32 or float64."""
ComplexArray = NDArray[np.complexfloating[Any, Any]]
"""complex64 or complex128."""
