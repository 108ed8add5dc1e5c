"""Some steps of each relaxation path instead of all, whose neighbours say nearly the same."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from atomscatter.errors import ConfigError
from service.reading import LabelledStructure
from service.spacing import evenly
from service.structure_sequence import StructureSequence


def rows_of_steps(path_ids: Iterable[str], steps: int) -> NDArray[np.int64]:
    """Rows of at most ``steps`` structures of each path, ascending: evenly spaced in the order in which they
    come, first and last among them (of one step: the last, which is the most relaxed).

    Args:
        path_ids: relaxation path of each structure.
        steps: at least 1.

    Raises:
        ConfigError: ``steps`` is less than 1; each of several structures is a path of its own.
    """
    if steps < 1:
        raise ConfigError(f"steps of a relaxation path must be at least 1, got {steps}")
    of_path: dict[str, array[int]] = {}
    for row, path_id in enumerate(path_ids):
        of_path.setdefault(path_id, array("q")).append(row)
    require_steps(sum(map(len, of_path.values())), len(of_path))
    by_path = (np.array(rows, dtype=np.int64) for rows in of_path.values())
    chosen = [rows[-1:] if steps == 1 else rows[evenly(len(rows), steps)] for rows in by_path]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def require_steps(n_structures: int, n_paths: int) -> None:
    """Raise ConfigError when each of several structures is a path of its own."""
    if n_structures == n_paths > 1:
        raise ConfigError(
            f"there are no steps to choose from: each of the {n_paths} structures is a relaxation path of "
            "its own (a path key says which belong together)"
        )


def with_steps(structures: Sequence[LabelledStructure], steps: int | None) -> Sequence[LabelledStructure]:
    """The structures of :func:`rows_of_steps`; with None, all. Raises ConfigError as that does."""
    if steps is None:
        return structures
    return _Chosen(structures, rows_of_steps((structure.path_id for structure in structures), steps))


class _Chosen(StructureSequence):
    def __init__(self, structures: Sequence[LabelledStructure], rows: NDArray[np.int64]) -> None:
        self._structures = structures
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, row: int) -> LabelledStructure:
        return self._structures[int(self._rows[row])]
