"""The network between the head and a worker's node is cut, for a while and for good."""

import time

import pytest

from service.feature_store import FeatureStore
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well
from tests.faults.marked import Marks
from tests.faults.network import network
from tests.faults.ray_nodes import IMPATIENT, ray_nodes
from tests.faults.times import times
from tests.stores import content_hash

SECONDS = 0.6


@times(1, 5)
@pytest.mark.fault("network between head and worker cut for a while")
def test_a_network_that_comes_back(times, data_file, undisturbed, tmp_path, injected):
    length = 30 if times > 1 else 8
    run_with_cuts(times, length, data_file, undisturbed, tmp_path, settings={})
    injected(times, f"cut for {length} s each: run ended with the store hash of an undisturbed run")


@times(1, 5)
@pytest.mark.fault("network between head and worker cut for good")
def test_a_network_that_does_not_come_back(times, data_file, undisturbed, tmp_path, injected):
    settings = {} if times > 1 else IMPATIENT
    seconds = run_with_cuts(times, None, data_file, undisturbed, tmp_path, settings=settings)
    injected(
        times,
        f"run ended with the store hash of an undisturbed run, at most {max(seconds):.0f} s after the cut",
    )


def run_with_cuts(times, length, data_file, undisturbed, folder, settings):
    """In each of several runs, cut the cable for ``length`` seconds (None: until the run has ended) while a
    worker at its other end is at work; seconds from each cut to the end of the run."""
    with (
        network() as net,
        ray_nodes(folder, settings=settings, host=net.addresses["a"], prefix=net.prefix("a")) as cluster,
    ):
        return [
            run_with_a_cut(net, cluster, length, data_file, undisturbed, folder / str(i))
            for i in range(times)
        ]


def run_with_a_cut(net, cluster, length, data_file, undisturbed, folder):
    folder.mkdir()
    path, marks = folder / "store", Marks(folder / "marks")
    node = cluster.add(host=net.addresses["b"], prefix=net.prefix("b"))
    raylet = node.wait_for("raylet")
    with driver(
        data_file,
        path,
        marks.file,
        chunk_rows=CHUNK_ROWS,
        seconds=SECONDS,
        workers=2,
        address=cluster.address,
        environment=cluster.environment,
        prefix=net.prefix("a"),
    ) as process:
        far = marks.wait_for_work(lambda mark: mark.pid in pids_below(raylet))
        assert net.reaches()
        net.cut()
        began = time.monotonic()
        assert not net.reaches()
        if length is not None:
            time.sleep(length)
            net.mend()
        ended_well(process, 600)
        seconds = time.monotonic() - began
    node.kill()
    net.mend()
    assert {mark.node for mark in marks.all()} > {far.node}, "the near worker took part"
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
    return seconds


def pids_below(raylet):
    return {process.pid for process in raylet.children(recursive=True)}
