"""Labels of the feature columns and their fixed order (paper, section II D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement, product

PRODUCTS = "products"
"""Name of the channel of products at the atoms."""


@dataclass(frozen=True)
class FeatureLabel:
    """What one feature column is; entries that it does not have are None (``species``: empty).

    order 0: (channel, q); order 1: (channel, j1, l1, q); order 2: (channel, j1, l1, j2, l2, q).
    Products at the atoms (:mod:`atomscatter.products`) are of order 1 and have a channel of their own; of
    atoms of one species, ``center``: a field alone (q = 1), or the product of two fields (q = 2) with equal
    l. ``species`` are those whose densities the fields are of.
    """

    order: int
    channel: str
    q: float
    j1: int | None = None
    l1: int | None = None
    j2: int | None = None
    l2: int | None = None
    center: str | None = None
    species: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.center is not None:
            widths = [j for j in (self.j1, self.j2) if j is not None]
            fields = (f"{s} j={j}" for s, j in zip(self.species, widths, strict=True))
            return f"{self.channel} {self.center}, {' '.join(fields)} l={self.l1}"
        scales = "".join(
            f" j{i}={j} l{i}={angular}"
            for i, j, angular in ((1, self.j1, self.l1), (2, self.j2, self.l2))
            if j is not None
        )
        return f"order {self.order} {self.channel}{scales} q={Fraction(self.q).limit_denominator(12)}"


def second_scales(j1: int, scales: int) -> range:
    """Second-order scales for a first scale: max(0, j1 - 1) <= j2 < J (paper, section II D)."""
    return range(max(0, j1 - 1), scales)


def feature_labels(
    channels: Sequence[str], scales: int, n: int, powers: Sequence[float]
) -> tuple[FeatureLabel, ...]:
    """All labels in the order of the feature columns.

    Channels vary slowest within an order and powers fastest. The paper's parameters (5 channels, 5 scales,
    n = 3, 4 powers) give 20 + 300 + 3,420 = 3,740 labels.
    """
    zeroth = [FeatureLabel(0, c, q) for c in channels for q in powers]
    first = [
        FeatureLabel(1, c, q, j, angular)
        for c in channels
        for j in range(scales)
        for angular in range(n)
        for q in powers
    ]
    second = [
        FeatureLabel(2, c, q, j1, l1, j2, l2)
        for c in channels
        for j1 in range(scales)
        for l1 in range(n)
        for j2 in second_scales(j1, scales)
        for l2 in range(n)
        for q in powers
    ]
    return (*zeroth, *first, *second)


def product_labels(species: Sequence[str], widths: int, n: int) -> tuple[FeatureLabel, ...]:
    """Labels of products at the atoms, in the order of the feature columns; j numbers their ``widths``.

    The species at the centre varies slowest; first its fields with l = 0, then for each l the pairs of
    fields, the first of a pair slowest. Two species, three widths and n = 4 give 2 (6 + 4 x 21) = 180 labels.
    """
    fields = list(product(species, range(widths)))
    found = []
    for center in species:
        found += [FeatureLabel(1, PRODUCTS, 1.0, j, 0, center=center, species=(s,)) for s, j in fields]
        found += [
            FeatureLabel(1, PRODUCTS, 2.0, j1, angular, j2, angular, center=center, species=(s1, s2))
            for angular in range(n)
            for (s1, j1), (s2, j2) in combinations_with_replacement(fields, 2)
        ]
    return tuple(found)
