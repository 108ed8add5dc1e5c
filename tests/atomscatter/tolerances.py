"""How far the features of the default grid may lie from the exact ones: one place for all tests.

The tolerance of a feature is the largest relative error that was published for features of its order and
power in small cells (benchmarks/results/small_cell_errors.md, made by benchmarks/small_cell_errors.py; larger
cells do better: grid_convergence.md), for scales in the working range: 2^j beta times the lowest frequency of
the cell below 3. Beyond that range a cell sees only the Gaussian tail of a filter: the cutoff makes it zero.
"""

import json
from pathlib import Path

import numpy as np

ROUNDING = 1e-9  # sums in another order; powers of nearly vanishing fields amplify the last digits
POWERS = {"1": 1.0, "1.33": 4 / 3, "1.67": 5 / 3, "2": 2.0}
TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "small_cell_errors.json"


def published(kind):
    """{(order, q): largest relative error} for "random" or "crystal" structures, from the table."""
    errors = json.loads(TABLE.read_text())["errors"][kind]
    return {
        (order, q): errors[f"order {order}, q = {name}"][0] for order in (1, 2) for name, q in POWERS.items()
    }


DEFAULT_GRID = published("random")
# High symmetry, one atom of a species: the points of the grid repeat, an average over few values.
CRYSTAL_DEFAULT_GRID = published("crystal")
# The slow reference's own grid (spacing beta/5) limits this comparison.
FINE_GRID = {key: 1e-8 if key == (1, 2.0) else 1e-3 for key in DEFAULT_GRID}
CRYSTAL_FINE_GRID = {key: 1e-8 if key == (1, 2.0) else 3e-3 for key in DEFAULT_GRID}
MEDIAN = 1e-3  # of all features of orders 1 and 2


def relative_errors(features, reference):
    """|features / reference - 1|, zero where both are zero."""
    difference = np.abs(features - reference)
    return np.divide(difference, np.abs(reference), out=difference.copy(), where=reference != 0)


def by_order_and_power(labels, values):
    """{(order, q): largest value} of an array with one entry for each label; order 0 as (0, None)."""
    groups = {}
    for label, value in zip(labels, values, strict=True):
        key = (label.order, label.q if label.order else None)
        groups[key] = max(groups.get(key, 0.0), float(value))
    return groups


def assert_within(labels, features, reference, tolerances=DEFAULT_GRID):
    """Every feature within the tolerance of its order and power; order 0 to rounding."""
    worst = by_order_and_power(labels, relative_errors(features, reference))
    allowed = {key: tolerances.get(key, ROUNDING) for key in worst}
    too_large = {key: (value, allowed[key]) for key, value in worst.items() if not value <= allowed[key]}
    assert not too_large, f"(order, q): (largest relative error, tolerance) {too_large}"
