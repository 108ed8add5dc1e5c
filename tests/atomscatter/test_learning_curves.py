import numpy as np
import pytest

from atomscatter.learning_curves import curve_sizes


@pytest.mark.parametrize("largest", [1, 2, 21, 30, 1000])
def test_curve_sizes(largest) -> None:
    sizes = curve_sizes(largest)
    assert (sizes[0], sizes[-1]) == (1, largest)
    assert (np.diff(sizes) > 0).all()
    assert len(sizes) <= 62
    assert {size for size in (21, 41) if size <= largest} <= set(sizes)
