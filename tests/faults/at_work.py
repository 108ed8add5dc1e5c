"""Faults are injected in the middle of a job's work."""

import contextlib
import time

import httpx

from tests.api.conftest import serving
from tests.api.test_jobs import submit


@contextlib.contextmanager
def featurizing(state, data_file):
    """Of a server: its client, and a function that returns job and store of a job that is at work."""
    with serving(state, timeout=30) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/v1/datasets", files={"file": ("a.extxyz", data_file.read_bytes())})
        parameters = {"dataset": answer.json()["id"], "beta": 0.7, "copies": 0.0}

        def start():
            job = submit(client, "featurize", parameters)
            wait_until_at_work(client, job)
            return job, state / "stores" / job

        yield client, start


def wait_until_at_work(client, job, seconds=300):
    """Return when a quarter of a job of a server is done."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = client.get(f"/v1/jobs/{job}").json()
        assert found["state"] in ("queued", "running"), found
        if found["done"] and found["done"] >= found["total"] // 4:
            return
        time.sleep(0.1)
    raise AssertionError(client.get(f"/v1/jobs/{job}/log").text)
