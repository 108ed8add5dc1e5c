"""kill -9 of the process of a job: the server tries it again, and what was computed is not computed again.

The ordinary suite does so in test_full_disk.py, to a job that has another fault after it.
"""

import pytest

from service.feature_store import FeatureStore
from tests.api.test_jobs import chunk_times, ended, job_process
from tests.faults.at_work import featurizing
from tests.faults.times import times
from tests.stores import content_hash


@times(0, 10)
@pytest.mark.fault("kill -9 of the process of a job")
def test_a_killed_job_is_tried_again(times, larger_file, tmp_path, injected):
    state = tmp_path / "state"
    hashes = set()
    with featurizing(state, larger_file) as (client, start):
        for _ in range(times):
            job, store = start()
            job_process(state, job).kill()
            before = chunk_times(store)
            assert 0 < len(before) < FeatureStore.open(store, check=False).n_units, "it was at work"
            assert ended(client, job)["state"] == "succeeded"
            assert "attempt=2" in client.get(f"/v1/jobs/{job}/log").text
            assert before.items() <= chunk_times(store).items(), "nothing was computed again"
            hashes.add(content_hash(FeatureStore.open(store)))
    assert len(hashes) == 1
    injected(
        times, "tried again by itself, nothing that was noted was computed again, same store hash each time"
    )
