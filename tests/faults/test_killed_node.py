"""kill -9 of a raylet, which is the end of its node: the work moves to another one."""

import contextlib

import psutil
import pytest

from service.feature_store import FeatureStore
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well, wait_for_line
from tests.faults.marked import Marks
from tests.faults.times import times
from tests.ray_nodes import ray_nodes
from tests.stores import content_hash

SECONDS = 0.6
LONG = 6.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head of one CPU. Nodes that are killed have left it when a test ends."""
    with ray_nodes(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def joining(cluster, gate):
    """Options of a driver that works there, once the gate is open."""
    return {
        "chunk_rows": CHUNK_ROWS,
        "gate": gate,
        "address": cluster.address,
        "environment": cluster.environment,
    }


def test_a_node_that_dies_as_its_workers_start_does_not_end_the_run(
    cluster, data_file, undisturbed, tmp_path
):
    """Four workers die at once, before any worker had a unit; their places are taken elsewhere."""
    path, marks, gate = tmp_path / "store", Marks(tmp_path / "marks"), tmp_path / "gate"
    node = cluster.add(cpus=4)
    with driver(data_file, path, marks.file, workers=5, **joining(cluster, gate)) as process:
        marks.wait_for_workers(5)
        raylet = node.wait_for("raylet")
        doomed = {mark.pid for mark in marks.started()} & {p.pid for p in raylet.children(recursive=True)}
        assert len(doomed) == 4
        node.kill()
        for _ in doomed:
            wait_for_line(process, "a worker died as it started")
        gate.touch()
        ended_well(process)
    begun = [mark for mark in marks.all() if mark.what == "begin"]
    assert len(begun) == undisturbed.n_units
    assert doomed.isdisjoint(mark.pid for mark in begun)
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)


@times(1, 10)
@pytest.mark.fault("kill -9 of a raylet (a whole node)")
def test_the_work_of_a_killed_node_moves_to_the_other(
    times, cluster, data_file, undisturbed, tmp_path, injected
):
    path, marks, gate = tmp_path / "store", Marks(tmp_path / "marks"), tmp_path / "gate"
    killed = []
    node = cluster.add()
    # The head's worker must not be done before the last of the nodes is there.
    seconds = SECONDS if times == 1 else LONG
    options = joining(cluster, gate)
    with driver(data_file, path, marks.file, seconds=seconds, workers=2, **options) as process:
        marks.wait_for_workers(2)
        gate.touch()
        for _ in range(times):
            raylet = node.wait_for("raylet")
            mark = marks.stop_at_work(below(raylet))
            workers = raylet.children(recursive=True)
            raylet.kill()
            for worker in workers:  # a node goes as a whole: none may finish its unit
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            killed.append(mark)
            psutil.wait_procs(workers, timeout=180)
            node = cluster.add()
        ended_well(process)
    everything = [mark for mark in marks.all() if mark.what != "start"]
    nodes = {mark.node for mark in killed}
    assert len(nodes) == times
    assert {mark.node for mark in everything} > nodes, "another node took part"
    ended = {(mark.unit, mark.pid) for mark in everything if mark.what == "end"}
    assert ended.isdisjoint((mark.unit, mark.pid) for mark in killed), "each was in the middle of a unit"
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
    again = len(marks.begun()) - undisturbed.n_units
    assert 0 < again <= 2 * times
    injected(
        times, f"work moved to another node ({again} units begun twice), store hash of an undisturbed run"
    )


def below(raylet):
    """Whether a mark is from a worker of the raylet."""
    return lambda mark: mark.pid in {process.pid for process in raylet.children(recursive=True)}
