"""SIGSTOP of a worker: nothing waits for it but its own unit, and it goes on where it was."""

import os
import signal
import time

import pytest

from service.feature_store import FeatureStore
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well
from tests.faults.marked import Marks
from tests.faults.ray_nodes import ray_nodes
from tests.faults.times import times
from tests.stores import content_hash

SECONDS = 0.6


@times(1, 3)
@pytest.mark.fault("SIGSTOP of a worker for a while")
def test_a_stopped_worker_is_no_deadlock(times, data_file, undisturbed, tmp_path, injected):
    stopped_for = 60 if times > 1 else 10
    with ray_nodes(tmp_path, cpus=2) as cluster:
        for i in range(times):
            stop_a_worker(stopped_for, cluster, data_file, undisturbed, tmp_path / str(i))
    injected(
        times,
        f"stopped for {stopped_for} s each: the other worker went on, the run ended, store hash of an "
        "undisturbed run",
    )


def stop_a_worker(stopped_for, cluster, data_file, undisturbed, folder):
    folder.mkdir()
    path, marks = folder / "store", Marks(folder / "marks")
    with driver(
        data_file,
        path,
        marks.file,
        chunk_rows=CHUNK_ROWS,
        seconds=SECONDS,
        workers=2,
        address=cluster.address,
        environment=cluster.environment,
    ) as process:
        wait_for_both(marks)
        stopped = marks.stop_at_work()
        time.sleep(stopped_for)
        others = [
            m for m in marks.all() if m.what == "end" and m.pid != stopped.pid and m.time > stopped.time
        ]
        os.kill(stopped.pid, signal.SIGCONT)
        ended_well(process)
    mine = [m for m in marks.all() if (m.unit, m.pid) == (stopped.unit, stopped.pid)]
    assert [m.what for m in mine] == ["begin", "end"]
    assert mine[1].time - mine[0].time > stopped_for, "it was stopped in the middle of a unit"
    assert others, "the other one went on"
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)


def wait_for_both(marks, seconds=300):
    deadline = time.monotonic() + seconds
    while len({mark.pid for mark in marks.all()}) < 2:
        assert time.monotonic() < deadline, "the second worker did not start"
        time.sleep(0.05)
