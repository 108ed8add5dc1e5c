"""kill -9 of the head of a cluster: no job is lost, and what was computed is not computed again."""

import time

import httpx
import pytest

from service.feature_store import FeatureStore, chunk_name
from tests.api.conftest import serving
from tests.api.test_jobs import ended, submit
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well
from tests.faults.marked import Marks
from tests.faults.ray_nodes import ray_nodes
from tests.faults.times import times

SECONDS = 0.6


@times(0, 5)
@pytest.mark.fault("kill -9 of the GCS alone under a driver")
def test_without_the_gcs_a_driver_ends_and_is_resumed(times, data_file, undisturbed, tmp_path, injected):
    path, marks = tmp_path / "store", Marks(tmp_path / "marks")
    command = {"chunk_rows": CHUNK_ROWS, "seconds": SECONDS, "workers": 2}
    known, lost, exits = set(), [], []
    for _ in range(times + 1):
        with (
            ray_nodes(tmp_path, cpus=2) as cluster,
            driver(
                data_file,
                path,
                marks.file,
                address=cluster.address,
                environment=cluster.environment,
                **command,
            ) as process,
        ):
            if len(lost) == times:
                done = ended_well(process)
                break
            process.stdout.readline()
            process.stdout.readline()
            marks.wait_for_work()
            cluster.head.wait_for("gcs_server").kill()
            process.communicate(timeout=240)
            exits.append(process.returncode)
        marks.wait_for_end()
        noted = set(FeatureStore.open(path, check=False).completed_units())
        assert noted > known
        lost.append(len(marks.begun()) - len(noted) - sum(lost))
        known = noted
    assert 0 not in exits, "an interrupted run says that it was"
    assert done[0] == sum(len(undisturbed.unit_rows(unit)) for unit in known)
    assert FeatureStore.open(path).content_hash() == undisturbed.content_hash()
    assert max(lost) <= 2, "at most one unit for each worker is begun again"
    injected(
        times,
        f"driver ends with an error, same command resumes on a new head, at most {max(lost)} units begun "
        "again with 2 workers, store hash of an undisturbed run",
    )


@times(1, 5)
@pytest.mark.fault("kill -9 of the head (GCS and all of its node) under a job")
def test_a_job_survives_the_head_of_its_cluster(times, data_file, tmp_path, monkeypatch, injected):
    with ray_nodes(tmp_path, dashboard=True, cpus=3) as cluster:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            monkeypatch.setenv(name, cluster.environment[name])
        state = tmp_path / "state"
        with (
            serving(state, "--address", cluster.jobs_address, timeout=30) as (_, url),
            httpx.Client(base_url=url, timeout=60) as client,
        ):
            answer = client.post("/v1/datasets", files={"file": ("a.extxyz", data_file.read_bytes())})
            parameters = {"dataset": answer.json()["id"], "beta": 0.7, "copies": 0.0}
            hashes = set()
            for _ in range(times):
                job = submit(client, "featurize", parameters)
                store = state / "stores" / job
                wait_until_half_done(client, job)
                cluster.head.kill()
                before = completed(store)
                assert 0 < len(before) < FeatureStore.open(store, check=False).n_units, "it was at work"
                assert client.get(f"/v1/jobs/{job}").json()["state"] == "running", "it is not lost"
                cluster.start_head()
                assert ended(client, job, 300)["state"] == "succeeded", log_of(client, job)
                assert "attempt=2" in log_of(client, job)
                after = completed(store)
                assert {unit: after[unit] for unit in before} == before, "nothing was computed again"
                hashes.add(FeatureStore.open(store).content_hash())
    assert len(hashes) == 1
    injected(
        times,
        "job kept, run again by itself on the new head, nothing noted before was computed again, "
        "same store hash each time",
    )


def wait_until_half_done(client, job, seconds=300):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = client.get(f"/v1/jobs/{job}").json()
        if found["done"] and found["done"] >= found["total"] // 4:
            return
        assert found["state"] in ("queued", "running"), log_of(client, job)
        time.sleep(0.1)
    raise AssertionError(log_of(client, job))


def completed(path):
    """Unit -> time of its chunk's file, of what is noted as complete."""
    units = FeatureStore.open(path, check=False).completed_units()
    return {unit: (path / chunk_name(unit)).stat().st_mtime_ns for unit in units}


def log_of(client, job):
    return client.get(f"/v1/jobs/{job}/log").text
