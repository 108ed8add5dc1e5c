"""A real server in its own process, and real HTTP."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.demo_data import load_sample
from tests.ports import unused_port

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def serving(state, *arguments, port=None, **environment):
    """``atomscatter serve`` until it is ready; yields (process, base URL).

    With one process for predictions, unless the arguments name another number.
    """
    port = port or unused_port()
    command = [sys.executable, "-m", "cli", "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--state", str(state), "--workers", "1", *arguments],
        cwd=ROOT,
        env=os.environ | {f"ATOMSCATTER_{k.upper()}": str(v) for k, v in environment.items()},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, url)
        yield process, url
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process, url, seconds=300):
    deadline = time.monotonic() + seconds
    with httpx.Client(timeout=60) as client:  # one for all requests: a new one reads all certificates
        while time.monotonic() < deadline:
            assert process.poll() is None, "the server ended"
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{url}/health/ready").status_code == 200:
                    return
            time.sleep(0.2)
    raise AssertionError("the server did not become ready")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("state"), "--workers", "2", timeout=20, max_atoms=500) as (
        process,
        url,
    ):
        yield process, url


@pytest.fixture(scope="session")
def client(server):
    with httpx.Client(base_url=server[1], timeout=60) as found:
        yield found


@pytest.fixture(scope="session")
def samples():
    """Some structures of the embedded paths, as ASE Atoms."""
    found = load_sample("paths")
    return [found[i].atoms for i in np.linspace(0, len(found) - 1, 6).astype(int)]


def as_json(atoms):
    return {
        "lattice_vectors": atoms.cell.tolist(),
        "cartesian_site_positions": atoms.positions.tolist(),
        "species_at_sites": atoms.get_chemical_symbols(),
    }


def assert_problem(answer, status):
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body
