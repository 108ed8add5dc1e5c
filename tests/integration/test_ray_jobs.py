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
from tests.ray_nodes import ray_nodes
from workers.job_places import RayJobs


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    with ray_nodes(tmp_path_factory.mktemp("head"), dashboard=True, cpus=2) as found:
        yield found


@pytest.fixture
def token(head, monkeypatch):
    for name, value in head.credentials.items():
        monkeypatch.setenv(name, value)


def serving_on(head, state):
    return serving(state, "--address", head.jobs_address, timeout=30)


def upload(client):
    files, form = {"file": ("a.extxyz", training_set()[0])}, {"path_key": "path_id"}
    return client.post("/v1/datasets", files=files, data=form).json()["id"]


def drivers_of(process):
    """Ray's processes below a server."""
    return [c for c in process.children(recursive=True) if "raylet" in c.name() or "gcs" in c.name()]


def test_a_job_is_run_by_the_cluster_and_cancelled_there(head, token, tmp_path):
    state = tmp_path / "state dir"  # a blank must survive Ray's shell
    with serving_on(head, state) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/health/jobs").status_code == 200
        job = submit(client, "featurize", {"dataset": upload(client)})
        running(client, job)
        while not (seen := client.get(f"/v1/jobs/{job}").json())["done"]:
            assert seen["state"] == "running", client.get(f"/v1/jobs/{job}/log").text
            time.sleep(0.1)
        assert drivers_of(psutil.Process(process.pid)) == [], "the API process starts no Ray"
        assert client.delete(f"/v1/jobs/{job}").json()["state"] == "cancelling"
        assert ended(client, job, 60)["state"] == "cancelled"
    # Not by Ray's own client: it keeps the first token that this process ever used.
    found = httpx.get(
        f"{head.jobs_address}/api/jobs/",
        headers={"Authorization": f"Bearer {head.credentials['RAY_AUTH_TOKEN']}"},
        timeout=60,
    )
    (submitted,) = [j for j in found.json() if job in j["submission_id"]]
    assert submitted["submission_id"] == f"atomscatter-{job}-1"
    assert submitted["entrypoint"].split(" -m ")[0] == "exec python"


def test_a_job_outlives_the_server_that_started_it(head, token, tmp_path):
    state = tmp_path / "state"
    with serving_on(head, state) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        job_id = submit(client, "featurize", {"dataset": upload(client), "beta": 0.9, "scales": 2})
        running(client, job_id)
        process.terminate()
        process.wait(60)
    assert JobLedger(state / "jobs.sqlite").get(job_id).state == "running"
    with serving_on(head, state) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        seen = events(client, job_id)
        assert seen[-1]["state"] == "succeeded", client.get(f"/v1/jobs/{job_id}/log").text
        assert seen[-1]["done"] == seen[-1]["total"] > 0
        log = client.get(f"/v1/jobs/{job_id}/log").text
        assert log.count("job started") == log.count("job succeeded") == 1


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
    for environment, answer in (({}, ""), (head.credentials, "let in\n")):
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


def test_a_cluster_that_ends_loses_no_job(head, token, tmp_path):
    """The last test, since no other one can use the cluster after it."""
    state = tmp_path / "state"
    with serving_on(head, state) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        dataset = upload(client)
        head.end()
        job_id = submit(client, "evaluate", {"dataset": dataset})
        assert_problem(client.get("/health/jobs"), 503)
        assert client.get("/health/ready").status_code == 200, "predictions need no Ray"
        wait_until_one_could_not_be_started(client)
        assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    with serving(state) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        assert ended(client, job_id)["state"] == "succeeded"


def wait_until_one_could_not_be_started(client, seconds=60):
    """Until the server has tried: it says another thing as long as it has only asked the cluster."""
    deadline = time.monotonic() + seconds
    while (told := client.get("/health/jobs").json()).get("detail") != "no jobs are being started":
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
