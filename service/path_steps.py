"""Some steps of each relaxation path instead of all, whose neighbours say nearly the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atomscatter.errors import ConfigError
from service.reading import LabelledStructure
from service.structure_sequence import StructureSequence


def evenly(n: int, count: int) -> NDArray[np.int64]:
    """Indices of at most ``count`` of n items, evenly spaced, first and last included; ascending."""
    return np.linspace(0, n - 1, min(count, n)).round().astype(np.int64)


def rows_of_steps(path_ids: Sequence[str], steps: int) -> NDArray[np.int64]:
    """Rows of at most ``steps`` structures of each path, ascending: evenly spaced in the order in which they
    come, first and last among them (of one step: the last, which is the most relaxed).

    Args:
        path_ids: relaxation path of each structure, shape (n,).
        steps: at least 1.

    Raises:
        ConfigError: ``steps`` is less than 1.
    """
    if steps < 1:
        raise ConfigError(f"steps of a relaxation path must be at least 1, got {steps}")
    path = np.unique(np.asarray(path_ids, dtype=str), return_inverse=True)[1]
    ends = np.cumsum(np.bincount(path))[:-1]
    by_path = np.split(np.argsort(path, kind="stable"), ends)
    chosen = [rows[-1:] if steps == 1 else rows[evenly(len(rows), steps)] for rows in by_path]
    return np.sort(np.concatenate(chosen))


def with_steps(structures: Sequence[LabelledStructure], steps: int | None) -> Sequence[LabelledStructure]:
    """The structures of :func:`rows_of_steps`; with None, all."""
    if steps is None:
        return structures
    return _Chosen(structures, rows_of_steps([structure.path_id for structure in structures], steps))


class _Chosen(StructureSequence):
    def __init__(self, structures: Sequence[LabelledStructure], rows: NDArray[np.int64]) -> None:
        self._structures = structures
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, row: int) -> LabelledStructure:
        return self._structures[int(self._rows[row])]
