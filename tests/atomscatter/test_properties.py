"""Properties against curves whose answer is known."""

import numpy as np
import pytest
from ase.build import bulk
from ase.eos import birchmurnaghan
from ase.units import GPa

from atomscatter.errors import DataError
from atomscatter.properties import MIN_POINTS, STRAIN_WINDOW, barrier, bulk_modulus, fit_equation_of_state
from atomscatter.strain import strained, volumes_of

STRAINS = np.arange(-9, 9.1, 2.25) / 100


def volumes(v0: float) -> np.ndarray:
    return v0 * (1 + STRAINS) ** 3


@pytest.mark.parametrize("modulus", [20.0, 85.0, 165.0])
@pytest.mark.parametrize("offset", [0.0, -4000.0])
def test_recovers_a_birch_murnaghan_curve(modulus: float, offset: float) -> None:
    v = volumes(1300.0)
    e = birchmurnaghan(v, offset, modulus * GPa, 4.5, 1310.0)
    fit = fit_equation_of_state(v, e)
    assert fit.bulk_modulus == pytest.approx(modulus, rel=1e-5)
    assert fit.volume == pytest.approx(1310.0, rel=1e-6)
    assert fit.energy == pytest.approx(offset, abs=1e-6)
    assert bulk_modulus(v, e) == fit.bulk_modulus


def test_parabola_of_small_strains() -> None:
    v = 1000.0 * (1 + np.linspace(-0.004, 0.004, 9)) ** 3
    modulus = 100.0
    e = 0.5 * modulus * GPa / 1000.0 * (v - 1000.0) ** 2
    assert bulk_modulus(v, e) == pytest.approx(modulus, rel=2e-3)


def test_points_outside_the_window_do_not_matter() -> None:
    v = volumes(1000.0)
    e = birchmurnaghan(v, -400.0, 90 * GPa, 4.0, 1000.0)
    spoiled = e.copy()
    spoiled[[0, 1, -2, -1]] += 7.0
    assert bulk_modulus(v, spoiled) == pytest.approx(bulk_modulus(v, e), rel=1e-9)


def test_a_series_that_ends_at_the_window_belongs_to_it_however_the_cell_lies() -> None:
    atoms = bulk("Si", a=5.43)
    for turn in range(30):
        atoms.rotate(12.3, (1, 2, turn), rotate_cell=True)
        v = volumes_of(strained(atoms, np.linspace(-STRAIN_WINDOW, STRAIN_WINDOW, MIN_POINTS)))
        e = birchmurnaghan(v, -5.0, 90 * GPa, 4.0, atoms.get_volume())
        assert bulk_modulus(v, e) == pytest.approx(90, rel=1e-3)


@pytest.mark.parametrize(
    ("v", "e", "message"),
    [
        (
            (10 + 0.3 * np.arange(-3, 4)) ** 3,
            np.arange(-3, 4) ** 2,
            r"needs 5 .* volumes within 5 % .*, not 3$",
        ),
        (np.full(9, 1000.0), np.arange(9.0), r"different volumes .*, not 1$"),
        (volumes(1000.0), np.arange(9.0), "smallest volume has the lowest energy: add smaller ones"),
        (volumes(1000.0), -np.arange(9.0), "largest volume has the lowest energy: add larger ones"),
        (1000.0 + np.arange(-5, 6), -np.arange(11.0), "no minimum .*: add larger ones"),
        (volumes(1000.0), np.full(9, np.nan), "finite"),
        (volumes(1000.0), np.arange(8.0), "shape"),
        ([], [], "no points"),
    ],
)
def test_what_cannot_be_fitted_is_named(v: np.ndarray, e: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        bulk_modulus(v, e)


def test_barrier_is_highest_minus_lowest() -> None:
    assert barrier([-344.0, -343.7, -343.2, -344.1]) == pytest.approx(0.9)


@pytest.mark.parametrize("energies", [[], [1.0], [[1.0, 2.0]], [1.0, np.inf]])
def test_barrier_needs_a_path(energies: list[float]) -> None:
    with pytest.raises(DataError):
        barrier(energies)
