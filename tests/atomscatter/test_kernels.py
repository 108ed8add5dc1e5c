"""Compiled loops, in single and in double precision, against plain NumPy."""

import numba as nb
import numpy as np
import pytest

from atomscatter.kernels import PAPER_POWERS, apply_filters, channel_moduli, inverse_cbrt, power_sums

POWERS = np.array(PAPER_POWERS)
PRECISIONS = pytest.mark.parametrize("real", [np.float32, np.float64])


def rounding(real):
    """Relative error of some hundred operations."""
    return 400 * np.finfo(real).eps


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


def test_inverse_cube_root_over_the_range_of_singles():
    values = (10.0 ** np.random.default_rng(0).uniform(-30, 36, 200_000)).astype(np.float32)
    found = _inverse_cbrts(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * np.cbrt(values.astype(np.float64)), 1.0, rtol=0, atol=4e-7)
    assert np.isfinite(_inverse_cbrts(np.array([0.0, 1e-45], dtype=np.float32)) ** 3).all()


@PRECISIONS
@pytest.mark.parametrize("magnitude", [1e-14, 1.0, 1e8])
@pytest.mark.parametrize("components", [1, 3, 5])
def test_power_sums_agree_with_numpy(components, magnitude, real):
    rng = np.random.default_rng(1)
    fields = (magnitude * rng.normal(size=(components, 1337))).astype(real)
    fields[:, :7] = 0.0
    modulus = np.sqrt((fields.astype(np.float64) ** 2).sum(axis=0))
    expected = [0.25 * (modulus**q).sum() for q in POWERS]
    for paper in (True, False):
        found = power_sums(fields, POWERS, paper, 0.25)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=rounding(real))


@pytest.mark.parametrize("magnitude", [1e-60, 1e20])
def test_power_sums_in_double_precision_have_its_range(magnitude):
    fields = magnitude * np.random.default_rng(1).normal(size=(3, 1337))
    modulus = np.sqrt((fields**2).sum(axis=0))
    expected = [(modulus**q).sum() for q in POWERS]
    np.testing.assert_allclose(power_sums(fields, POWERS, True, 1.0), expected, rtol=1e-13)


def test_other_powers():
    fields = np.random.default_rng(2).normal(size=(3, 600))
    powers = np.array([0.5, 3.0])
    expected = [(np.sqrt((fields**2).sum(axis=0)) ** q).sum() for q in powers]
    np.testing.assert_allclose(power_sums(fields, powers, False, 1.0), expected, rtol=1e-12)


@PRECISIONS
def test_channel_moduli_mix_species_before_the_modulus(real):
    rng = np.random.default_rng(3)
    fields = rng.normal(size=(2, 5, 777)).astype(real)
    weights = np.array([[1.0, 4.0], [0.0, 2.0], [3.0, 0.5]], dtype=real)
    moduli = np.empty((3, 777), dtype=real)
    sums = channel_moduli(fields, weights, POWERS, True, 2.0, moduli)
    expected = np.sqrt((np.einsum("cs,smp->cmp", weights, fields, dtype=np.float64) ** 2).sum(axis=1))
    np.testing.assert_allclose(moduli, expected, rtol=rounding(real))
    np.testing.assert_allclose(sums, 2 * (expected[..., None] ** POWERS).sum(axis=1), rtol=rounding(real))


@PRECISIONS
@pytest.mark.parametrize("odd", [False, True])
def test_filters_land_on_their_frequencies_and_nothing_else_is_left(odd, real):
    rng = np.random.default_rng(4)
    box, grid = (5, 3, 2), (8, 9, 6)
    filters = rng.normal(size=(2, *box)).astype(real)
    complex_type = np.result_type(real, np.complex64)
    spectrum = (rng.normal(size=(7, 5, 4)) + 1j * rng.normal(size=(7, 5, 4))).astype(complex_type)
    out = np.full((2, grid[0], grid[1], grid[2] // 2 + 1), np.nan + 0j, dtype=complex_type)
    map0, map1 = np.array([6, 0, 1, 2, 3]), np.array([4, 0, 1])
    apply_filters(spectrum, map0, map1, filters, odd, out)
    expected = np.zeros_like(out)
    factor = 1j if odd else 1.0
    for c in range(2):
        for i, h0 in enumerate(range(-2, 3)):
            for j, h1 in enumerate(range(-1, 2)):
                for k in range(2):
                    expected[c, h0, h1, k] = factor * spectrum[map0[i], map1[j], k] * filters[c, i, j, k]
    np.testing.assert_allclose(out, expected, rtol=10 * np.finfo(real).eps)
