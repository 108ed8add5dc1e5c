r"""Products of wavelet fields at the atoms: invariant features that need no grid.

The integrals of the transform see the cell as a whole, an atom's surroundings only as part of it. Here the
fields of equation (10), before their modulus, are taken where the atoms are,

.. math:: U_{swlm}(n) = \sum_{k \in s,\, k \ne n} \psi_{wlm}(R_k - R_n)

for the atoms k of one species s and a wavelet of width w, and for each species z of the atom in the middle

.. math:: \frac1N \sum_{n \in z} U_{sw00}(n), \qquad
          \frac1N \sum_{n \in z} \sum_m U_{swlm}(n)\, U_{s'w'lm}(n)

for all pairs (s, w) <= (s', w'): sums over pairs of atoms, and over triples with the angles between them, as
in the power spectrum of SOAP (Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013)).

The wavelets are those of appendix B in real space, without the cut of the grids and but for a factor: the
Fourier transform of |omega|^(2p+l) exp(-w^2 omega^2 / 2) Y_lm, p = n-1-l, is

.. math:: \psi_{wlm}(r) = S_{lm}(r/w)\, L_p^{(l+1/2)}(t)\, e^{-t}, \qquad t = r^2 / 2w^2

with solid harmonics S in Racah's normalisation and Laguerre polynomials L; dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numba as nb
import numpy as np

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import ConfigError
from atomscatter.structures import plane_spacings, reduced
from atomscatter.wavelets import MAX_N, solid_harmonics

REACH = 7.5
"""Widths beyond which a wavelet counts as zero: there it is below 1e-9 of its largest value."""


@dataclass(frozen=True)
class Products:
    """Which products.

    Attributes:
        widths: w of the wavelets, Angstrom.
        n: principal number of the wavelets; angular numbers l = 0 .. n-1.
    """

    widths: tuple[float, ...] = (0.57, 0.8, 1.6)
    n: int = 4

    def __post_init__(self) -> None:
        if self.n not in range(1, MAX_N + 1) or isinstance(self.n, bool):
            raise ConfigError(f"n of products must be 1 to {MAX_N}, not {self.n!r}")
        if isinstance(self.widths, str) or not isinstance(self.widths, Iterable):
            raise ConfigError(f"widths of products must be a list of numbers, not {self.widths!r}")
        try:
            widths = tuple(float(w) for w in self.widths)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"widths of products must be numbers: {error}") from error
        if not widths or not all(0.05 <= w <= 5.0 for w in widths):
            raise ConfigError(f"widths of products must lie between 0.05 and 5 Angstrom, not {widths}")
        if len(set(widths)) < len(widths):
            raise ConfigError(f"widths of products must differ, not {widths}")
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "n", int(self.n))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "widths": list(self.widths)}

    @classmethod
    def from_config(cls, values: Mapping[str, Any] | bool) -> Products | None:
        """Inverse of :meth:`to_dict`, or what a file may say: true for the defaults, false for none.

        Raises ConfigError, which names an entry that does not exist.
        """
        if isinstance(values, bool):
            return cls() if values else None
        if not isinstance(values, Mapping):
            raise ConfigError(f"products need widths and n, or true or false, not {values!r}")
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(f"unknown setting of products: {', '.join(sorted(unknown))}")
        return cls(**values)

    def count(self, n_species: int) -> int:
        """Number of products: it grows with the third power of the number of species."""
        n_fields = n_species * len(self.widths)
        return n_species * (n_fields + self.n * n_fields * (n_fields + 1) // 2)

    def features(
        self, positions: FloatArray, cell: FloatArray, species: IntArray, n_species: int
    ) -> FloatArray:
        """Products of one periodic structure, per atom.

        Args:
            positions: Angstrom, shape (n_atoms, 3).
            cell: vectors in rows, Angstrom, shape (3, 3).
            species: which of the species each atom is, shape (n_atoms,).
            n_species: how many there are.

        Returns:
            shape (n_products,), in the order of :func:`atomscatter.labels.product_labels`.
        """
        return products_of(self.fields(positions, cell, species, n_species), species)

    def fields(
        self, positions: FloatArray, cell: FloatArray, species: IntArray, n_species: int
    ) -> FloatArray:
        """U of the module's first equation, shape (n_species, n_widths, n*n, n_atoms)."""
        reach = REACH * max(self.widths)
        cell = reduced(cell)  # the fewest images
        scaled = np.ascontiguousarray(np.linalg.solve(cell.T, positions.T).T, dtype=np.float64)
        images = np.floor(reach / plane_spacings(cell) + 0.5).astype(np.int64)
        found = np.zeros((len(positions), n_species, len(self.widths), self.n**2))
        _add_neighbours(scaled, cell, images, species, np.array(self.widths), self.n, found)
        return np.ascontiguousarray(np.moveaxis(found, 0, -1))


