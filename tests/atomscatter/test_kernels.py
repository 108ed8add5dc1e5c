"""Compiled loops against plain NumPy."""

import numba as nb
import numpy as np
import pytest

from atomscatter.kernels import PAPER_POWERS, apply_filters, channel_modulus, inverse_cbrt, power_sums

POWERS = np.array(PAPER_POWERS)


@nb.njit
def _inverse_cbrts(values):
    result = np.empty_like(values)
    for i in range(values.size):
        result[i] = inverse_cbrt(values[i])
    return result


def test_inverse_cube_root_over_the_range_of_doubles():
    values = 10.0 ** np.random.default_rng(0).uniform(-275, 275, 200_000)
    np.testing.assert_allclose(_inverse_cbrts(values) * np.cbrt(values), 1.0, rtol=0, atol=2e-15)
    assert np.isfinite(_inverse_cbrts(np.array([0.0, 5e-324]))).all()


@pytest.mark.parametrize("magnitude", [1e-60, 1.0, 1e20])
@pytest.mark.parametrize("components", [1, 3, 5])
def test_power_sums_agree_with_numpy(components, magnitude):
    rng = np.random.default_rng(1)
    fields = magnitude * rng.normal(size=(components, 1337))
    fields[:, :7] = 0.0
    modulus = np.sqrt((fields**2).sum(axis=0))
    expected = [0.25 * (modulus**q).sum() for q in POWERS]
    np.testing.assert_allclose(power_sums(fields, POWERS, True, 0.25), expected, rtol=1e-13)
    np.testing.assert_allclose(power_sums(fields, POWERS, False, 0.25), expected, rtol=1e-12)


def test_other_powers():
    fields = np.random.default_rng(2).normal(size=(3, 600))
    powers = np.array([0.5, 3.0])
    expected = [(np.sqrt((fields**2).sum(axis=0)) ** q).sum() for q in powers]
    np.testing.assert_allclose(power_sums(fields, powers, False, 1.0), expected, rtol=1e-12)


def test_channel_modulus_mixes_species_before_the_modulus():
    rng = np.random.default_rng(3)
    fields, weights, modulus = rng.normal(size=(2, 5, 777)), np.array([1.0, 4.0]), np.empty(777)
    sums = channel_modulus(fields, weights, POWERS, True, 2.0, modulus)
    expected = np.sqrt((np.einsum("s,smp->mp", weights, fields) ** 2).sum(axis=0))
    np.testing.assert_allclose(modulus, expected, rtol=1e-13)
    np.testing.assert_allclose(sums, [2 * (expected**q).sum() for q in POWERS], rtol=1e-13)


@pytest.mark.parametrize("odd", [False, True])
def test_filters_land_on_their_frequencies_and_nothing_else_is_left(odd):
    rng = np.random.default_rng(4)
    box, grid = (5, 3, 2), (8, 9, 6)
    filters = rng.normal(size=(2, *box))
    spectrum = rng.normal(size=(7, 5, 4)) + 1j * rng.normal(size=(7, 5, 4))
    out = np.full((2, grid[0], grid[1], grid[2] // 2 + 1), np.nan + 0j)
    map0, map1 = np.array([6, 0, 1, 2, 3]), np.array([4, 0, 1])
    apply_filters(spectrum, map0, map1, filters, odd, out)
    expected = np.zeros_like(out)
    factor = 1j if odd else 1.0
    for c in range(2):
        for i, h0 in enumerate(range(-2, 3)):
            for j, h1 in enumerate(range(-1, 2)):
                for k in range(2):
                    expected[c, h0, h1, k] = factor * spectrum[map0[i], map1[j], k] * filters[c, i, j, k]
    np.testing.assert_allclose(out, expected, rtol=1e-14)
