"""Where the grids of a structure begin: at a point that moves with its atoms.

Grids that begin there make the features of a translated structure the same to the last digits, however coarse
they are.

Along each axis a the point is where the longest wave of the nuclear charges has its crest,

    o_a = -arg(S_a) / (2 pi) ,     S_a = sum over atoms n of Z_n exp(-2 pi i x_na) ,

(fractional coordinates), which follows small moves smoothly. Charges, because in a dense liquid all atoms
together hardly leave a wave; where the species are mixed unevenly, charges do.

In crystals S_a is zero by symmetry; in tilings of a smaller cell whose atoms have moved a little it is small,
and its phase says nothing. Then the point is the atom with the largest charge density, of the waves that the
transform has: w_k S_k, with w_k = 1 / (1 + k . k) for integer k, which no exchange or reversal of cell
vectors changes. Equivalent atoms of a crystal have the same, and whichever is taken, the crystal looks the
same from it. When atoms move, another one may take over; where it is not equivalent to the first, energies
change by some of the error of the grids.
"""

from __future__ import annotations

import numpy as np

from atomscatter.arrays import ComplexArray, FloatArray

LEAST_WAVE = 0.05
"""Smallest |S_a| whose phase counts, as a part of what atoms at random leave, the square root of sum Z^2. In
the embedded sample 3 % of the structures of paths have less along one of the axes, and all tilings, though
their atoms have moved by 0.1 Angstrom."""

_PAIRS_IN_MEMORY = 2**22  # complex numbers, 64 MiB


def moving_origin(charge: ComplexArray, scaled: FloatArray, numbers: FloatArray) -> FloatArray:
    """Fractional coordinates, shape (3,), of a point that moves with the atoms.

    Args:
        charge: structure factors sum over atoms of Z exp(-2 pi i k . x) at integer k, shape
            (2h0 + 1, 2h1 + 1, h2 + 1): the first two from -h to h, the last from 0.
        scaled: fractional coordinates of the atoms, shape (n_atoms, 3).
        numbers: their Z, shape (n_atoms,).
    """
    center = charge.shape[0] // 2, charge.shape[1] // 2, 0
    origin, least = np.zeros(3), LEAST_WAVE * np.linalg.norm(numbers)
    for axis in range(3):
        longest = (*center[:axis], center[axis] + 1, *center[axis + 1 :])
        if longest[axis] == charge.shape[axis]:
            continue  # the band is empty along this axis: fields do not vary along it
        wave = charge[longest]
        if abs(wave) < least:
            return np.array(scaled[np.argmax(_densities(charge, scaled))])
        origin[axis] = -np.angle(wave) / (2 * np.pi)
    return origin


def from_origin(factors: ComplexArray, origin: FloatArray) -> ComplexArray:
    """Structure factors, shape (..., 2h0 + 1, 2h1 + 1, h2 + 1), with positions measured from ``origin``."""
    waves = [np.exp(2j * np.pi * x * k) for x, k in zip(origin, _frequencies(factors), strict=True)]
    return np.asarray(factors * (waves[0][:, None, None] * waves[1][:, None] * waves[2]))


def _frequencies(factors: ComplexArray) -> list[FloatArray]:
    """The integers k along each axis."""
    n0, n1, n2 = factors.shape[-3:]
    return [np.arange(n0) - n0 // 2.0, np.arange(n1) - n1 // 2.0, np.arange(n2) * 1.0]


def _densities(charge: ComplexArray, scaled: FloatArray) -> FloatArray:
    """Weighted charge density at each atom, shape (n_atoms,), up to a factor."""
    k = _frequencies(charge)
    weighted = charge / (1 + k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2] ** 2)
    weighted[..., 1:] *= 2  # the frequencies that are not stored are conjugates of these
    waves = [np.exp(2j * np.pi * np.outer(k[axis], scaled[:, axis])) for axis in range(3)]
    planes = charge.shape[0] * charge.shape[1]
    densities = np.empty(len(scaled))
    block = max(1, _PAIRS_IN_MEMORY // planes)
    for start in range(0, len(scaled), block):
        w0, w1, w2 = (w[:, start : start + block] for w in waves)
        lines = (weighted.reshape(planes, -1) @ w2).reshape(*charge.shape[:2], -1)
        densities[start : start + block] = np.einsum("abn,an,bn->n", lines, w0, w1, optimize=True).real
    return densities
