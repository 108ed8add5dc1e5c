"""kill -9 of the process that hands out the work: the same command resumes."""

import json
import random
import signal
import time

import pytest

from service.chunks import chunk_name
from service.feature_store import FeatureStore
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well
from tests.faults.marked import Marks
from tests.faults.ray_nodes import ray_nodes
from tests.faults.times import times
from tests.stores import content_hash

WORKERS = 2
SECONDS = 0.6  # that a unit takes longer than it would
SHORT = 0.03


@times(1, 10)
@pytest.mark.fault("kill -9 of the driver")
def test_a_killed_driver_is_resumed_where_it_was(times, data_file, undisturbed, tmp_path, injected):
    path, marks = tmp_path / "store", Marks(tmp_path / "marks")
    rng = random.Random(5)
    rows = {"chunk_rows": CHUNK_ROWS, "seconds": SECONDS, "workers": WORKERS}
    known: dict[int, int] = {}  # unit -> time of its chunk's file
    lost: list[int] = []  # units that were begun and not noted, for each kill
    with ray_nodes(tmp_path, cpus=WORKERS) as cluster:
        command = {**rows, "address": cluster.address, "environment": cluster.environment}
        for _ in range(times):
            with driver(data_file, path, marks.file, **command) as process:
                first = json.loads(process.stdout.readline())
                assert first == len(known) * CHUNK_ROWS, "what was noted counts"
                process.stdout.readline()
                time.sleep(SECONDS * rng.random())
                marks.wait_for_work()
                process.send_signal(signal.SIGKILL)
                assert process.wait(60) == -signal.SIGKILL
                marks.wait_for_end()
            noted = set(FeatureStore.open(path, check=False).completed_units())
            lost.append(len(marks.begun()) - len(noted) - sum(lost))
            now = {unit: (path / chunk_name(unit)).stat().st_mtime_ns for unit in noted}
            assert {unit: now[unit] for unit in known} == known, "a noted unit was computed again"
            assert len(now) > len(known)
            known = now
        with driver(data_file, path, marks.file, **command) as process:
            done = ended_well(process)
    assert done[0] == len(known) * CHUNK_ROWS
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
    assert max(lost) <= WORKERS, "at most one unit for each worker is begun again"
    injected(
        times,
        f"same command resumes, at most {max(lost)} units begun again with {WORKERS} workers, "
        "store hash of an undisturbed run",
    )


@times(1, 10)
@pytest.mark.fault("kill -9 of the driver of short units")
def test_short_units_that_are_done_are_not_lost_either(times, data_file, undisturbed, tmp_path, injected):
    """A worker holds many of them, and notes each as soon as it is done."""
    rng = random.Random(6)
    lost = []
    with ray_nodes(tmp_path, cpus=WORKERS) as cluster:
        command = {"chunk_rows": CHUNK_ROWS, "seconds": SHORT, "workers": WORKERS}
        command |= {"address": cluster.address, "environment": cluster.environment}
        for number in range(times):
            path, marks = tmp_path / f"store {number}", Marks(tmp_path / f"marks {number}")
            with driver(data_file, path, marks.file, **command) as process:
                for _ in range(rng.randint(3, 9)):
                    process.stdout.readline()
                marks.wait_for_work()
                process.send_signal(signal.SIGKILL)
                assert process.wait(60) == -signal.SIGKILL
                marks.wait_for_end()
            noted = set(FeatureStore.open(path, check=False).completed_units())
            with driver(data_file, path, marks.file, **command) as process:
                assert ended_well(process)[0] == len(noted) * CHUNK_ROWS
            lost.append(len(marks.begun()) - undisturbed.n_units)
            assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
    assert max(lost) <= WORKERS, "at most one unit for each worker is begun again"
    injected(
        times,
        f"same command resumes, at most {max(lost)} units begun again with {WORKERS} workers, "
        "store hash of an undisturbed run",
    )
