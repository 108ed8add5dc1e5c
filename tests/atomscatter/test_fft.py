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


def test_transforms_of_a_cache_share_memory_that_grows_and_shrinks():
    rng = np.random.default_rng(0)
    small, large = (8, 8, 8), (32, 32, 30)
    cache = TransformCache(batch=2, max_bytes=2**17)
    memory = {}
    for shape in (small, large, small):
        cache.reserve([small, shape])
        fields = rng.normal(size=(2, *shape))
        cache[shape].fields[:] = fields
        np.testing.assert_allclose(cache[shape].forward(2), np.fft.rfftn(fields, axes=(1, 2, 3)), atol=1e-10)
        assert np.shares_memory(cache[small].fields, cache[shape].fields)
        memory[shape] = cache[shape].fields.base
    assert cache[small] is cache[small]
    assert memory[small].nbytes < memory[large].nbytes
