"""Filters against the formula of appendix B with SciPy's complex spherical harmonics."""

import numpy as np
import pytest
from scipy.special import sph_harm_y

from atomscatter.wavelets import filters

CELL = np.array([[4.0, 0.0, 0.0], [1.1, 5.0, 0.0], [-0.7, 0.4, 6.0]])
RECIPROCAL = 2 * np.pi * np.linalg.inv(CELL).T
HALF = np.array([3, 4, 5])


def _frequencies():
    h = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-4, 5), np.arange(6), indexing="ij"), axis=-1)
    return h @ RECIPROCAL


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [0, 2])
def test_sum_over_m_is_the_radial_function_of_the_paper(n, scale):
    beta, cutoff = 0.4, 12.0
    bank = filters(RECIPROCAL, HALF, beta, scale, n, cutoff)
    k = 2**scale * np.linalg.norm(_frequencies(), axis=-1)
    inside = k * beta <= cutoff
    for angular in range(n):
        radial = k ** (2 * (n - 1) - angular) * np.exp(-(beta**2) * k**2 / 2)
        found = np.sqrt((bank[angular**2 : (angular + 1) ** 2] ** 2).sum(axis=0))
        np.testing.assert_allclose(found[inside], radial[inside], rtol=1e-12)
        assert (found[~inside] == 0).all()


@pytest.mark.parametrize("angular", [0, 1, 2, 3])
def test_real_and_complex_harmonics_span_the_same_space(angular):
    """Sum over m of Y_m(a) Y_m(b) for directions a, b is the same for both (addition theorem)."""
    omega = _frequencies().reshape(-1, 3)[::7]
    omega = omega[np.linalg.norm(omega, axis=1) > 0]
    r = np.linalg.norm(omega, axis=1)
    polar, azimuth = np.arccos(omega[:, 2] / r), np.arctan2(omega[:, 1], omega[:, 0])
    harmonics = np.array([sph_harm_y(angular, m, polar, azimuth) for m in range(-angular, angular + 1)])
    expected = 4 * np.pi / (2 * angular + 1) * (harmonics.conj().T @ harmonics).real
    bank = filters(RECIPROCAL, HALF, 0.4, 0, 4, 12.0)[angular**2 : (angular + 1) ** 2]
    rows = bank.reshape(len(bank), -1)[:, ::7][
        :, np.linalg.norm(_frequencies().reshape(-1, 3)[::7], axis=1) > 0
    ]
    radial = r ** (6 - angular) * np.exp(-(0.4**2) * r**2 / 2)
    np.testing.assert_allclose((rows.T @ rows) / np.outer(radial, radial), expected, rtol=0, atol=1e-11)


def test_filters_vanish_at_zero_frequency():
    bank = filters(RECIPROCAL, HALF, 0.5, 0, 3, 5.0)
    assert (bank[:, 3, 4, 0] == 0).all()
