"""Which parts of the transform a set of feature columns needs.

The powers q of one field come together: computing one of them costs as much as all. A *block* is therefore
(channel, j1, l1) of order 1 or (channel, j1, l1, j2, l2) of order 2. A block of order 2 needs the field of
its (channel, j1, l1), and thereby gives the columns of that block of order 1 for nothing. Columns of order 0
need no field at all. Products at the atoms have a block for each species in the middle and each l, but are
all made together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from atomscatter.arrays import IntArray
from atomscatter.errors import ConfigError
from atomscatter.labels import FeatureLabel

Block = tuple[str | int | None, ...]
"""(channel,), (channel, j1, l1) or (channel, j1, l1, j2, l2); of products (channel, center, l)."""


@dataclass(frozen=True)
class Needed:
    """What has to be computed."""

    first: dict[tuple[int, int], tuple[str, ...]]
    """(j1, l1) -> channels whose first-order field is needed, in the order of the labels."""
    second: dict[tuple[int, int, int, int], tuple[str, ...]]
    """(j1, l1, j2, l2) -> channels whose second-order field is needed, in the order of the labels."""
    products: bool
    """Whether products at the atoms are needed."""
    columns: IntArray
    """All columns that come out of it, ascending: those asked for, and those that come with them."""

    def spectra(self, j1: int, l1: int) -> tuple[str, ...]:
        """Channels whose first-order field of (j1, l1) is transformed again, in the order of the labels."""
        return self._spectra.get((j1, l1), ())

    @cached_property
    def _spectra(self) -> dict[tuple[int, int], tuple[str, ...]]:
        wanted: dict[tuple[int, int], set[str]] = {key: set() for key in self.first}
        for (j1, l1, *_), channels in self.second.items():
            wanted[j1, l1].update(channels)
        return {key: tuple(c for c in found if c in wanted[key]) for key, found in self.first.items()}


def block_of(label: FeatureLabel) -> Block:
    """The block that a column belongs to."""
    if label.center is not None:
        return (label.channel, label.center, label.l1)
    if label.order == 0:
        return (label.channel,)
    if label.order == 1:
        return (label.channel, label.j1, label.l1)
    return (label.channel, label.j1, label.l1, label.j2, label.l2)


def columns_by_block(labels: Sequence[FeatureLabel]) -> dict[Block, IntArray]:
    """Columns of each block, in the order of the labels."""
    found: dict[Block, list[int]] = {}
    for column, label in enumerate(labels):
        found.setdefault(block_of(label), []).append(column)
    return {block: np.array(columns) for block, columns in found.items()}


def needed(labels: Sequence[FeatureLabel], columns: Iterable[int]) -> Needed:
    """What has to be computed for some columns.

    Args:
        labels: of all columns, as in ``Scattering.labels``.
        columns: those whose values are wanted; repeated ones count once.

    Raises:
        ConfigError: there is no such column.
    """
    wanted = sorted({int(column) for column in columns})
    if wanted and not 0 <= wanted[0] <= wanted[-1] < len(labels):
        raise ConfigError(f"column {wanted[0] if wanted[0] < 0 else wanted[-1]} is not among {len(labels)}")
    of_integrals = [label for label in labels if label.center is None]
    order = {channel: i for i, channel in enumerate(dict.fromkeys(label.channel for label in of_integrals))}
    first: dict[tuple[int, int], set[str]] = {}
    second: dict[tuple[int, int, int, int], set[str]] = {}
    products = any(labels[column].center is not None for column in wanted)
    for label in (labels[column] for column in wanted):
        if label.center is not None or label.j1 is None or label.l1 is None:
            continue
        first.setdefault((label.j1, label.l1), set()).add(label.channel)
        if label.j2 is not None and label.l2 is not None:
            second.setdefault((label.j1, label.l1, label.j2, label.l2), set()).add(label.channel)
    computed: set[Block] = {(c,) for c in order}
    computed |= {block_of(label) for label in labels if products and label.center is not None}
    computed |= {(c, *key) for key, channels in first.items() for c in channels}
    computed |= {(c, *key) for key, channels in second.items() for c in channels}
    all_columns = [i for i, label in enumerate(labels) if block_of(label) in computed]
    return Needed(
        first={key: tuple(sorted(first[key], key=order.__getitem__)) for key in sorted(first)},
        second={key: tuple(sorted(second[key], key=order.__getitem__)) for key in sorted(second)},
        products=products,
        columns=np.array(all_columns, dtype=np.int64),
    )
