"""The simulation behind benchmarks/results/scaling_model.md, where one part alone decides."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from scaling_simulation import Cluster, Work, simulate

FREE = Work(
    units=2000,
    seconds=1.0,
    spread=0.1,
    input_bytes=0.0,
    output_bytes=0.0,
    hand_out=0.0,
    wait=0.0,
    take_over=0.0,
)
CLUSTER = Cluster(workers=20, starts=1e9, start_seconds=0.0, link=1e9, storage=1e9, latency=0.0)


@pytest.mark.parametrize(
    ("work", "cluster", "rate"),
    [
        ({}, {}, 20.0),  # workers: 20 with units of a second
        ({}, {"workers": 1}, 1.0),
        ({"hand_out": 0.2}, {}, 5.0),  # one thread for all
        ({"wait": 0.025}, {"workers": 1}, 1 / 1.05),  # it looks twice before it hands out the next unit
        ({"input_bytes": 2.5e8}, {}, 4.0),
        ({"output_bytes": 1e8}, {}, 5.0),  # written and read back
        ({}, {"latency": 0.5}, 8.0),  # of each of three requests of every worker
        ({"seconds": 0.01, "in_flight": 4, "hand_out": 0.005}, {}, 200.0),
        ({"seconds": 0.01, "in_flight": 4}, {"workers": 2}, 200.0),
    ],
)
def test_rate_where_one_part_decides(work, cluster, rate):
    outcome = simulate(replace(FREE, **work), replace(CLUSTER, **cluster))
    assert outcome.units_per_second == pytest.approx(rate, rel=0.03)


def test_workers_are_busy_for_the_time_of_all_units():
    outcome = simulate(replace(FREE, spread=0.0), CLUSTER)
    assert outcome.seconds == pytest.approx(100.0)
    assert outcome.workers_busy == pytest.approx(1.0)


def test_the_first_worker_begins_before_others_are_up():
    outcome = simulate(replace(FREE, units=3, spread=0.0), replace(CLUSTER, starts=0.1, start_seconds=2.0))
    assert outcome.seconds == pytest.approx(2.0 + 3 * 1.0)


def test_same_seed_same_result():
    assert simulate(FREE, CLUSTER, seed=1) == simulate(FREE, CLUSTER, seed=1)
    assert simulate(FREE, CLUSTER, seed=1) != simulate(FREE, CLUSTER, seed=2)
