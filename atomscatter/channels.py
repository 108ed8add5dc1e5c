"""Channels: the weights f(Z) with which atoms enter the density (paper, appendix A).

The paper uses five channels for Li-Si: lithium, silicon, valence, core (ionic) and kinetic. The rule for
any chemistry is one channel for each species of the training set, then valence, core and kinetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ase.data import atomic_numbers, chemical_symbols

from atomscatter.errors import ConfigError

NOBLE_GAS_NUMBERS = (2, 10, 18, 36, 54, 86)
HEAVIEST = 118
"""Atomic number of the last element."""


def atomic_number(symbol: str) -> int:
    """Atomic number Z of a chemical symbol; ConfigError if there is no such element."""
    number = atomic_numbers.get(symbol, 0)
    if not 1 <= number <= HEAVIEST:
        raise ConfigError(f"unknown chemical symbol {symbol!r}")
    return int(number)


def valence_electrons(symbol: str) -> int:
    """Electrons outside the closed shells: Li 1, Si 4, Fe 8, Ge 4, noble gases 8 (helium 2).

    Filled d shells count as core once a p block follows them, filled f shells once a d block does: the usual
    convention of the periodic table's group numbers.
    """
    number = atomic_number(symbol)
    if number <= 2:
        return number
    closed = max(z for z in NOBLE_GAS_NUMBERS if z < number)
    outside = number - closed
    if closed < 18:  # periods 2 and 3
        return outside
    if closed < 54:  # periods 4 and 5: ten d electrons become core in the p block
        return outside - 10 if outside > 12 else outside
    if outside > 26:  # periods 6 and 7, p block: f14 and d10 are core
        return outside - 24
    return outside - 14 if outside > 16 else outside


@dataclass(frozen=True)
class Channel:
    """A named weight for each chemical species: f(Z) of the paper's equation (5).

    ``weights`` maps chemical symbols to f (electrons; dimensionless); a species that is missing has f = 0.
    """

    name: str
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        for symbol, weight in self.weights.items():
            atomic_number(symbol)
            if not math.isfinite(weight) or weight < 0:
                raise ConfigError(
                    f"channel {self.name!r}: weight of {symbol} is {weight}, need a number >= 0"
                )

    def weight(self, symbol: str) -> float:
        """Return f for one chemical symbol (0 where the channel does not name it)."""
        return float(self.weights.get(symbol, 0.0))


def channels_for(species: Iterable[str]) -> tuple[Channel, ...]:
    """Channels by the rule: one for each species (f = Z), then valence, core and kinetic (sqrt Z).

    Species are ordered by atomic number, so the same set always gives the same features.

    Raises:
        ConfigError: no species, or an unknown chemical symbol.
    """
    symbols = sorted(set(species), key=atomic_number)
    if not symbols:
        raise ConfigError("channels need at least one chemical species")
    numbers = {s: atomic_number(s) for s in symbols}
    own = tuple(Channel(s, {s: float(z)}) for s, z in numbers.items())
    valence = Channel("valence", {s: float(valence_electrons(s)) for s in symbols})
    core = Channel("core", {s: float(z - valence_electrons(s)) for s, z in numbers.items()})
    kinetic = Channel("kinetic", {s: math.sqrt(z) for s, z in numbers.items()})
    return (*own, valence, core, kinetic)


def channel_species(channels: Iterable[Channel]) -> tuple[str, ...]:
    """Every species that some channel weighs with f > 0, ordered by atomic number."""
    named = {s for channel in channels for s, weight in channel.weights.items() if weight > 0}
    return tuple(sorted(named, key=lambda s: chemical_symbols.index(s)))
