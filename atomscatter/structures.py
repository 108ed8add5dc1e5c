"""What a structure must satisfy before it can be featurized."""

from collections.abc import Collection

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from atomscatter.arrays import FloatArray
from atomscatter.channels import HEAVIEST
from atomscatter.errors import StructureError

MIN_DISTANCE = 0.5  # Angstrom; no bond is shorter than 0.74 (H2)
# Angstrom^3; an atom alone in a cube of 58 Angstrom. The work of a transform grows with the volume.
MAX_VOLUME_PER_ATOM = 2e5
# Volume of the cell over the product of its edges; a cube has 1, a sliver that is hardly a cell 1e-6.
_MIN_SOLIDITY = 1e-6
# A double holds a position to 1e-9 of a cell up to here; beyond it, wrapping invents coordinates.
_MAX_CELLS_AWAY = 1e6


def check_atoms(
    atoms: Atoms, *, species: Collection[str] | None = None, min_distance: float = MIN_DISTANCE
) -> None:
    """Raise if a structure cannot be featurized; otherwise do nothing.

    Args:
        atoms: any number of atoms in any cell; positions in Angstrom, inside the cell or not.
        species: chemical symbols that are allowed; None allows every element.
        min_distance: smallest distance allowed between two atoms, periodic images included, Angstrom.

    Raises:
        StructureError: no atoms; positions or cell not finite; not periodic in three directions; singular
            cell; unknown element or one outside ``species``; more than ``MAX_VOLUME_PER_ATOM``; atoms closer
            than ``min_distance``. ``reason`` names the atoms (counted from 0).
    """
    if len(atoms) == 0:
        raise StructureError("has no atoms")
    _check_elements(atoms.numbers, species)
    positions = np.asarray(atoms.positions, dtype=np.float64)
    _check_finite(positions)
    cell = np.asarray(atoms.cell.array, dtype=np.float64)
    _check_cell(cell, np.asarray(atoms.pbc), len(atoms))
    _check_distances(positions, cell, min_distance)


def _check_elements(numbers: NDArray[np.int_], species: Collection[str] | None) -> None:
    present = np.unique(numbers)
    unknown = present[(present < 1) | (present > HEAVIEST)]
    if unknown.size:
        raise StructureError(f"contains atomic number {unknown[0]}, which is no element")
    if species is None:
        return
    foreign = [chemical_symbols[z] for z in present if chemical_symbols[z] not in species]
    if foreign:
        raise StructureError(f"contains {', '.join(foreign)}; known elements are {', '.join(species)}")


def _check_finite(positions: FloatArray) -> None:
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        raise StructureError(f"position of atom {bad[0]} is not finite")


def _check_cell(cell: FloatArray, periodic: NDArray[np.bool_], n_atoms: int) -> None:
    if not np.isfinite(cell).all():
        raise StructureError("cell is not finite")
    if not periodic.all():
        raise StructureError("is not periodic in all three directions")
    # Ratios first, so that no square and no product over- or underflows.
    largest = np.abs(cell).max() or 1.0
    edges = largest * np.linalg.norm(cell / largest, axis=1)
    if not (edges > 0).all():
        raise StructureError("cell is singular (an edge has no length)")
    solidity = abs(np.linalg.det(cell / edges[:, None]))
    if solidity < _MIN_SOLIDITY:
        raise StructureError(f"cell is singular (volume is {solidity:.1e} of the product of its edges)")
    with np.errstate(over="ignore"):
        volume = float(solidity * edges.prod())
    if not volume <= MAX_VOLUME_PER_ATOM * n_atoms:
        raise StructureError(
            f"volume of {volume / n_atoms:.3g} Å³ per atom is more than {MAX_VOLUME_PER_ATOM:.0g} Å³"
        )


def _check_distances(positions: FloatArray, cell: FloatArray, cutoff: float) -> None:
    if cutoff <= 0:
        return
    heights = plane_spacings(cell)
    if heights.min() < 2 * cutoff:
        # A thin cell may need very many images; its reduced form, of the same lattice, needs few.
        cell = reduced(cell)
        shortest = float(np.linalg.norm(cell, axis=1).min())
        if shortest < cutoff:
            raise StructureError(f"atom 0 is {shortest:.3f} Å from its own periodic image (< {cutoff:g} Å)")
        heights = plane_spacings(cell)
    scaled = np.linalg.solve(cell.T, positions.T).T
    if not (np.abs(scaled) < _MAX_CELLS_AWAY).all():
        raise StructureError("an atom lies more than a million cells away from the origin")
    points, owners = _with_images(scaled - np.floor(scaled), cutoff / heights)
    _check_pairs(points @ cell, owners, len(positions), cutoff)


def plane_spacings(cell: FloatArray) -> FloatArray:
    """Distances between opposite faces, shape (3,), Angstrom."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def reduced(cell: FloatArray) -> FloatArray:
    """Shortest vectors of the same lattice, in rows, Angstrom; StructureError if they cannot be found."""
    try:
        return np.array(minkowski_reduce(cell)[0], dtype=np.float64)
    except RuntimeError as error:  # ASE bounds the number of its steps
        raise StructureError("cell is too skewed to be reduced") from error


def _with_images(scaled: FloatArray, margin: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """The atoms and those periodic images that lie within ``margin`` (in cells) of the cell.

    Returns:
        Scaled positions, shape (m, 3), the atoms themselves first; and the atom that each is an image of,
        shape (m,).
    """
    owners = np.arange(len(scaled))
    points = scaled
    for axis in range(3):
        reach = int(np.ceil(margin[axis]))
        shifts = np.array([0, *(s for s in range(-reach, reach + 1) if s)])
        along = (points[:, axis] + shifts[:, None]).ravel()
        points = np.tile(points, (len(shifts), 1))
        points[:, axis] = along
        # The cell's own atoms stay in front: they are those of shift 0, and none of them is dropped.
        keep = (along >= -margin[axis]) & (along <= 1 + margin[axis])
        points, owners = points[keep], np.tile(owners, len(shifts))[keep]
    return points, owners


def _check_pairs(points: FloatArray, owners: NDArray[np.intp], n_atoms: int, cutoff: float) -> None:
    from scipy.spatial import cKDTree  # only here: it loads half of SciPy

    # Nearest neighbours, not all pairs: a thousand atoms in one place have half a million of those.
    distances, others = cKDTree(points).query(points[:n_atoms], k=2, distance_upper_bound=cutoff)
    atoms = np.arange(n_atoms)
    second = np.where(others[:, 0] == atoms, 1, 0)  # not the atom itself
    distances, others = distances[atoms, second], others[atoms, second]
    a = int(distances.argmin())
    if not distances[a] < cutoff:
        return
    first, last = sorted((a, int(owners[others[a]])))
    other = "its own periodic image" if first == last else f"atom {last}"
    raise StructureError(f"atom {first} is {distances[a]:.3f} Å from {other} (< {cutoff:g} Å)")
