r"""Atomic-orbital wavelets in frequency space (paper, equation (7) and appendix B).

.. math:: \hat\psi_{n,l}^m(\omega) = (-i)^l \sqrt{4\pi/(2l+1)}\,|\omega|^{2(n-1)-l}
          e^{-\beta^2|\omega|^2/2}\,Y_l^m(\omega/|\omega|)

Here with *real* spherical harmonics: the sum over m of the squared moduli is the same and every convolution
is a real field. With k = 2^j omega the filter is exp(-beta^2 k^2/2) (k^2)^(n-1-l) S_lm(k), where S_lm is the
solid harmonic of degree l in Racah's normalisation (sum over m of S_lm^2 = |k|^(2l)): a polynomial, so
nothing has to be divided by |omega|. The phase (-i)^l is left to the caller, see ``kernels.apply_filters``.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from atomscatter.arrays import FloatArray, IntArray

MAX_N = 4
"""Largest principal number n: solid harmonics are written out up to l = 3."""


@nb.njit(cache=True)
def solid_harmonics(x: float, y: float, z: float, n: int, out: FloatArray) -> None:
    """Write S_lm(x, y, z) for all l < n into out, l-major: n*n values."""
    out[0] = 1.0
    if n > 1:
        out[1], out[2], out[3] = x, y, z
    if n > 2:
        r3 = math.sqrt(3.0)
        out[4] = r3 * x * y
        out[5] = r3 * y * z
        out[6] = 0.5 * (2 * z * z - x * x - y * y)
        out[7] = r3 * x * z
        out[8] = 0.5 * r3 * (x * x - y * y)
    if n > 3:
        r58, r38, r15 = math.sqrt(5.0 / 8.0), math.sqrt(3.0 / 8.0), math.sqrt(15.0)
        planar = 4 * z * z - x * x - y * y
        out[9] = r58 * y * (3 * x * x - y * y)
        out[10] = r15 * x * y * z
        out[11] = r38 * y * planar
        out[12] = 0.5 * z * (2 * z * z - 3 * x * x - 3 * y * y)
        out[13] = r38 * x * planar
        out[14] = 0.5 * r15 * z * (x * x - y * y)
        out[15] = r58 * x * (x * x - 3 * y * y)


@nb.njit(cache=True)
def _fill(
    reciprocal: FloatArray, half: IntArray, width: float, n: int, cutoff: float, out: FloatArray
) -> None:
    solid = np.empty(n * n)
    for i in range(2 * half[0] + 1):
        for j in range(2 * half[1] + 1):
            for k in range(half[2] + 1):
                h0, h1, h2 = i - half[0], j - half[1], k
                x = width * (h0 * reciprocal[0, 0] + h1 * reciprocal[1, 0] + h2 * reciprocal[2, 0])
                y = width * (h0 * reciprocal[0, 1] + h1 * reciprocal[1, 1] + h2 * reciprocal[2, 1])
                z = width * (h0 * reciprocal[0, 2] + h1 * reciprocal[1, 2] + h2 * reciprocal[2, 2])
                square = x * x + y * y + z * z
                if square > cutoff * cutoff:
                    out[:, i, j, k] = 0.0
                    continue
                solid_harmonics(x, y, z, n, solid)
                radial = math.exp(-0.5 * square)
                for angular in range(n - 1, -1, -1):
                    for m in range(angular * angular, (angular + 1) * (angular + 1)):
                        out[m, i, j, k] = radial * solid[m]
                    radial *= square


def filters(
    reciprocal: FloatArray, half: IntArray, beta: float, scale: int, n: int, cutoff: float
) -> FloatArray:
    """All filters of one scale on a half box of reciprocal lattice vectors.

    Args:
        reciprocal: shape (3, 3), rows are reciprocal lattice vectors with the factor 2 pi, 1/Angstrom.
        half: shape (3,), the box runs over -half..half on axes 0 and 1 and 0..half on axis 2 (the other
            half follows from the fields being real).
        beta: width of the wavelet of scale 0, Angstrom.
        scale: j; the width is 2^j beta.
        n: principal number; l = 0 .. n-1.
        cutoff: the filters are zero where 2^j beta |omega| exceeds it: one sphere for every cell, so
            that the truncation is isotropic and does not depend on the grid.

    Returns:
        shape (n*n, 2 half[0]+1, 2 half[1]+1, half[2]+1), in units of Angstrom^-(2(n-1)-l) for each l.
    """
    out = np.empty((n * n, 2 * half[0] + 1, 2 * half[1] + 1, half[2] + 1))
    _fill(np.ascontiguousarray(reciprocal), half, 2.0**scale * beta, n, cutoff, out)
    for angular in range(n):  # from beta*k back to k: a homogeneous polynomial of degree 2(n-1)-l
        out[angular**2 : (angular + 1) ** 2] *= beta ** (angular - 2 * (n - 1))
    return out
