"""Transforms against NumPy's FFT, for lengths of either library."""

import numpy as np
import pytest

from atomscatter.fft import FFTW_LENGTHS, Transform, TransformCache


@pytest.mark.parametrize("shape", [(8, 12, 16), (36, 10, 14), (9, 24, 15), (12, 12, 12)])
def test_both_directions_agree_with_numpy(shape):
    rng = np.random.default_rng(0)
    transform = Transform(shape, batch=4)
    fields = rng.normal(size=(3, *shape))
    transform.fields[:3] = fields
    expected = np.fft.rfftn(fields, axes=(1, 2, 3))
    np.testing.assert_allclose(transform.forward(3), expected, rtol=0, atol=1e-10)
    transform.spectrum[:3] = expected
    np.testing.assert_allclose(transform.inverse(3), fields * np.prod(shape), rtol=0, atol=1e-9)


def test_the_shapes_above_use_both_libraries():
    assert {8, 10, 12, 14, 15, 16} <= FFTW_LENGTHS
    assert not {24, 36} & FFTW_LENGTHS


def test_cache_drops_the_oldest_when_trimmed():
    cache = TransformCache(batch=2, max_bytes=2 * Transform((8, 8, 8), 2).nbytes)
    kept = [cache[(8, 8, n)] for n in (8, 10, 12)]
    assert cache[(8, 8, 8)] is kept[0]
    cache.trim()
    assert cache[(8, 8, 8)] is kept[0]
    assert cache[(8, 8, 10)] is not kept[1]
