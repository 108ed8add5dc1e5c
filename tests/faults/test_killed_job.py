"""kill -9 of the process of a job: the server tries it again, and what was computed is not computed again."""

import httpx
import pytest

from service.feature_store import FeatureStore
from tests.api.conftest import serving
from tests.api.test_jobs import chunk_times, ended, job_process, submit
from tests.faults.at_work import wait_until_at_work
from tests.faults.times import times


@times(0, 10)
@pytest.mark.fault("kill -9 of the process of a job")
def test_a_killed_job_is_tried_again(times, larger_file, tmp_path, injected):
    state = tmp_path / "state"
    hashes = set()
    with serving(state, timeout=30) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/v1/datasets", files={"file": ("a.extxyz", larger_file.read_bytes())})
        parameters = {"dataset": answer.json()["id"], "beta": 0.7, "copies": 0.0}
        for _ in range(times):
            job = submit(client, "featurize", parameters)
            store = state / "stores" / job
            wait_until_at_work(client, job)
            job_process(state, job).kill()
            before = chunk_times(store)
            assert 0 < len(before) < FeatureStore.open(store, check=False).n_units, "it was at work"
            assert ended(client, job)["state"] == "succeeded"
            assert "attempt=2" in client.get(f"/v1/jobs/{job}/log").text
            assert before.items() <= chunk_times(store).items(), "nothing was computed again"
            hashes.add(FeatureStore.open(store).content_hash())
    assert len(hashes) == 1
    injected(
        times, "tried again by itself, nothing that was noted was computed again, same store hash each time"
    )
