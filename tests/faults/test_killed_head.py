"""kill -9 of the head of a cluster: no job is lost, and what was computed is not computed again."""

import httpx
import pytest

from service.feature_store import FeatureStore
from tests.api.conftest import serving
from tests.api.test_jobs import chunk_times, ended, submit
from tests.faults.at_work import wait_until_at_work
from tests.faults.conftest import CHUNK_ROWS
from tests.faults.driver import driver, ended_well
from tests.faults.marked import Marks
from tests.faults.times import times
from tests.ray_nodes import ray_nodes
from tests.stores import content_hash

SECONDS = 0.6
PATIENCE = 15  # seconds; in production ten minutes


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
    assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
    assert max(lost) <= 2, "at most one unit for each worker is begun again"
    injected(
        times,
        f"driver ends with an error, same command resumes on a new head, at most {max(lost)} units begun "
        "again with 2 workers, store hash of an undisturbed run",
    )


@times(1, 5)
@pytest.mark.fault("kill -9 of the head (GCS and all of its node) under a job")
def test_a_job_survives_the_head_of_its_cluster(times, larger_file, tmp_path, monkeypatch, injected):
    """Every other time the head stays away until the job counts as failed, and is resumed."""
    with ray_nodes(tmp_path, dashboard=True, cpus=3) as cluster:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            monkeypatch.setenv(name, cluster.environment[name])
        state = tmp_path / "state"
        options = ("--address", cluster.jobs_address)
        with (
            serving(state, *options, timeout=30, cluster_patience=PATIENCE) as (_, url),
            httpx.Client(base_url=url, timeout=60) as client,
        ):
            answer = client.post("/v1/datasets", files={"file": ("a.extxyz", larger_file.read_bytes())})
            parameters = {"dataset": answer.json()["id"], "beta": 0.7, "copies": 0.0}
            hashes = set()
            for number in range(times):
                job = submit(client, "featurize", parameters)
                store = state / "stores" / job
                wait_until_at_work(client, job)
                cluster.head.kill()
                before = chunk_times(store)
                assert 0 < len(before) < FeatureStore.open(store, check=False).n_units, "it was at work"
                assert client.get(f"/v1/jobs/{job}").json()["state"] == "running", "it is not lost"
                stays_away = number % 2 == 0
                if stays_away:
                    found = ended(client, job)
                    assert found["state"] == "failed"
                    assert "Resume the job" in found["error"]
                cluster.start_head()
                if stays_away:
                    assert client.post(f"/v1/jobs/{job}/resume").json()["state"] == "queued"
                assert ended(client, job, 300)["state"] == "succeeded", log_of(client, job)
                assert "attempt=2" in log_of(client, job)
                after = chunk_times(store)
                assert {unit: after[unit] for unit in before} == before, "nothing was computed again"
                hashes.add(content_hash(FeatureStore.open(store)))
    assert len(hashes) == 1
    injected(
        times,
        f"job kept: run again by itself when the head came back at once ({times // 2}), failed and resumed "
        f"when it stayed away for {PATIENCE} s ({times - times // 2}); nothing was computed again, "
        "same store hash",
    )


def log_of(client, job):
    return client.get(f"/v1/jobs/{job}/log").text
