"""Work that begins before the nodes of its cluster: after `docker compose up`, or a new head."""

import subprocess
import sys

import pytest

from service.feature_store import FeatureStore
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well, wait_for_line
from tests.faults.marked import Marks
from tests.ray_nodes import ray_nodes
from tests.repository import ROOT
from tests.stores import content_hash

SECONDS = 0.2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head that computes nothing; the last test gives it nodes that compute."""
    with ray_nodes(tmp_path_factory.mktemp("cluster"), cpus=0) as cluster:
        yield cluster


def test_a_cluster_that_stays_without_a_cpu_is_a_clear_error(cluster):
    code = """
import sys
import workers.cluster
from atomscatter.errors import WorkerError
workers.cluster._SECONDS_FOR_CPUS = 1
try:
    with workers.cluster.connect(sys.argv[1]): print("connected")
except WorkerError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, cluster.address],
        env=cluster.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.endswith("the Ray cluster has no CPU, and no node with one joined within 1 s\n")


@pytest.mark.chaos
def test_no_more_workers_than_were_asked_for(data_file, undisturbed, tmp_path):
    with ray_nodes(tmp_path, cpus=0) as cluster:
        join_late(2, cluster, data_file, undisturbed, tmp_path)


def test_nodes_that_join_late_take_part(cluster, data_file, undisturbed, tmp_path):
    join_late(None, cluster, data_file, undisturbed, tmp_path)


def join_late(workers, cluster, data_file, undisturbed, tmp_path):
    """One CPU joins a run that waits, then two; as many workers start, or as many as were asked for."""
    path, marks, gate = tmp_path / "store", Marks(tmp_path / "marks"), tmp_path / "gate"
    options = {} if workers is None else {"workers": workers}
    with driver(
        data_file,
        path,
        marks.file,
        chunk_rows=CHUNK_ROWS,
        seconds=SECONDS,
        gate=gate,
        address=cluster.address,
        environment=cluster.environment,
        **options,
    ) as process:
        wait_for_line(process, "waiting for its nodes")
        cluster.add(cpus=1)
        marks.wait_for_workers(1)
        cluster.add(cpus=2)
        marks.wait_for_workers(workers or 3)
        gate.touch()
        ended_well(process)
    begun = [mark for mark in marks.all() if mark.what == "begin"]
    assert len({mark.pid for mark in begun}) == len(marks.started()) == (workers or 3)
    assert len({mark.node for mark in begun}) == 2
    assert len(begun) == undisturbed.n_units
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
