"""Jobs of the service on a running Ray cluster, through its Jobs API."""

import os
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from atomscatter.errors import ConfigError, WorkerError
from service.jobs import JobLedger
from service.state import StateDirectory
from tests.api.conftest import assert_problem, serving
from tests.api.test_jobs import ended, events, running, submit, training_set
from tests.ray_head import ray_head
from workers.job_places import RayJobs


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    with ray_head(tmp_path_factory.mktemp("head") / "log", dashboard=True) as found:
        yield found


@pytest.fixture
def token(head, monkeypatch):
    for name, value in head.environment.items():
        monkeypatch.setenv(name, value)


def serving_on(head, state):
    return serving(state, "--address", head.jobs_address, timeout=30)


def upload(client):
    files, form = {"file": ("a.extxyz", training_set()[0])}, {"path_key": "path_id"}
    return client.post("/v1/datasets", files=files, data=form).json()["id"]


def drivers_of(process):
    """Ray's processes below a server."""
    return [c for c in process.children(recursive=True) if "raylet" in c.name() or "gcs" in c.name()]


def test_from_upload_to_model_on_a_cluster(head, token, tmp_path):
    state = tmp_path / "state dir"  # a blank must survive Ray's shell
    with serving_on(head, state) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/health/jobs").status_code == 200
        dataset = upload(client)
        store = submit(client, "featurize", {"dataset": dataset, "beta": 0.9, "scales": 2})
        seen = events(client, store)
        assert seen[-1]["state"] == "succeeded", client.get(f"/v1/jobs/{store}/log").text
        assert seen[-1]["done"] == seen[-1]["total"] > 0
        job = ended(
            client, submit(client, "train", {"store": store, "folds": 2, "bootstraps": 2, "max_features": 9})
        )
        assert job["state"] == "succeeded", client.get(f"/v1/jobs/{job['id']}/log").text
        assert job["result"]["model"] in client.get("/v1/models").json()["models"]
        assert "job succeeded" in client.get(f"/v1/jobs/{job['id']}/log").text
        assert drivers_of(psutil.Process(process.pid)) == [], "the API process starts no Ray"

        cancelled = submit(client, "featurize", {"dataset": dataset})
        running(client, cancelled)
        time.sleep(3)
        assert client.delete(f"/v1/jobs/{cancelled}").json()["state"] == "cancelling"
        assert ended(client, cancelled, 60)["state"] == "cancelled"
    # Not by Ray's own client: it keeps the first token that this process ever used.
    found = httpx.get(
        f"{head.jobs_address}/api/jobs/",
        headers={"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"},
        timeout=60,
    )
    submitted = {j["submission_id"]: j["entrypoint"] for j in found.json()}
    assert set(submitted) == {f"atomscatter-{i}-1" for i in (store, job["id"], cancelled)}
    assert {e.split(" -m ")[0] for e in submitted.values()} == {"exec python"}


def test_a_job_outlives_the_server_that_started_it(head, token, tmp_path):
    state = tmp_path / "state"
    with serving_on(head, state) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        job_id = submit(client, "featurize", {"dataset": upload(client), "beta": 0.9, "scales": 2})
        running(client, job_id)
        process.terminate()
        process.wait(60)
    assert JobLedger(state / "jobs.sqlite").get(job_id).state == "running"
    with serving_on(head, state) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        assert ended(client, job_id)["state"] == "succeeded"
        assert client.get(f"/v1/jobs/{job_id}/log").text.count("job started") == 1


def test_a_cluster_that_ends_loses_no_job(tmp_path, monkeypatch):
    state = tmp_path / "state"
    with ray_head(tmp_path / "log", dashboard=True) as head:
        for name, value in head.environment.items():
            monkeypatch.setenv(name, value)
        with serving_on(head, state) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
            dataset = upload(client)
            head.end()
            job_id = submit(client, "evaluate", {"dataset": dataset})
            assert_problem(client.get("/health/jobs"), 503)
            assert client.get("/health/ready").status_code == 200, "predictions need no Ray"
            time.sleep(3)
            assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    with serving(state) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        assert ended(client, job_id)["state"] == "succeeded"


def test_addresses_that_are_none(tmp_path):
    state = StateDirectory(tmp_path)
    with pytest.raises(ConfigError, match="like http://host:8265"):
        RayJobs(state, "host:6379")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(WorkerError, match=address):
            RayJobs(state, address).check()
        assert time.monotonic() - began < 30, "it waits for an answer, but not for ever"


def test_a_cluster_lets_in_whoever_has_the_token_and_no_other_cluster_is_asked(head, tmp_path):
    code = """
import sys
from pathlib import Path
from service.state import StateDirectory
from workers.job_places import RayJobs
RayJobs(StateDirectory(Path(sys.argv[1])), sys.argv[2]).check()
print("let in")
"""
    for environment, answer in (({}, ""), (head.environment, "let in\n")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), head.jobs_address],
            env=os.environ | environment | {"RAY_ADDRESS": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == answer, done.stderr  # Ray's own client would follow RAY_ADDRESS
        assert ("WorkerError" in done.stderr) == (answer == "")
    assert httpx.get(f"{head.jobs_address}/api/jobs/", timeout=60).status_code in (401, 403)
