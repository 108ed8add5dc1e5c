"""Radial distribution functions g(r) of periodic structures."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms

from atomscatter.arrays import FloatArray
from atomscatter.errors import ConfigError, StructureError
from atomscatter.structures import check_atoms, plane_spacings

MAX_PAIRS = 10_000_000
"""Pairs within the cutoff; each takes some dozen bytes for a moment."""
MAX_IMAGES = 30_000
"""Atoms, with their periodic images, in the cell widened by the cutoff on all sides: what is searched."""


def radial_distribution(
    atoms: Atoms, *, cutoff: float = 8.0, width: float = 0.1
) -> tuple[FloatArray, dict[tuple[str, str], FloatArray]]:
    """g(r) of each pair of elements: pairs found over those of an ideal gas of the same density.

    All periodic images count, so the cutoff may exceed half the cell.

    Args:
        atoms: periodic structure.
        cutoff: largest distance, Angstrom (0 to 30).
        width: of a bin, Angstrom. Bins end at its last multiple within the cutoff; what remains, less than a
            width, is left out.

    Returns:
        Centres of the bins, Angstrom, shape (n,), and g(r), dimensionless, shape (n,), for each pair of
        elements in alphabetical order.

    Raises:
        ConfigError: cutoff or width is out of range.
        StructureError: see :func:`atomscatter.structures.check_atoms`; more than ``MAX_PAIRS`` are expected
            within the cutoff, or the cell is so thin or skewed that more than ``MAX_IMAGES`` would be
            searched.
    """
    from ase.neighborlist import neighbor_list  # only here: it loads half of SciPy

    if not 0 < cutoff <= 30 or not 0 < width <= cutoff:
        raise ConfigError(f"cutoff {cutoff} must lie between 0 and 30 A, the width {width} below it")
    check_atoms(atoms, min_distance=0.0)
    pairs = len(atoms) ** 2 * 4 / 3 * np.pi * cutoff**3 / atoms.get_volume()
    if pairs > MAX_PAIRS:
        raise StructureError(f"has {pairs:.2g} pairs within {cutoff:g} Å; at most {MAX_PAIRS:.2g}")
    images = len(atoms) * np.prod(1 + 2 * cutoff / plane_spacings(atoms.cell.array))
    if images > MAX_IMAGES:
        raise StructureError(
            f"is too thin or skewed: {images:.2g} images lie around it within {cutoff:g} Å in each direction"
            f" between its planes; at most {MAX_IMAGES:.2g}"
        )
    edges = np.arange(_n_bins(cutoff, width) + 1) * width
    first, second, distance = neighbor_list("ijd", atoms, float(edges[-1]))
    symbols = np.array(atoms.get_chemical_symbols())
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    functions = {}
    for a, b in combinations_with_replacement(sorted(set(symbols)), 2):
        found = np.histogram(distance[(symbols[first] == a) & (symbols[second] == b)], edges)[0]
        n_a, n_b = np.count_nonzero(symbols == a), np.count_nonzero(symbols == b)
        functions[a, b] = found / (n_a * n_b / atoms.get_volume() * shells)
    return (edges[:-1] + edges[1:]) / 2, functions


def _n_bins(cutoff: float, width: float) -> int:
    """Whole bins within the cutoff; 0.3 / 0.1 is 2.9999999999999996, and has three."""
    return math.floor(cutoff / width * (1 + 1e-12))
