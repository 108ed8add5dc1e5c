"""Feature labels: counts of the paper and a fixed, readable order."""

import pytest

from atomscatter.labels import FeatureLabel, feature_labels, second_scales

CHANNELS = ("Li", "Si", "valence", "core", "kinetic")
POWERS = (1.0, 4 / 3, 5 / 3, 2.0)


@pytest.mark.parametrize(
    ("scales", "counts"), [(5, (20, 300, 3420)), (4, (20, 240, 2340)), (1, (20, 60, 180))]
)
def test_counts_by_order(scales, counts):
    labels = feature_labels(CHANNELS, scales, 3, POWERS)
    assert tuple(sum(label.order == order for label in labels) for order in range(3)) == counts
    assert len(set(labels)) == len(labels)


def test_nineteen_pairs_of_scales():
    pairs = [(j1, j2) for j1 in range(5) for j2 in second_scales(j1, 5)]
    assert len(pairs) == 19
    assert all(max(0, j1 - 1) <= j2 < 5 for j1, j2 in pairs)


def test_order_of_columns():
    labels = feature_labels(CHANNELS, 5, 3, POWERS)
    assert labels[0] == FeatureLabel(0, "Li", 1.0)
    assert labels[5] == FeatureLabel(0, "Si", 4 / 3)
    assert labels[20] == FeatureLabel(1, "Li", 1.0, 0, 0)
    assert labels[20 + 60 + 4] == FeatureLabel(1, "Si", 1.0, 0, 1)
    assert labels[320] == FeatureLabel(2, "Li", 1.0, 0, 0, 0, 0)
    assert labels[-1] == FeatureLabel(2, "kinetic", 2.0, 4, 2, 4, 2)


def test_labels_read_well():
    assert str(FeatureLabel(2, "Si", 4 / 3, 1, 0, 3, 2)) == "order 2 Si j1=1 l1=0 j2=3 l2=2 q=4/3"
    assert str(FeatureLabel(0, "valence", 2.0)) == "order 0 valence q=2"