def products_of(fields: FloatArray, species: IntArray) -> FloatArray:
    """Sums of the fields and of their products over the atoms of each species, per atom, shape (n_products,).

    Args:
        fields: shape (n_species, n_widths, n*n, n_atoms).
        species: which of the species each atom is, shape (n_atoms,).
    """
    n_species, n_widths, n_filters, n_atoms = fields.shape
    by_field = fields.reshape(n_species * n_widths, n_filters, n_atoms)
    upper = np.triu_indices(len(by_field))
    found = []
    for center in range(n_species):
        at = by_field[..., species == center]
        found.append(at[:, 0].sum(axis=-1))
        for angular in range(math.isqrt(n_filters)):
            some = at[:, angular**2 : (angular + 1) ** 2].reshape(len(by_field), -1)
            found.append((some @ some.T)[upper])
    return np.asarray(np.concatenate(found) / n_atoms)


@nb.njit(cache=True)
def _add_neighbours(
    scaled: FloatArray,
    cell: FloatArray,
    images: IntArray,
    species: IntArray,
    widths: FloatArray,
    n: int,
    out: FloatArray,
) -> None:
    """Add the wavelets of all neighbours within reach: those among the images -images .. images of each atom
    that is the nearest along each axis."""
    largest = (REACH * widths.max()) ** 2
    solid = np.empty(n * n)
    for a in range(len(scaled)):
        for b in range(len(scaled)):
            x0, x1, x2 = scaled[b, 0] - scaled[a, 0], scaled[b, 1] - scaled[a, 1], scaled[b, 2] - scaled[a, 2]
            x0, x1, x2 = x0 - np.rint(x0), x1 - np.rint(x1), x2 - np.rint(x2)
            for i in range(-images[0], images[0] + 1):
                for j in range(-images[1], images[1] + 1):
                    for k in range(-images[2], images[2] + 1):
                        if a == b and i == 0 and j == 0 and k == 0:
                            continue
                        y0, y1, y2 = x0 + i, x1 + j, x2 + k
                        x = y0 * cell[0, 0] + y1 * cell[1, 0] + y2 * cell[2, 0]
                        y = y0 * cell[0, 1] + y1 * cell[1, 1] + y2 * cell[2, 1]
                        z = y0 * cell[0, 2] + y1 * cell[1, 2] + y2 * cell[2, 2]
                        square = x * x + y * y + z * z
                        if square > largest:
                            continue
                        solid_harmonics(x, y, z, n, solid)
                        for w in range(len(widths)):
                            if square <= (REACH * widths[w]) ** 2:
                                _add_wavelet(square, widths[w], n, solid, out[a, species[b], w])


@nb.njit(cache=True)
def _add_wavelet(square: float, width: float, n: int, solid: FloatArray, out: FloatArray) -> None:
    """Add psi_wlm of a vector of length sqrt(square) and solid harmonics ``solid``, for all l, m."""
    t = square / (2 * width * width)
    radial = math.exp(-t)
    for angular in range(n):
        value = radial * _laguerre(n - 1 - angular, angular + 0.5, t)
        for m in range(angular * angular, (angular + 1) * (angular + 1)):
            out[m] += value * solid[m]
        radial /= width  # solid harmonics of r/w


@nb.njit(cache=True)
def _laguerre(degree: int, alpha: float, t: float) -> float:
    """Generalised Laguerre polynomial, by its recurrence (NIST DLMF 18.9.1)."""
    before, value = 0.0, 1.0
    for k in range(degree):
        before, value = value, ((2 * k + 1 + alpha - t) * value - (k + alpha) * before) / (k + 1)
    return value
