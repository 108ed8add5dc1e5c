"""Structures under hydrostatic strain, for equations of state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from atomscatter.arrays import FloatArray
from atomscatter.errors import DataError

STRAINS = tuple(np.linspace(-0.05, 0.05, 11).round(3).tolist())
"""Side-length strains of a series: those that :func:`atomscatter.properties.fit_equation_of_state` fits."""

LARGEST_STRAIN = 0.3


def strained(atoms: Atoms, strains: ArrayLike = STRAINS) -> list[Atoms]:
    """Copies whose cell vectors are (1 + strain) times as long; atoms keep their fractional coordinates.

    Args:
        atoms: the unstrained structure.
        strains: side-length strains (dimensionless), shape (n,), between -0.3 and 0.3.

    Raises:
        DataError: there is no strain, or one is out of range.
    """
    values = np.asarray(strains, dtype=float)
    if values.ndim != 1 or values.size == 0 or not (np.abs(values) <= LARGEST_STRAIN).all():
        raise DataError(f"strains must be numbers between -{LARGEST_STRAIN} and {LARGEST_STRAIN}")
    copies = []
    for strain in values:
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        copies.append(copy)
    return copies


def volumes_of(structures: Sequence[Atoms]) -> FloatArray:
    """Volumes of the cells, A^3, shape (n,)."""
    return np.array([atoms.get_volume() for atoms in structures])
