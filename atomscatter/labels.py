"""Labels of the feature columns and their fixed order (paper, section II D)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class FeatureLabel:
    """What one feature column is; entries that an order does not have are None.

    order 0: (channel, q); order 1: (channel, j1, l1, q); order 2: (channel, j1, l1, j2, l2, q).
    """

    order: int
    channel: str
    q: float
    j1: int | None = None
    l1: int | None = None
    j2: int | None = None
    l2: int | None = None

    def __str__(self) -> str:
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
