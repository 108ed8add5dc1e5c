"""The network between the head and a worker's node is cut, for a while and for good."""

import contextlib
import subprocess
import sys
import time

import pytest

from service.feature_store import FeatureStore
from tests import netns
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well
from tests.faults.marked import Marks
from tests.faults.times import times
from tests.ray_nodes import IMPATIENT, ray_nodes
from tests.stores import content_hash

SECONDS = 0.6
# Long enough that units are left when a worker that was cut off for a while has been heard of again.
LONG = 1.5


@pytest.fixture
def machines():
    """Two machines on one network: one for head and driver, and a far one that is cut off."""
    if reason := netns.why_not():
        pytest.skip(reason)
    with netns.fabric() as fabric:
        network = fabric.network("faults", "10.93.1")
        yield fabric.machine("near", network), fabric.machine("far", network)


def reaches(near, far):
    """Whether the far machine answers, be it with a refusal."""
    code = (
        "import socket, sys; s = socket.socket(); s.settimeout(2);"
        "sys.exit(s.connect_ex((sys.argv[1], 9)) != 111)"  # ECONNREFUSED: nothing listens there
    )
    command = near.command(sys.executable, "-c", code, far.addresses[0])
    return subprocess.run(command, check=False).returncode == 0


def cut(near, far):
    assert reaches(near, far)
    far.cut()
    assert not reaches(near, far)


def head_on(near, folder, settings):
    return ray_nodes(folder, settings=settings, host=near.addresses[0], prefix=near.command())


def test_cut_for_a_while_and_then_for_good(machines, data_file, undisturbed, tmp_path):
    """The far worker goes on after the first cut, and is done without after the second."""
    near, far = machines
    with (
        head_on(near, tmp_path, IMPATIENT) as cluster,
        running(cluster, machines, data_file, undisturbed, tmp_path / "run", LONG) as (marks, is_far),
    ):
        first = marks.wait_for_work(is_far)
        cut(near, far)  # and some seconds pass as nothing is reached
        far.mend()
        mended = time.time()
        again = marks.wait_for_work(lambda mark: is_far(mark) and mark.time > mended)
        assert again.pid == first.pid, "nothing was given up"
        cut(near, far)


@times(0, 5)
@pytest.mark.fault("network between head and worker cut for a while")
def test_a_network_that_comes_back(times, machines, data_file, undisturbed, tmp_path, injected):
    near, far = machines
    length = 30
    with head_on(near, tmp_path, {}) as cluster:
        for i in range(times):
            with running(cluster, machines, data_file, undisturbed, tmp_path / str(i)) as (marks, is_far):
                marks.wait_for_work(is_far)
                cut(near, far)
                time.sleep(length)
                far.mend()
    injected(times, f"cut for {length} s each: run ended with the store hash of an undisturbed run")


@times(0, 5)
@pytest.mark.fault("network between head and worker cut for good")
def test_a_network_that_does_not_come_back(times, machines, data_file, undisturbed, tmp_path, injected):
    near, far = machines
    seconds = []
    with head_on(near, tmp_path, {}) as cluster:
        for i in range(times):
            with running(cluster, machines, data_file, undisturbed, tmp_path / str(i)) as (marks, is_far):
                marks.wait_for_work(is_far)
                cut(near, far)
                began = time.monotonic()
            seconds.append(time.monotonic() - began)
    injected(
        times,
        f"run ended with the store hash of an undisturbed run, at most {max(seconds):.0f} s after the cut",
    )


@contextlib.contextmanager
def running(cluster, machines, data_file, undisturbed, folder, seconds=SECONDS):
    """A run with a worker on each machine; it ends with the block, by itself and as if nothing had happened.

    Yields its marks, and a function that says of a mark whether it is from the far worker.
    """
    near, far = machines
    folder.mkdir()
    path, marks, gate = folder / "store", Marks(folder / "marks"), folder / "gate"
    node = cluster.add(host=far.addresses[0], prefix=far.command())
    raylet = node.wait_for("raylet")
    with driver(
        data_file,
        path,
        marks.file,
        chunk_rows=CHUNK_ROWS,
        seconds=seconds,
        gate=gate,
        workers=2,
        address=cluster.address,
        environment=cluster.environment,
        prefix=near.command(),
    ) as process:
        marks.wait_for_workers(2)
        far_pids = {process.pid for process in raylet.children(recursive=True)}
        gate.touch()
        yield marks, lambda mark: mark.pid in far_pids
        ended_well(process, 600)
    node.kill()
    far.mend()
    worked = {mark.pid for mark in marks.all() if mark.what == "begin"}
    assert worked & far_pids, "the far worker took part"
    assert worked - far_pids, "the near worker took part"
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
