"""The cases of transform_speed.py: pytest benchmarks/test_transform_speed.py --no-cov."""

import pytest
from transform_speed import CASES, SLOW, SLOW_DEFAULT


@pytest.mark.parametrize("case", CASES)
def test_seconds_for_one_structure(benchmark, case):
    run = CASES[case]
    run()  # compiles and plans
    benchmark.pedantic(run, rounds=3 if case in (SLOW, SLOW_DEFAULT) else 10)
