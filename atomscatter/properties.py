"""Material properties that follow from energies: bulk modulus and migration barrier."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ase.eos import EquationOfState
from ase.units import GPa
from numpy.typing import ArrayLike, NDArray

from atomscatter.errors import DataError

# The paper (section III D) fits a parabola to points within 4 % of side-length strain of the minimum. A
# Birch-Murnaghan curve over 5 % follows the anharmonicity that a parabola would fold into the modulus.
STRAIN_WINDOW = 0.05
_ROUNDING = 1e-9  # of strains, from volumes: a series that ends at the window belongs to it
_DIGITS = 6  # of strains that are told apart
MIN_POINTS = 5  # Birch-Murnaghan has four parameters


@dataclass(frozen=True)
class EquationOfStateFit:
    """Birch-Murnaghan curve through the points around an energy minimum.

    Attributes:
        volume: equilibrium volume, A^3.
        energy: energy at that volume, eV.
        bulk_modulus: GPa.
    """

    volume: float
    energy: float
    bulk_modulus: float


def fit_equation_of_state(volumes: ArrayLike, energies: ArrayLike) -> EquationOfStateFit:
    """Fit E(V) to the points within :data:`STRAIN_WINDOW` of the lowest.

    Args:
        volumes: of one structure under hydrostatic strain, A^3, shape (n,).
        energies: of the same cells, eV (total), shape (n,).

    Raises:
        DataError: shapes differ, values are not finite, fewer than five different volumes lie in the window,
            or the fitted curve has no minimum inside of it.
    """
    v, e = np.asarray(volumes, dtype=float), np.asarray(energies, dtype=float)
    if v.shape != e.shape or v.ndim != 1:
        raise DataError(f"volumes have shape {v.shape} and energies {e.shape}; both must be (n,)")
    if not (np.isfinite(v).all() and np.isfinite(e).all() and (v > 0).all()):
        raise DataError("volumes must be positive and energies finite")
    if v.size == 0:
        raise DataError("no points to fit an equation of state to")
    strain = (v / v[np.argmin(e)]) ** (1 / 3) - 1
    near = np.abs(strain) <= STRAIN_WINDOW + _ROUNDING
    n_volumes = len(np.unique(strain[near].round(_DIGITS)))
    if n_volumes < MIN_POINTS:
        raise DataError(
            f"a modulus needs {MIN_POINTS} different volumes within {100 * STRAIN_WINDOW:g} % of side-length "
            f"strain of the lowest energy (at {v[np.argmin(e)]:.4g} A^3), not {n_volumes}{_beyond(v, e)}"
        )
    volume, energy, modulus = _birch_murnaghan(v[near], e[near])
    if not v[near].min() < volume < v[near].max() or modulus <= 0:
        raise DataError(f"the energies have no minimum among the given volumes{_beyond(v, e)}")
    return EquationOfStateFit(volume, energy, modulus / GPa)


def _beyond(volumes: NDArray[np.float64], energies: NDArray[np.float64]) -> str:
    """Where to look for the minimum, if the lowest energy is that of the first or last volume."""
    lowest, smallest, largest = volumes[np.argmin(energies)], volumes.min(), volumes.max()
    if smallest == largest or smallest < lowest < largest:
        return ""
    end, wanted = ("smallest", "smaller") if lowest == smallest else ("largest", "larger")
    return f"; the {end} volume has the lowest energy: add {wanted} ones"


def _birch_murnaghan(
    volumes: NDArray[np.float64], energies: NDArray[np.float64]
) -> tuple[float, float, float]:
    # Energies are shifted: the solver's tolerances are relative, and differences of meV matter among keV.
    lowest = float(energies.min())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the fit fails is checked by the caller
            volume, energy, modulus = EquationOfState(volumes, energies - lowest, eos="birchmurnaghan").fit()
    except (RuntimeError, ValueError, FloatingPointError) as error:
        raise DataError(f"no Birch-Murnaghan curve fits these energies: {error}") from error
    return float(volume), float(energy) + lowest, float(modulus)


def bulk_modulus(volumes: ArrayLike, energies: ArrayLike) -> float:
    """Bulk modulus K = V d2E/dV2 at the minimum, GPa; see :func:`fit_equation_of_state` for the arguments."""
    return fit_equation_of_state(volumes, energies).bulk_modulus


def barrier(energies: ArrayLike) -> float:
    """Migration barrier, eV: the highest minus the lowest energy along one path.

    Args:
        energies: total energies of the ordered images, eV, shape (n,).

    Raises:
        DataError: fewer than two images, or an energy that is not finite.
    """
    e = np.asarray(energies, dtype=float)
    if e.ndim != 1 or e.size < 2:
        raise DataError(f"a barrier needs the energies of at least two images, not shape {e.shape}")
    if not np.isfinite(e).all():
        raise DataError("the energies along a path must be finite")
    return float(e.max() - e.min())
