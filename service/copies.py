"""Copies of structures that lie elsewhere on the grids: their features show what the grids' error is.

A copy is translated by a random vector while its grids stay at the corner of the cell (``origin="cell"`` of
:class:`atomscatter.scattering.Scattering`). Were the grids exact, its features would not change. Training
turns the differences between copy and original into conditions on the weights
(``service.training.FitSettings.invariance``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from atomscatter.errors import ConfigError
from service import defaults
from service.reading import LabelledStructure
from service.spacing import evenly
from service.structure_sequence import StructureSequence


def with_translated_copies(
    structures: Sequence[LabelledStructure], share: float = defaults.COPIES, seed: int = 0
) -> Sequence[LabelledStructure]:
    """The structures, followed by copies of an even selection of them, each moved by a random vector.

    A copy is made whenever it is looked at.

    Args:
        structures: the originals.
        share: copies for each structure, 0 to 1; 0: none.
        seed: of the random vectors; that of a copy depends on its original's row, too.

    Raises:
        ConfigError: ``share`` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of translated copies must lie between 0 and 1, not {share}")
    rows = evenly(len(structures), round(share * len(structures)))
    return _WithCopies(structures, rows, seed)


class _WithCopies(StructureSequence):
    def __init__(self, structures: Sequence[LabelledStructure], rows: NDArray[np.int64], seed: int) -> None:
        self._structures = structures
        self._rows = rows
        self._seed = seed

    def __len__(self) -> int:
        return len(self._structures) + len(self._rows)

    def _row(self, row: int) -> LabelledStructure:
        if row < len(self._structures):
            return self._structures[row]
        original = int(self._rows[row - len(self._structures)])
        return _translated(self._structures[original], original, self._seed)


def _translated(structure: LabelledStructure, row: int, seed: int) -> LabelledStructure:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(row,)))
    atoms = structure.atoms.copy()
    atoms.positions += rng.random(3) @ atoms.cell.array
    return replace(structure, atoms=atoms, copy_of=row)
