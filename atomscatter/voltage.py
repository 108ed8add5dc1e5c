"""Voltage of an electrode against lithium metal, from energies (equation C1 of the paper).

Along the lower convex hull of the formation energies over the content x of the working ion, the electrode
passes through two-phase regions with constant voltage

    V = -[G(x2) - G(x1)] / (x2 - x1)        (volt, charge 1),

G being the energy of formation per atom of the host from the host and the metal, and x the number of working
ions per host atom. Entropy and volume work are left out, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from atomscatter.arrays import FloatArray
from atomscatter.errors import DataError


@dataclass(frozen=True)
class VoltageCurve:
    """Steps of constant voltage.

    Attributes:
        x: working ions per host atom at the hull's corners, ascending, shape (n + 1,).
        voltage: between corner i and i + 1, V against the metal, shape (n,).
        on_hull: which of the given structures are corners, shape (n_structures,).
    """

    x: FloatArray
    voltage: FloatArray
    on_hull: NDArray[np.bool_]


def ion_content(atoms: Atoms, ion: str = "Li") -> float:
    """Working ions per atom of the host. Raises DataError for a structure without host atoms."""
    symbols = np.array(atoms.get_chemical_symbols())
    host = np.count_nonzero(symbols != ion)
    if host == 0:
        raise DataError(f"a structure of {ion} only has no host atoms")
    return float(np.count_nonzero(symbols == ion) / host)


def voltage_curve(x: ArrayLike, formation_energies: ArrayLike) -> VoltageCurve:
    """Voltages along the lower convex hull.

    The pure host (x = 0, energy 0) is added when no structure has x = 0; only of a host that is an element
    is this the energy.

    Args:
        x: working ions per host atom, shape (n,).
        formation_energies: relative to the elements, eV per atom of the whole structure, shape (n,).

    Raises:
        DataError: shapes differ, a value is not finite or x negative, or all x are 0.
    """
    content, energy = np.asarray(x, dtype=float), np.asarray(formation_energies, dtype=float)
    if content.shape != energy.shape or content.ndim != 1 or content.size == 0:
        raise DataError(
            f"x has shape {content.shape} and the energies {energy.shape}; both must be (n,), n > 0"
        )
    if not (np.isfinite(content).all() and np.isfinite(energy).all() and (content >= 0).all()):
        raise DataError("formation energies must be finite and x finite and not negative")
    if content.max() == 0:
        raise DataError("a voltage needs a structure that contains the working ion")
    per_host = energy * (1 + content)
    points = [(float(a), float(b), i) for i, (a, b) in enumerate(zip(content, per_host, strict=True))]
    if content.min() > 0:
        points.append((0.0, 0.0, -1))
    corners = _lower_hull(points)
    ends = np.array([c[0] for c in corners])
    levels = np.array([c[1] for c in corners])
    on_hull = np.zeros(content.size, dtype=bool)
    on_hull[[i for *_, i in corners if i >= 0]] = True
    return VoltageCurve(ends, -np.diff(levels) / np.diff(ends), on_hull)


def average_voltages(
    energies: Mapping[float, Sequence[float]], metal: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Average voltage of lithiation from the smallest content to each larger one (equation C1).

        V(x) = -[E(x) - E(x0) - (x - x0) E(metal)] / (x - x0)        (volt, charge 1)

    Args:
        energies: total energies per host atom (eV) of several structures for each content x of the ion.
        metal: energy of the ion's metal, eV/atom.

    Returns:
        The contents but the smallest, ascending, and mean and standard deviation over the structures of each,
        V; all of shape (n_contents - 1,). E(x0) is the mean over the structures of the smallest content.

    Raises:
        DataError: there are fewer than two contents.
    """
    contents = np.array(sorted(energies))
    if len(contents) < 2:
        raise DataError(f"voltages need at least two contents of the ion, not {len(contents)}")
    start, origin = contents[0], float(np.mean(energies[contents[0]]))
    volts = [metal - (np.asarray(energies[x]) - origin) / (x - start) for x in contents[1:]]
    return contents[1:], np.array([v.mean() for v in volts]), np.array([v.std() for v in volts])


def _lower_hull(points: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Corners of the lower convex hull (x, energy, index), x ascending (Andrew's monotone chain)."""
    hull: list[tuple[float, float, int]] = []
    for point in sorted(points):
        if hull and point[0] == hull[-1][0]:
            continue  # the lowest of each x comes first
        while len(hull) > 1 and _turn(hull[-2], hull[-1], point) <= 0:
            hull.pop()
        hull.append(point)
    return hull


def _turn(a: tuple[float, float, int], b: tuple[float, float, int], c: tuple[float, float, int]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
