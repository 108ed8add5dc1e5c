"""Faults are injected in the middle of a job's work."""

import time


def wait_until_at_work(client, job, seconds=300):
    """Return when a quarter of a job of a server is done."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = client.get(f"/v1/jobs/{job}").json()
        if found["done"] and found["done"] >= found["total"] // 4:
            return
        assert found["state"] in ("queued", "running"), found
        time.sleep(0.1)
    raise AssertionError(client.get(f"/v1/jobs/{job}/log").text)
