"""Randomly translated copies of structures: their features show what the grids' error is.

Energies do not change when all atoms are moved together, and neither would the features, were the grids
exact. Training turns the differences between copy and original into conditions on the weights
(``service.training.FitSettings.invariance``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from atomscatter.errors import ConfigError
from service.reading import LabelledStructure

DEFAULT_SHARE = 0.4


def with_translated_copies(
    structures: Sequence[LabelledStructure], share: float = DEFAULT_SHARE, seed: int = 0
) -> list[LabelledStructure]:
    """The structures, followed by copies of an even selection of them, each moved by a random vector.

    Args:
        structures: the originals.
        share: copies for each structure, 0 to 1; 0: none.
        seed: of the random vectors; that of a copy depends on its original's row, too.

    Raises:
        ConfigError: ``share`` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of translated copies must lie between 0 and 1, not {share}")
    count = round(share * len(structures))
    rows = np.unique(np.linspace(0, len(structures) - 1, count).round().astype(int))
    return [*structures, *(_translated(structures[row], int(row), seed) for row in rows)]


def _translated(structure: LabelledStructure, row: int, seed: int) -> LabelledStructure:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(row,)))
    atoms = structure.atoms.copy()
    atoms.positions += rng.random(3) @ atoms.cell.array
    return replace(structure, atoms=atoms, copy_of=row)
