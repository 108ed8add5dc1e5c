"""A cluster whose nodes stay whole: kill -9 of the process that hands out the work, SIGSTOP of a worker."""

import json
import os
import random
import signal
import time

import pytest

from service.chunks import chunk_name
from service.feature_store import FeatureStore
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well
from tests.faults.marked import Marks
from tests.faults.times import times
from tests.ray_nodes import ray_nodes
from tests.stores import content_hash

WORKERS = 2
SECONDS = 0.6  # that a unit takes longer than it would
SHORT = 0.03


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """What the drivers of all tests have in common: the cluster above all."""
    with ray_nodes(tmp_path_factory.mktemp("cluster"), cpus=WORKERS) as cluster:
        yield {
            "chunk_rows": CHUNK_ROWS,
            "workers": WORKERS,
            "address": cluster.address,
            "environment": cluster.environment,
        }


@times(1, 10)
@pytest.mark.fault("kill -9 of the driver")
def test_a_killed_driver_is_resumed_where_it_was(times, command, data_file, undisturbed, tmp_path, injected):
    path, marks = tmp_path / "store", Marks(tmp_path / "marks")
    rng = random.Random(5)
    known: dict[int, int] = {}  # unit -> time of its chunk's file
    lost: list[int] = []  # units that were begun and not noted, for each kill
    for _ in range(times):
        with driver(data_file, path, marks.file, seconds=SECONDS, **command) as process:
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
    with driver(data_file, path, marks.file, **command) as process:  # without delay: it is not injured
        done = ended_well(process)
    assert done[0] == len(known) * CHUNK_ROWS
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
    assert max(lost) <= WORKERS, "at most one unit for each worker is begun again"
    injected(
        times,
        f"same command resumes, at most {max(lost)} units begun again with {WORKERS} workers, "
        "store hash of an undisturbed run",
    )


@times(0, 10)
@pytest.mark.fault("kill -9 of the driver of short units")
def test_short_units_that_are_done_are_not_lost_either(
    times, command, data_file, undisturbed, tmp_path, injected
):
    """A worker holds many of them, and notes each as soon as it is done."""
    rng = random.Random(6)
    lost = []
    for number in range(times):
        path, marks = tmp_path / f"store {number}", Marks(tmp_path / f"marks {number}")
        with driver(data_file, path, marks.file, seconds=SHORT, **command) as process:
            for _ in range(rng.randint(3, 9)):
                process.stdout.readline()
            marks.wait_for_work()
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL
            marks.wait_for_end()
        noted = set(FeatureStore.open(path, check=False).completed_units())
        with driver(data_file, path, marks.file, seconds=SHORT, **command) as process:
            assert ended_well(process)[0] == len(noted) * CHUNK_ROWS
        lost.append(len(marks.begun()) - undisturbed.n_units)
        assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
    assert max(lost) <= WORKERS, "at most one unit for each worker is begun again"
    injected(
        times,
        f"same command resumes, at most {max(lost)} units begun again with {WORKERS} workers, "
        "store hash of an undisturbed run",
    )


@times(1, 3)
@pytest.mark.fault("SIGSTOP of a worker for a while")
def test_a_stopped_worker_is_no_deadlock(times, command, data_file, undisturbed, tmp_path, injected):
    """Nothing waits for it but its own unit, and it goes on where it was."""
    stopped_for = 60 if times > 1 else 10
    for i in range(times):
        stop_a_worker(stopped_for, command, data_file, undisturbed, tmp_path / str(i))
    injected(
        times,
        f"stopped for {stopped_for} s each: the other worker went on, the run ended, store hash of an "
        "undisturbed run",
    )


def stop_a_worker(stopped_for, command, data_file, undisturbed, folder):
    folder.mkdir()
    path, marks, gate = folder / "store", Marks(folder / "marks"), folder / "gate"
    with driver(data_file, path, marks.file, seconds=SECONDS, gate=gate, **command) as process:
        marks.wait_for_workers(WORKERS)
        gate.touch()
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
