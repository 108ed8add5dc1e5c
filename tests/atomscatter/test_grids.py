"""Grids: they hold their band, follow the spacing, and refuse what does not fit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomscatter.errors import ConfigError, StructureError
from atomscatter.grids import FAST_LENGTHS, Grid, fast_length


@given(
    lengths=st.tuples(*[st.floats(1.5, 60.0)] * 3),
    beta=st.floats(0.2, 1.5),
    scale=st.integers(0, 4),
    cutoff=st.floats(3.0, 7.0),
)
def test_grids_hold_their_band_and_keep_the_spacing(lengths, beta, scale, cutoff):
    grid = Grid(cutoff=cutoff, first=((2.0, 1.0),), second=((1.0, 1.5), (2.5,)), growth=1.2, max_points=2**40)
    sides = np.array(lengths)
    half = grid.half_band(sides, beta, scale)
    for angular in range(3):
        for factors, points in (
            (grid.first, grid.first_points(sides, beta, scale, angular)),
            (grid.second, grid.second_points(sides, beta, scale, angular)),
        ):
            assert (np.array(points) >= 2 * half + 1).all()
            spacing = grid.spacing(beta, scale, angular, factors)
            assert (sides / points <= spacing * (1 + 1e-12)).all()
    # No frequency inside the cut-off is left out: the next one along each axis lies outside.
    assert ((half + 1) * 2 * math.pi / sides * 2**scale * beta > cutoff * (1 - 1e-12)).all()


def test_spacing_follows_the_factors():
    grid = Grid(cutoff=5.0, first=((2.0, 1.0), (3.0, 2.5)), second=((1.5,),), growth=1.2)
    assert grid.spacing(0.5, 0, 0, grid.first) == pytest.approx(math.pi * 0.5 / (5 * 2))
    assert grid.spacing(0.5, 1, 2, grid.first) == pytest.approx(math.pi * 1 / (5 * 2.5))
    assert grid.spacing(0.5, 2, 1, grid.first) == pytest.approx(math.pi * 2 / (5 * 2.5 * 1.2))
    assert grid.spacing(0.5, 0, 2, grid.second) == pytest.approx(math.pi * 0.5 / (5 * 1.5))
    assert grid.spacing(0.5, 2, 0, grid.second) == pytest.approx(math.pi * 2 / (5 * 1.5 * 1.44))


def test_small_cells_get_the_points_of_a_larger_one():
    small, larger = np.array([3.4, 3.4, 9.0]), np.array([7.0, 7.0, 9.0])
    grid = Grid(least_length=7.0)
    for scale in range(3):
        assert grid.first_points(small, 0.5, scale, 0) == grid.first_points(larger, 0.5, scale, 0)
        assert grid.second_points(small, 0.5, scale, 1) == grid.second_points(larger, 0.5, scale, 1)
    assert Grid(least_length=0.0).first_points(small, 0.5, 0, 0) != grid.first_points(small, 0.5, 0, 0)
    # Where beta is small, 7 Angstrom would be very many points.
    assert max(grid.first_points(np.array([1.5, 1.5, 1.5]), 0.05, 0, 0)) < 100


def test_first_order_grids_hold_the_band_of_the_finer_scale():
    """Second-order features of j2 = j1 - 1 need that much of the modulus of scale j1."""
    grid, lengths = Grid(first=((1.0,),), growth=1.0), np.array([11.0, 9.3, 14.2])
    for scale in range(1, 5):
        points = np.array(grid.first_points(lengths, 0.5, scale, 0))
        assert (points >= 2 * grid.half_band(lengths, 0.5, scale - 1) + 1).all()


def test_fast_lengths_are_reached_and_never_too_short():
    assert [fast_length(n) for n in (1, 9, 16, 34, 64, 78, 122)] == [9, 9, 25, 35, 65, 81, 125]
    lengths = [fast_length(n) for n in range(1, 300)]
    assert all(length >= n for n, length in enumerate(lengths, start=1))
    assert all(length % 2 == 1 for length in lengths), "a crystal of two periods would repeat its points"
    assert list(FAST_LENGTHS) == sorted(FAST_LENGTHS)


def test_too_large_a_cell_is_refused_before_memory_is_taken():
    with pytest.raises(StructureError, match=r"1e\+09 x 11 x 11 Angstrom needs more than"):
        Grid().second_points(np.array([1e9, 11.0, 11.0]), 0.5, 0, 0)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"cutoff": 0.5}, "cutoff"),
        ({"cutoff": math.nan}, "cutoff"),
        ({"first": ()}, "oversampling 'first'"),
        ({"first": ((),)}, "oversampling 'first'"),
        ({"first": (2.0, 1.5)}, "oversampling 'first' needs a row of numbers for each scale"),
        ({"first": "fine"}, "oversampling 'first'"),
        ({"second": ((0.4,),)}, "oversampling 'second'"),
        ({"growth": 0.5}, "growth"),
        ({"max_points": 0}, "max_points"),
        ({"least_length": -1.0}, "least_length"),
        ({"spacing": 1}, "spacing"),
        ({"cutoff": "wide"}, "grid settings"),
    ],
)
def test_bad_settings_are_named(settings, word):
    with pytest.raises(ConfigError, match=word):
        Grid.from_dict(settings)


def test_dictionary_round_trip():
    grid = Grid(cutoff=5.5, first=((2.0, 1.5), (3.0,)), second=((1.0, 2.0),), growth=1.1, max_points=1000)
    assert Grid.from_dict(grid.to_dict()) == grid
