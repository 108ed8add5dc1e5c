"""Material properties from predicted energies, each with its spread over the folds of the ensemble.

The functions take structures with their predictions, wherever these were made, so that the command line and
the web service share them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from atomscatter.arrays import FloatArray
from atomscatter.ensemble import Prediction
from atomscatter.errors import DataError
from atomscatter.properties import barrier, fit_equation_of_state
from atomscatter.strain import volumes_of
from atomscatter.voltage import VoltageCurve, ion_content, voltage_curve
from service.reading import reduced_formula

MAX_RELAXATION = 1.0
"""Angstrom; atoms of a strain series may be relaxed at each volume, but not move to other places."""
_SAME = 1e-4  # Angstrom


@dataclass(frozen=True)
class Point:
    """One structure of a series."""

    energy: float
    """Total energy of the cell, eV."""
    uncertainty: float
    """Standard deviation over the models, eV/atom."""
    extrapolating: bool
    extrapolation_score: float


@dataclass(frozen=True)
class BulkModulus:
    """Equation of state of one structure under hydrostatic strain."""

    bulk_modulus: float | None
    """GPa; None where the energies have no minimum among the volumes."""
    bulk_modulus_spread: float | None
    """Standard deviation over the folds that have a minimum, GPa; None for fewer than two."""
    volume: float | None
    """Equilibrium volume of the cell, Angstrom^3."""
    energy: float | None
    """Energy at that volume, eV."""
    reason: str | None
    """Why there is no modulus."""
    volumes: tuple[float, ...]
    """Angstrom^3."""
    curve: tuple[Point, ...]
    model: str


@dataclass(frozen=True)
class MigrationBarrier:
    """Energies along one migration path."""

    barrier: float
    """Highest minus lowest energy, eV."""
    barrier_spread: float
    """Standard deviation of the barrier over the folds, eV."""
    forward_barrier: float
    """Highest energy minus that of the first image, eV."""
    forward_barrier_spread: float
    """Standard deviation over the folds, eV."""
    backward_barrier: float
    """Highest energy minus that of the last image, eV."""
    backward_barrier_spread: float
    """Standard deviation over the folds, eV."""
    warning: str | None
    """Why the highest image is no saddle point; None where it lies between the ends."""
    relative_energies: tuple[float, ...]
    """Energy of each image minus that of the first, eV."""
    profile: tuple[Point, ...]
    model: str


@dataclass(frozen=True)
class Voltages:
    """Voltage curve of an electrode; see :mod:`atomscatter.voltage`."""

    ion: str
    x: tuple[float, ...]
    """Working ions per host atom at the corners of the hull."""
    voltage: tuple[float, ...]
    """Between neighbouring corners, V against the metal."""
    voltage_spread: tuple[float, ...]
    """Standard deviation over the folds of the voltage in the middle of each step, V."""
    structure_x: tuple[float, ...]
    formation_energies: tuple[float, ...]
    """Of each structure, eV/atom."""
    on_hull: tuple[bool, ...]
    extrapolating: tuple[bool, ...]
    model: str


def bulk_modulus(structures: Sequence[Atoms], predictions: Sequence[Prediction]) -> BulkModulus:
    """Bulk modulus of a strain series (see :func:`atomscatter.strain.strained`).

    Structures that are not one structure at several volumes have no modulus; the reason names the first.

    Raises DataError for fewer than two structures or another number of atoms in one of them.
    """
    _check_series(structures, "a bulk modulus")
    volumes = volumes_of(structures)
    modulus = volume = energy = reason = None
    try:
        _check_one_structure(structures)
        fit = fit_equation_of_state(volumes, _energies(predictions))
        modulus, volume, energy = fit.bulk_modulus, fit.volume, fit.energy
    except DataError as error:
        reason = str(error)
    by_fold = [_modulus_or_nan(volumes, e) for e in _energies_by_fold(predictions)]
    known = [m for m in by_fold if math.isfinite(m)]
    return BulkModulus(
        bulk_modulus=modulus,
        bulk_modulus_spread=float(np.std(known)) if modulus is not None and len(known) > 1 else None,
        volume=volume,
        energy=energy,
        reason=reason,
        volumes=tuple(volumes.tolist()),
        curve=_points(predictions),
        model=predictions[0].model,
    )


def migration_barrier(images: Sequence[Atoms], predictions: Sequence[Prediction]) -> MigrationBarrier:
    """Barrier along the ordered images of one path.

    Raises DataError for fewer than two images, another number of atoms in one of them, or several bands of
    images (see :func:`band_length`).
    """
    _check_series(images, "a barrier")
    if length := band_length(images):
        raise DataError(several_bands(length, len(images)))
    energies, by_fold = _energies(predictions), _energies_by_fold(predictions)
    return MigrationBarrier(
        barrier=barrier(energies),
        barrier_spread=float(np.std([barrier(e) for e in by_fold])),
        forward_barrier=float(energies.max() - energies[0]),
        forward_barrier_spread=float(np.std(by_fold.max(axis=1) - by_fold[:, 0])),
        backward_barrier=float(energies.max() - energies[-1]),
        backward_barrier_spread=float(np.std(by_fold.max(axis=1) - by_fold[:, -1])),
        warning=_no_saddle(energies),
        relative_energies=tuple((energies - energies[0]).tolist()),
        profile=_points(predictions),
        model=predictions[0].model,
    )


def band_length(images: Sequence[Atoms]) -> int | None:
    """Images in a band, if these are several bands one after the other: what a NEB writes as it is optimised.

    Each band has at least three images, and the same first and the same last one: a NEB moves those between.
    The last band may be cut short. None: there are no two bands, or all images are the same.
    """
    for length in range(3, len(images) // 2 + 1):
        ends = (images[::length], images[length - 1 :: length])
        if all(_same(first, other) for first, *others in ends for other in others):
            return None if all(_same(images[0], image) for image in images[1:length]) else length
    return None


def several_bands(length: int, n_images: int) -> str:
    """What is wrong with images of which :func:`band_length` found that there are several bands."""
    return (
        f"structures 0 and {length}, and {length - 1} and {2 * length - 1}, are the same: these {n_images} "
        f"structures are not one path but bands of {length} images, as a NEB writes them while it is "
        f"optimised; a barrier needs one band, as the last {length}"
    )


def voltages(structures: Sequence[Atoms], predictions: Sequence[Prediction], ion: str = "Li") -> Voltages:
    """Voltage curve over structures with different contents of the working ion.

    Raises DataError when the model has no reference energies for the elements, the structures have different
    hosts, a host of several elements is not among them without the ion, or the contents do not make a curve.
    """
    formation = [p.formation_energy_per_atom for p in predictions]
    known = np.array([f for f in formation if f is not None])
    if len(known) < len(formation):
        raise DataError(
            f"structure {formation.index(None)}: the model has no reference energies of its elements "
            f"({', '.join(sorted(set(structures[formation.index(None)].symbols)))}), which a voltage needs; "
            "they are given in training"
        )
    x = np.array([ion_content(atoms, ion) for atoms in structures])
    if x.any():  # else it is the ion that is missing
        _check_host(structures, ion, is_given=x.min() == 0)
    curve = voltage_curve(x, known)
    # The references enter each fold like the mean: shift by the difference of the energies per atom.
    mean = np.array([p.energy_per_atom for p in predictions])
    folds = np.array([p.energy_per_atom_by_fold for p in predictions]).T
    middles = (curve.x[:-1] + curve.x[1:]) / 2
    by_fold = [_voltage_at(voltage_curve(x, known + fold - mean), middles) for fold in folds]
    return Voltages(
        ion=ion,
        x=tuple(curve.x.tolist()),
        voltage=tuple(curve.voltage.tolist()),
        voltage_spread=tuple(np.std(by_fold, axis=0).tolist()),
        structure_x=tuple(x.tolist()),
        formation_energies=tuple(known.tolist()),
        on_hull=tuple(curve.on_hull.tolist()),
        extrapolating=tuple(p.extrapolating for p in predictions),
        model=predictions[0].model,
    )


def _check_series(structures: Sequence[Atoms], what: str) -> None:
    if len(structures) < 2:
        raise DataError(f"{what} needs at least two structures, not {len(structures)}")
    first = structures[0].get_chemical_formula()
    for index, atoms in enumerate(structures):
        if (formula := atoms.get_chemical_formula()) != first:
            raise DataError(
                f"structure {index} is {formula}, the first is {first}; {what} needs one composition"
            )


def _same(a: Atoms, b: Atoms) -> bool:
    """Whether two structures of one composition are the same, up to the digits that files leave out."""
    return (
        np.array_equal(a.numbers, b.numbers)
        and np.allclose(a.cell.array, b.cell.array, rtol=0, atol=_SAME)
        and np.allclose(a.positions, b.positions, rtol=0, atol=_SAME)
    )


def _check_one_structure(series: Sequence[Atoms]) -> None:
    """Raise DataError unless atoms keep their fractional coordinates, but for what relaxing them changes.

    Atoms and cell vectors have to be in the same order everywhere.
    """
    first = series[0]
    for index, atoms in enumerate(series[1:], 1):
        no_series = f"structure {index} is not structure 0 at another volume"
        if not np.array_equal(atoms.numbers, first.numbers):
            raise DataError(f"{no_series}: its atoms are in another order")
        moved = atoms.get_scaled_positions(wrap=False) - first.get_scaled_positions(wrap=False)
        moved -= moved[0]  # all atoms together may move, and each to a periodic image
        moved -= moved.round()
        distances = np.linalg.norm((moved - moved.mean(axis=0)) @ first.cell.array, axis=1)
        if (farthest := float(distances.max())) > MAX_RELAXATION:
            raise DataError(
                f"{no_series}: at the same volume, its atom {int(distances.argmax())} would lie "
                f"{farthest:.2f} Å away from where it is in structure 0 (at most {MAX_RELAXATION:g} Å)"
            )


def _no_saddle(energies: FloatArray) -> str | None:
    highest = int(energies.argmax())
    if 0 < highest < len(energies) - 1:
        return None
    return (
        f"the highest image is the {'last' if highest else 'first'}, an end of the path: that is "
        "no saddle point (is the path complete, are its ends relaxed?)"
    )


def _check_host(structures: Sequence[Atoms], ion: str, is_given: bool) -> None:
    """Energies are compared per atom of one host; unless it is given, its energy is that of an element, 0."""
    hosts = [reduced_formula(Atoms([s for s in atoms.symbols if s != ion])) for atoms in structures]
    for index, host in enumerate(hosts):
        if host != hosts[0]:
            differ = f"without {ion}, structure {index} is {host} and the first {hosts[0]}"
            raise DataError(f"{differ}; a voltage needs one host")
    if not is_given and len(set(structures[0].symbols) - {ion}) > 1:
        raise DataError(
            f"there is no structure without {ion}; a voltage needs the energy of the host {hosts[0]}"
        )


def _energies(predictions: Sequence[Prediction]) -> FloatArray:
    return np.array([p.energy for p in predictions])


def _energies_by_fold(predictions: Sequence[Prediction]) -> FloatArray:
    """Total energies, eV, shape (n_folds, n_structures)."""
    return np.array([[e * p.n_atoms for e in p.energy_per_atom_by_fold] for p in predictions]).T


def _points(predictions: Sequence[Prediction]) -> tuple[Point, ...]:
    return tuple(Point(p.energy, p.uncertainty, p.extrapolating, p.extrapolation_score) for p in predictions)


def _modulus_or_nan(volumes: FloatArray, energies: FloatArray) -> float:
    try:
        return fit_equation_of_state(volumes, energies).bulk_modulus
    except DataError:
        return math.nan


def _voltage_at(curve: VoltageCurve, x: Any) -> FloatArray:
    step = np.clip(np.searchsorted(curve.x, x, side="right") - 1, 0, len(curve.voltage) - 1)
    return np.asarray(curve.voltage[step])
