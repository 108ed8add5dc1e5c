"""Real-space grids for each scale and angular number, and the frequencies that each scale needs.

Every scale j has a *band*, the reciprocal lattice vectors with 2^j beta |omega| <= cutoff (outside, the
filters are negligible), and grids on which fields of that band are evaluated. A grid that just holds the band
(oversampling 1) is exact for q = 2. Other powers have kinks where a field vanishes, and so has the modulus
whose spectrum all second-order features are made of: on surfaces for l = 0, at points for l = 1, nowhere in
general for l = 2. So grids get coarser with l, where fields are many: the most accuracy for the least cost
(benchmarks/results/grid_convergence.md). Large scales have few points to average and get finer grids.

Grids move with the atoms (:mod:`atomscatter.origin`), so translation changes nothing; how atoms lie on a grid
still changes when they move against each other, or with the cell.

In a perfect crystal all atoms lie alike on a grid, and the errors at different atoms do not average out. They
do if the number of points along an axis shares no factor with the number of periods: two periods then see
the grid shifted by half a spacing, as if it were twice as fine; and the centred lattices (bcc, fcc, diamond)
are two periods along each axis. So numbers of points are odd, and few up to 77 are multiples of 3. Short
cells get the points of a longer one (benchmarks/results/translation.md). The price: what cancels exactly in a
tiled crystal does so to the error of the grids, where the points do not repeat with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import ConfigError, StructureError
from atomscatter.fft import Shape

Factors = tuple[tuple[float, ...], ...]

# Odd numbers of points, for most sizes a cheap one (benchmarks/fft_lengths.py).
FAST_LENGTHS = (9, 11, 13, 15, 25, 35, 45, 49, 55, 65, 77)
_FAST_FACTORS = (3, 5, 7, 11, 13)
_LEAST_IN_BETA = 28.0  # for beta far below the default, where 7 Angstrom would have too many points


@dataclass(frozen=True)
class Grid:
    """Accuracy of the numerics.

    Attributes:
        cutoff: filters are cut where 2^j beta |omega| exceeds it (dimensionless).
        first: oversampling of first-order fields: points per axis over the least number that holds the band;
            a row for each scale, in it a number for each l; the last of a row serves all larger l. Grids hold
            the band whatever the number.
        second: the same for second-order fields.
        growth: for scales beyond the last row: factor from one scale to the next.
        least_length: no axis gets fewer points than one of this length would, Angstrom; of 28 beta where that
            is less.
        max_points: refuse cells that would need more points than this on one grid.
    """

    cutoff: float = 5.0
    first: Factors = ((1.5, 1.5, 1.25), (3.0, 3.0, 2.5), (4.1, 4.1, 3.3))
    second: Factors = ((1.12, 0.9, 0.9), (1.75, 1.15, 1.0), (2.3, 1.82, 1.44))
    growth: float = 1.3
    least_length: float = 7.0
    max_points: int = 320**3

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            given = getattr(self, name)
            try:
                factors = tuple(tuple(float(f) for f in row) for row in given)
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"grid oversampling {name!r} needs a row of numbers for each scale, not {given}"
                ) from error
            if not factors or not all(row and all(0.5 <= f <= 16.0 for f in row) for row in factors):
                raise ConfigError(f"grid oversampling {name!r} needs numbers between 0.5 and 16, not {given}")
            object.__setattr__(self, name, factors)
        if not 1.0 <= self.growth <= 2.0:
            raise ConfigError(f"grid growth must lie between 1 and 2, not {self.growth}")
        if not (math.isfinite(self.cutoff) and 1.0 <= self.cutoff <= 12.0):
            raise ConfigError(f"grid cutoff must lie between 1 and 12, not {self.cutoff}")
        if not (math.isfinite(self.least_length) and 0.0 <= self.least_length <= 100.0):
            raise ConfigError(f"grid least_length must lie between 0 and 100, not {self.least_length}")
        if self.max_points < 1:
            raise ConfigError(f"grid max_points must be positive, not {self.max_points}")

    def first_points(self, lengths: FloatArray, beta: float, scale: int, angular: int) -> Shape:
        """Points per axis for the first-order fields of (j, l); holds the band of the scale before, too."""
        finer = 2 * self.half_band(lengths, beta, max(0, scale - 1)) + 1
        return self._points(lengths, beta, self.spacing(beta, scale, angular, self.first), finer)

    def second_points(self, lengths: FloatArray, beta: float, scale: int, angular: int) -> Shape:
        """Points per axis for the second-order fields of (j, l)."""
        own = 2 * self.half_band(lengths, beta, scale) + 1
        return self._points(lengths, beta, self.spacing(beta, scale, angular, self.second), own)

    def spacing(self, beta: float, scale: int, angular: int, factors: Factors) -> float:
        """Largest distance of grid points, Angstrom: pi 2^j beta / (cutoff oversampling)."""
        row = factors[min(scale, len(factors) - 1)]
        beyond = max(0, scale - len(factors) + 1)
        factor = row[min(angular, len(row) - 1)] * self.growth**beyond
        return math.pi * 2.0**scale * beta / (self.cutoff * factor)

    def half_band(self, lengths: FloatArray, beta: float, scale: int) -> IntArray:
        """Largest |h| per axis, shape (3,), of the reciprocal lattice vectors in the band of a scale.

        ``lengths`` are those of the cell vectors a_i, Angstrom: h_i = omega . a_i / 2 pi in any cell.
        """
        frequency = self.cutoff / (2.0**scale * beta)
        return np.floor(frequency * lengths / (2 * math.pi)).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = {name: [list(row) for row in getattr(self, name)] for name in ("first", "second")}
        return {**asdict(self), **rows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Grid:
        """Inverse of :meth:`to_dict`; ConfigError names an entry that does not exist."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(f"unknown grid setting: {', '.join(sorted(unknown))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"grid settings: {error}") from error

    def gridded(self, lengths: FloatArray, beta: float) -> FloatArray:
        """Lengths whose points the axes get, Angstrom: the cell's own, or the least."""
        return np.maximum(lengths, min(self.least_length, _LEAST_IN_BETA * beta))

    def _points(self, lengths: FloatArray, beta: float, spacing: float, least: IntArray) -> Shape:
        wanted = np.maximum(np.ceil(self.gridded(lengths, beta) / spacing), least)
        if float(np.prod(wanted)) > self.max_points:
            raise StructureError(
                f"cell of {' x '.join(f'{v:.4g}' for v in lengths)} Angstrom needs more than "
                f"{self.max_points} grid points at spacing {spacing:.3g} Angstrom"
            )
        n0, n1, n2 = (fast_length(int(w)) for w in wanted)
        return n0, n1, n2


def fast_length(least: int) -> int:
    """Smallest number of points >= least that grids may have."""
    for length in FAST_LENGTHS:
        if length >= least:
            return length
    length = least
    while not _is_fast(length):
        length += 1
    return length


def _is_fast(length: int) -> bool:
    """Whether a length is a product of small odd primes."""
    for factor in _FAST_FACTORS:
        while length % factor == 0:
            length //= factor
    return length == 1
