"""Real-space grids for each scale, and the frequencies that each scale needs.

Every scale j has a *band*, the reciprocal lattice vectors with 2^j beta |omega| <= cutoff (outside, the
filters are negligible), and a *grid* on which fields of that band are evaluated. A grid that just holds the
band (oversampling 1) is exact for q = 2; the other powers have kinks where a field vanishes and need finer
grids where few points are averaged, that is at large scales, where points are cheap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from atomscatter.errors import ConfigError, StructureError

# Lengths whose transforms are cheap for what they hold: the others up to 64 take as long as the next of these
# (benchmarks/fft_lengths.py).
FAST_LENGTHS = (8, 10, 12, 14, 15, 16, 20, 25, 32, 36, 40, 48, 64)


@dataclass(frozen=True)
class Grid:
    """Accuracy of the numerics.

    Attributes:
        cutoff: filters are cut where 2^j beta |omega| exceeds it (dimensionless).
        oversampling: for each scale the grid points per axis over the least number that holds the band;
            the last entry serves all larger scales.
        max_points: refuse cells that would need more grid points than this at the finest scale.
    """

    cutoff: float = 5.0
    oversampling: tuple[float, ...] = (1.0, 1.2, 2.0, 3.0)
    max_points: int = 320**3

    def __post_init__(self) -> None:
        object.__setattr__(self, "oversampling", tuple(float(s) for s in self.oversampling))
        if not (math.isfinite(self.cutoff) and 1.0 <= self.cutoff <= 12.0):
            raise ConfigError(f"grid cutoff must lie between 1 and 12, not {self.cutoff}")
        if not self.oversampling or not all(1.0 <= s <= 16.0 for s in self.oversampling):
            raise ConfigError(f"grid oversampling needs numbers between 1 and 16, not {self.oversampling}")
        if self.max_points < 1:
            raise ConfigError(f"grid max_points must be positive, not {self.max_points}")

    def spacing(self, beta: float, scale: int) -> float:
        """Largest distance of grid points, Angstrom, at a scale: pi 2^j beta / (cutoff oversampling)."""
        return math.pi * 2.0**scale * beta / (self.cutoff * self._oversampling(scale))

    def half_band(self, lengths: NDArray[np.float64], beta: float, scale: int) -> NDArray[np.int64]:
        """Largest |h| per axis, shape (3,), of the reciprocal lattice vectors in the band of a scale.

        ``lengths`` are those of the cell vectors a_i, Angstrom: h_i = omega . a_i / 2 pi in any cell.
        """
        frequency = self.cutoff / (2.0**scale * beta)
        return np.floor(frequency * lengths / (2 * math.pi)).astype(np.int64)

    def points(self, lengths: NDArray[np.float64], beta: float, scale: int) -> tuple[int, int, int]:
        """Grid points per axis for one scale in a cell with the given vector lengths (Angstrom).

        Raises:
            StructureError: the cell is so large that more than ``max_points`` would be needed.
        """
        wanted = np.ceil(lengths / self.spacing(beta, scale))
        if float(np.prod(wanted)) > self.max_points:
            raise StructureError(
                f"cell of {' x '.join(f'{v:.4g}' for v in lengths)} Angstrom needs more than "
                f"{self.max_points} grid points at spacing {self.spacing(beta, scale):.3g} Angstrom"
            )
        least = 2 * self.half_band(lengths, beta, scale) + 1
        n0, n1, n2 = (fast_length(int(max(w, b))) for w, b in zip(wanted, least, strict=True))
        return n0, n1, n2

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "oversampling": list(self.oversampling)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Grid:
        """Inverse of :meth:`to_dict`; ConfigError names an entry that does not exist."""
        unknown = set(values) - {"cutoff", "oversampling", "max_points"}
        if unknown:
            raise ConfigError(f"unknown grid setting: {', '.join(sorted(unknown))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"grid settings: {error}") from error

    def _oversampling(self, scale: int) -> float:
        return self.oversampling[min(scale, len(self.oversampling) - 1)]


def fast_length(least: int) -> int:
    """Smallest length >= least whose Fourier transform is cheap."""
    for length in FAST_LENGTHS:
        if length >= least:
            return length
    return int(next_fast_len(least, real=True))
