"""Where the grids of a structure begin: at a point that moves with its atoms.

Grids that begin there make the features of a translated structure the same to the last digits, however coarse
they are. Beginning at one of the atoms would do so, too, but energies would jump by the error of the grids
whenever another atom takes over.

Along each axis a, the point is where the wave of the lowest structure factor

    S_m = sum over atoms of Z exp(-2 pi i m x_a)

has a crest, x_a = -arg S_m / (2 pi m), which moves smoothly with the atoms. Z makes |S_m| large where only
the species are mixed unevenly: in a dense liquid, all atoms together hardly leave a wave. In most structures
m = 1. In crystals, S_1 is often zero by symmetry; m is then the first with a wave, there are m crests along
the axis, and of all crests the one with the largest charge density counts. Where several have it, they are
equivalent in a perfect crystal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Complex = NDArray[np.complexfloating[Any, Any]]

LEAST_WAVE = 1e-3
"""Smallest |S_m| / S_0 that is taken for a wave: above what rounded positions of a crystal leave, far below
what disorder leaves."""


def moving_origin(charge: Complex) -> Float:
    """Fractional coordinates, shape (3,), of a point that moves with the atoms.

    Args:
        charge: structure factors sum over atoms of Z exp(-2 pi i k . x) at integer k, shape
            (2h0 + 1, 2h1 + 1, h2 + 1): the first two from -h to h, the last from 0.
    """
    half0, half1, _ = half = [charge.shape[0] // 2, charge.shape[1] // 2, charge.shape[2] - 1]
    total = charge[half0, half1, 0].real
    crests = [
        _crests(line / total)
        for line in (charge[half0 + 1 :, half1, 0], charge[half0, half1 + 1 :, 0], charge[half0, half1, 1:])
    ]
    if all(len(c) == 1 for c in crests):
        return np.concatenate(crests)
    # The density at every crest; frequencies that are not stored are conjugates of those that are.
    frequencies = [np.arange(first, h + 1) for first, h in zip((-half0, -half1, 0), half, strict=True)]
    waves = [np.exp(2j * np.pi * np.outer(c, k)) for c, k in zip(crests, frequencies, strict=True)]
    waves[2][:, 1:] *= 2
    density = np.einsum("abc,pa,qb,rc->pqr", charge, *waves, optimize=True).real
    best = np.unravel_index(np.argmax(density), density.shape)
    return np.array([c[i] for c, i in zip(crests, best, strict=True)])


def about(density: Complex, origin: Float) -> Complex:
    """Structure factors, shape (..., 2h0 + 1, 2h1 + 1, h2 + 1), with positions measured from ``origin``."""
    n0, n1, n2 = density.shape[-3:]
    waves = [
        np.exp(2j * np.pi * x * np.arange(first, first + n))
        for x, first, n in zip(origin, (-(n0 // 2), -(n1 // 2), 0), (n0, n1, n2), strict=True)
    ]
    return np.asarray(density * (waves[0][:, None, None] * waves[1][:, None] * waves[2]))


def _crests(line: Complex) -> Float:
    """Crests of the first wave among the relative structure factors of m = 1, 2, ...; (0,) without any."""
    found = np.flatnonzero(np.abs(line) > LEAST_WAVE)
    if not len(found):
        return np.zeros(1)
    m = int(found[0]) + 1
    return np.asarray((np.arange(m) - np.angle(line[m - 1]) / (2 * np.pi)) / m)
