"""Some of many things, evenly spaced."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly(n: int, count: int) -> NDArray[np.int64]:
    """Indices of at most ``count`` of n items, ascending: evenly spaced, first and last included (of one: the
    first)."""
    return np.linspace(0, n - 1, min(count, n)).round().astype(np.int64)
