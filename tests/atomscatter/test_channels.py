"""Channels of appendix A and the rule for other chemistries."""

import math

import pytest

from atomscatter.channels import Channel, channel_species, channels_for, valence_electrons
from atomscatter.errors import ConfigError


def test_lithium_silicon_channels_are_those_of_the_paper():
    channels = channels_for(["Si", "Li", "Si"])
    assert [c.name for c in channels] == ["Li", "Si", "valence", "core", "kinetic"]
    expected = {"Li": (3, 0, 1, 2, math.sqrt(3)), "Si": (0, 14, 4, 10, math.sqrt(14))}
    for symbol, weights in expected.items():
        assert [c.weight(symbol) for c in channels] == pytest.approx(weights)


@pytest.mark.parametrize(
    ("symbol", "electrons"),
    [
        *[("H", 1), ("He", 2), ("Li", 1), ("C", 4), ("O", 6), ("Ne", 8), ("Na", 1), ("Cl", 7), ("Ar", 8)],
        *[("K", 1), ("Ti", 4), ("Fe", 8), ("Zn", 12), ("Ga", 3), ("Ge", 4), ("Kr", 8), ("Mo", 6), ("Xe", 8)],
        *[
            ("Cs", 1),
            ("La", 3),
            ("Yb", 16),
            ("Lu", 3),
            ("W", 6),
            ("Au", 11),
            ("Hg", 12),
            ("Tl", 3),
            ("Pb", 4),
        ],
        *[("Rn", 8), ("Ra", 2), ("U", 6), ("Rf", 4), ("Og", 8)],
    ],
)
def test_valence_electrons_follow_the_groups_of_the_periodic_table(symbol, electrons):
    assert valence_electrons(symbol) == electrons


def test_species_order_does_not_matter():
    assert channels_for(["O", "Li", "Ni"]) == channels_for(["Ni", "O", "Li"])
    assert channel_species(channels_for(["O", "Li", "Ni"])) == ("Li", "O", "Ni")


def test_hydrogen_has_no_core_electrons():
    core = next(c for c in channels_for(["H", "O"]) if c.name == "core")
    assert (core.weight("H"), core.weight("O")) == (0.0, 2.0)


@pytest.mark.parametrize("symbol", ["X", "Xx", "", "li"])
def test_unknown_symbols_are_named(symbol):
    with pytest.raises(ConfigError, match=repr(symbol)):
        channels_for([symbol])


def test_no_species_and_bad_weights_are_refused():
    with pytest.raises(ConfigError, match="at least one"):
        channels_for([])
    for weight in (math.nan, math.inf, -1.0):
        with pytest.raises(ConfigError, match=r"'mine'.* of Li"):
            Channel("mine", {"Li": weight})
