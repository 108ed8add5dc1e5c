"""Transforms against NumPy's FFT, for lengths of either library."""

import numpy as np
import pytest

from atomscatter.fft import FFTW_LENGTHS, Transform, TransformCache, n_values, new_memory


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 12, 16), (36, 10, 14), (9, 24, 15), (25, 13, 11), (35, 9, 45)])
def test_both_directions_agree_with_numpy(shape, real):
    rng = np.random.default_rng(0)
    transform = Transform(shape, 4, new_memory(*n_values(shape, 4), real))
    fields = rng.normal(size=(3, *shape))
    transform.fields[:3] = fields
    expected = np.fft.rfftn(fields, axes=(1, 2, 3))
    rounding = 1e4 * np.finfo(real).eps
    np.testing.assert_allclose(transform.forward(3), expected, rtol=0, atol=rounding)
    transform.spectrum[:3] = expected
    back = transform.inverse(3)
    assert back.dtype == real
    np.testing.assert_allclose(back / np.prod(shape), fields, rtol=0, atol=rounding)


@pytest.mark.parametrize("shape", [(8, 12, 16), (36, 10, 14), (25, 13, 11), (35, 9, 45)])
def test_only_the_band_of_the_last_axis(shape):
    fields = np.random.default_rng(1).normal(size=(2, *shape))
    transform = Transform(shape, batch=2)
    transform.fields[:] = fields
    expected = np.fft.rfftn(fields, axes=(1, 2, 3))[..., :4]
    found = transform.forward(2, 4)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    transform.spectrum[..., :4], transform.spectrum[..., 4:] = expected, 0.0
    in_band = np.fft.irfftn(expected, s=shape, axes=(1, 2, 3)) * np.prod(shape)
    np.testing.assert_allclose(transform.inverse(2, 4), in_band, rtol=0, atol=1e-9)
    assert transform.forward(2, 1000).shape == (2, *shape[:2], shape[2] // 2 + 1)


def test_the_shapes_above_use_both_libraries():
    assert {8, 11, 12, 13, 16, 25} <= FFTW_LENGTHS
    assert not {24, 35, 36} & FFTW_LENGTHS


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


def test_work_comes_and_goes_with_the_memory_of_a_cache():
    cache = TransformCache(batch=2, real=np.float32, max_bytes=2**17)
    cache.reserve([(8, 8, 8)], 1000)
    assert cache.work.shape == (1000,)
    assert cache.work.dtype == np.float32
    kept = cache.work, cache[8, 8, 8]
    cache.reserve([(8, 8, 8)], 1000)
    assert (cache.work, cache[8, 8, 8]) == kept, "nothing is renewed for structures of one kind"
    cache.reserve([(8, 8, 8)], 40_000)  # 160 KB of work alone
    cache.reserve([(8, 8, 6)], 21_000)
    assert cache.work.size == 40_000, "more than half is needed"
    cache.reserve([(8, 8, 6)], 1000)
    assert cache.work.size == 1000


def test_grids_that_need_more_of_one_and_less_of_another_do_not_take_turns():
    cache = TransformCache(batch=2)
    for n_work in (10, 1000):
        cache.reserve([(8, 8, 8) if n_work == 10 else (6, 6, 6)], n_work)
    transform, work = cache[8, 8, 8], cache.work
    cache.reserve([(8, 8, 8)], 10)
    cache.reserve([(6, 6, 6)], 1000)
    assert cache[8, 8, 8] is transform
    assert cache.work is work
