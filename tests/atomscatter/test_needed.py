"""What a set of columns needs, against the labels themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomscatter.errors import ConfigError
from atomscatter.labels import feature_labels, product_labels
from atomscatter.needed import block_of, columns_by_block, needed

POWERS = (1.0, 4 / 3, 5 / 3, 2.0)
LABELS = feature_labels(("Li", "Si", "valence"), 3, 2, POWERS)


def column(order, channel, q, *numbers) -> int:
    keys = ("j1", "l1", "j2", "l2")[: len(numbers)]
    return next(
        i
        for i, label in enumerate(LABELS)
        if (label.order, label.channel, label.q) == (order, channel, q)
        and all(getattr(label, k) == v for k, v in zip(keys, numbers, strict=True))
    )


def test_a_second_order_column_by_hand() -> None:
    found = needed(LABELS, [column(2, "Si", 1.0, 1, 0, 2, 1)])
    assert found.first == {(1, 0): ("Si",)}
    assert found.second == {(1, 0, 2, 1): ("Si",)}
    assert found.spectra(1, 0) == ("Si",)
    assert found.spectra(1, 1) == ()
    order0 = [i for i, label in enumerate(LABELS) if label.order == 0]
    with_it = [column(1, "Si", q, 1, 0) for q in POWERS] + [column(2, "Si", q, 1, 0, 2, 1) for q in POWERS]
    assert found.columns.tolist() == sorted(order0 + with_it)


def test_channels_are_in_the_order_of_the_labels() -> None:
    wanted = [column(1, c, 2.0, 0, 1) for c in ("valence", "Li", "Si")]
    found = needed(LABELS, [*wanted, column(2, "valence", 1.0, 0, 1, 0, 0), *wanted])
    assert found.first == {(0, 1): ("Li", "Si", "valence")}
    assert found.spectra(0, 1) == ("valence",)


def test_nothing_and_everything() -> None:
    none = needed(LABELS, [])
    assert none.first == none.second == {}
    assert [LABELS[i].order for i in none.columns] == [0] * len(none.columns)
    every = needed(LABELS, range(len(LABELS)))
    assert every.columns.tolist() == list(range(len(LABELS)))
    assert sum(map(len, every.first.values())) == 3 * 3 * 2
    assert sum(map(len, every.second.values())) == 3 * (3 + 3 + 2) * 4


@given(st.sets(st.integers(0, len(LABELS) - 1)))
@settings(max_examples=60)
def test_what_comes_out_covers_what_is_wanted_and_needs_no_more(wanted) -> None:
    found = needed(LABELS, wanted)
    assert wanted <= set(found.columns.tolist())
    again = needed(LABELS, found.columns)
    assert again.first == found.first
    assert again.second == found.second
    np.testing.assert_array_equal(again.columns, found.columns)
    for (j1, l1, *_), channels in found.second.items():
        assert set(channels) <= set(found.first[j1, l1])


def test_blocks_part_the_columns() -> None:
    parts = columns_by_block(LABELS)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(LABELS)))
    assert {len(columns) for columns in parts.values()} == {len(POWERS)}
    assert all(block_of(LABELS[i]) == block for block, columns in parts.items() for i in columns)


def test_all_products_come_together() -> None:
    labels = (*LABELS, *product_labels(("Li", "Si"), 2, 3))
    products = list(range(len(LABELS), len(labels)))
    found = needed(labels, [products[7]])
    assert found.products
    assert found.first == found.second == {}
    order0 = [i for i, label in enumerate(labels) if label.order == 0]
    assert found.columns.tolist() == order0 + products
    assert not needed(labels, range(len(LABELS))).products
    blocks = [block for block in columns_by_block(labels) if block not in columns_by_block(LABELS)]
    assert blocks == [("products", center, angular) for center in ("Li", "Si") for angular in range(3)]


@pytest.mark.parametrize("bad", [-1, len(LABELS)])
def test_a_column_that_does_not_exist(bad) -> None:
    with pytest.raises(ConfigError, match=f"column {bad} "):
        needed(LABELS, [0, bad])
