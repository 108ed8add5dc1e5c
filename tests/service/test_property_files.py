"""Plots of properties: every curve that is in the table is drawn, and told apart."""

from itertools import combinations_with_replacement

import numpy as np

from service.property_files import _figure, radial_functions


def test_three_elements_have_six_curves_of_different_looks():
    pairs = list(combinations_with_replacement(("Li", "O", "Si"), 2))
    columns = radial_functions(np.arange(50) / 10, {pair: np.ones(50) for pair in pairs})
    lines = _figure(columns).axes[0].lines
    assert [line.get_label() for line in lines] == [f"g {a}-{b} (dimensionless)" for a, b in pairs]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 6
