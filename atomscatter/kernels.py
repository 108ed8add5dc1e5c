"""Compiled inner loops: filters onto spectra, moduli, and sums of powers.

All loops run over contiguous memory in blocks that stay in the first-level cache. Powers are the costly part:
for the paper's q = 1, 4/3, 5/3, 2 the powers s^(q/2) of s = sum over m of |field_m|^2 follow from one square
root and one inverse cube root, which vectorises (no library call), unlike pow and cbrt. Loops count from zero
over slices: an index with an offset may be negative for all the compiler knows, and the loop then does not
vectorise and takes three times as long.

Fields, and the sums within a block, have single or double precision; blocks are added in double precision.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from atomscatter.arrays import ComplexArray, FloatArray, IntArray, RealArray

BLOCK = 512
PAPER_POWERS = (1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0)
# Sums may be reordered and fused, so that they vectorise; nan and inf keep their meaning.
MATH = {"reassoc", "contract", "nsz", "arcp"}


@intrinsic
def _bits(typingctx: Any, value: Any) -> Any:
    """Reinterpret a float as unsigned integer of the same width."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(value.bitwidth))

    return (types.uint32 if value == types.float32 else types.uint64)(value), codegen


@intrinsic
def _from_bits(typingctx: Any, value: Any) -> Any:
    """Reinterpret an unsigned integer as float of the same width."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType() if value == types.uint32 else ir.DoubleType())

    return (types.float32 if value == types.uint32 else types.float64)(value), codegen


def inverse_cbrt(s: Any) -> Any:
    """s^(-1/3) to about 1 ulp, for compiled code; a finite number where s^(-1/3) overflows the format.

    The exponent bits divided by -3 give 4 %; each step then solves h = 1 - s r^3 = 0 to fourth order,
    r <- r (1 - h)^(-1/3), or to second where that suffices. The division by three is a 32-bit
    multiplication: it vectorises. Accurate for s > 1e-280 in double and s > 1e-30 in single precision.
    """
    raise NotImplementedError("inverse_cbrt is for compiled code")


@overload(inverse_cbrt, inline="always", jit_options={"fastmath": MATH})
def _inverse_cbrt(s: Any) -> Any:
    if s == types.float32:
        return _inverse_cbrt_single
    return _inverse_cbrt_double


def _inverse_cbrt_double(s: Any) -> Any:
    s += 1e-290  # keeps r^3 finite for s = 0
    bits: Any = _bits(s)  # type: ignore[call-arg]  # an intrinsic is called without its typing context
    high = (bits >> np.uint64(32)) & np.uint64(0xFFFFFFFF)
    third = (high * np.uint64(0x55555556)) >> np.uint64(32)
    r = _from_bits((np.uint64(0x553EF0FF) - third) << np.uint64(32))
    for _ in range(2):
        h = 1.0 - s * (r * r * r)
        r += r * h * (1.0 / 3.0 + h * (2.0 / 9.0 + h * (14.0 / 81.0)))
    return r


def _inverse_cbrt_single(s: Any) -> Any:
    one, third_of_one = np.float32(1.0), np.float32(1.0 / 3.0)
    s += np.float32(2e-38)  # keeps r^3 finite for s = 0
    bits: Any = _bits(s)  # type: ignore[call-arg]  # as above
    third = (np.uint64(bits) * np.uint64(0x55555556)) >> np.uint64(32)
    r = _from_bits(np.uint32(np.uint64(0x54A2FA8C) - third))
    h = one - s * (r * r * r)
    r += r * h * (third_of_one + h * (np.float32(2.0 / 9.0) + h * np.float32(14.0 / 81.0)))
    h = one - s * (r * r * r)
    r += r * h * third_of_one
    return r


@nb.njit(cache=True, fastmath=MATH)
def _paper_sums(s: RealArray, count: int, sums: FloatArray) -> None:
    a0 = a1 = a2 = a3 = s.dtype.type(0)  # sums of a block, in the precision of the fields
    for i in range(count):
        x = s[i]
        root = np.sqrt(x)
        third = inverse_cbrt(x)  # x^(-1/3)
        square = x * third  # x^(2/3)
        a0 += root
        a1 += square
        a2 += root * square * third  # x^(1/2 + 2/3 - 1/3)
        a3 += x
    sums[0] += a0
    sums[1] += a1
    sums[2] += a2
    sums[3] += a3


@nb.njit(cache=True, fastmath=MATH)
def _general_sums(s: RealArray, count: int, powers: FloatArray, sums: FloatArray) -> None:
    for p in range(powers.size):
        total = 0.0
        for i in range(count):
            total += np.float64(s[i]) ** (0.5 * powers[p])
        sums[p] += total


@nb.njit(cache=True, fastmath=MATH)
def power_sums(fields: RealArray, powers: FloatArray, paper: bool, scale: float) -> FloatArray:
    """Sum over grid points of (sum over m of field_m^2)^(q/2), times ``scale``.

    ``fields`` has shape (2l+1, points); returns shape (powers,). With ``paper`` the powers are the four of
    the paper and the fast roots are used.
    """
    sums = np.zeros(powers.size)
    s = np.empty(BLOCK, fields.dtype)
    points = fields.shape[1]
    for start in range(0, points, BLOCK):
        count = min(BLOCK, points - start)
        s[:count] = 0.0
        for m in range(fields.shape[0]):
            field = fields[m, start : start + count]
            for i in range(count):
                s[i] += field[i] * field[i]
        if paper:
            _paper_sums(s, count, sums)
        else:
            _general_sums(s, count, powers, sums)
    return sums * scale


@nb.njit(cache=True, fastmath=MATH)
def channel_moduli(
    species_fields: RealArray,
    weights: RealArray,
    powers: FloatArray,
    paper: bool,
    scale: float,
    moduli: RealArray,
) -> FloatArray:
    """First-order moduli of some channels, written to ``moduli``, and their power sums times ``scale``.

    modulus = sqrt(sum over m of (sum over species of f_s field_sm)^2); ``species_fields`` has shape
    (species, 2l+1, points), ``weights`` (channels, species), ``moduli`` (channels, points); returns shape
    (channels, powers). Each block of the fields is read from memory once for all channels.
    """
    n_species, n_components, points = species_fields.shape
    sums = np.zeros((weights.shape[0], powers.size))
    s = np.empty(BLOCK, species_fields.dtype)
    mixed = np.empty(BLOCK, species_fields.dtype)
    for start in range(0, points, BLOCK):
        count = min(BLOCK, points - start)
        for c in range(weights.shape[0]):
            modulus = moduli[c, start : start + count]
            s[:count] = 0.0
            for m in range(n_components):
                mixed[:count] = 0.0
                for k in range(n_species):
                    weight = weights[c, k]
                    if weight != 0.0:
                        field = species_fields[k, m, start : start + count]
                        for i in range(count):
                            mixed[i] += weight * field[i]
                for i in range(count):
                    s[i] += mixed[i] * mixed[i]
            if paper:
                _paper_sums(s, count, sums[c])
            else:
                _general_sums(s, count, powers, sums[c])
            for i in range(count):
                modulus[i] = np.sqrt(s[i])
    return sums * scale


@nb.njit(cache=True, fastmath=MATH)
def apply_filters(
    spectrum: ComplexArray, map0: IntArray, map1: IntArray, filters: RealArray, odd: bool, out: ComplexArray
) -> None:
    """Multiply a spectrum with several filters and place the products on another grid.

    Args:
        spectrum: (a0, a1, a2), rows ``map0[i]``, ``map1[j]`` hold the frequencies i, j of the filter's box.
        filters: (count, b0, b1, b2), the box runs over -h..h, -h..h, 0..h.
        odd: l is odd: multiply by i, so that the field is real. (The phase (-i)^l of the wavelet changes no
            modulus; what is left of it is this factor.)
        out: (count, n0, n1, n2//2+1), overwritten; frequencies beyond the box are zero.
    """
    half0, half1, width = filters.shape[1] // 2, filters.shape[2] // 2, filters.shape[3]
    factor = out.dtype.type(1j if odd else 1.0 + 0j)
    n0, n1 = out.shape[1], out.shape[2]
    for c in range(filters.shape[0]):
        for o0 in range(n0):
            h0 = o0 if o0 <= half0 else o0 - n0
            plane = out[c, o0]
            if h0 < -half0:
                plane[:] = 0.0
                continue
            for o1 in range(n1):
                h1 = o1 if o1 <= half1 else o1 - n1
                row = plane[o1]
                if h1 < -half1:
                    row[:] = 0.0
                    continue
                source = spectrum[map0[h0 + half0], map1[h1 + half1]]
                line = filters[c, h0 + half0, h1 + half1]
                for k in range(width):
                    row[k] = source[k] * (factor * line[k])
                row[width:] = 0.0
