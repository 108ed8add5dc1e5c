"""What operators rely on: probes, metrics, keys, models, a clean end."""

import socket
import subprocess
import sys

import httpx

from service.api_keys import new_key
from service.default_model import embedded_model
from tests.api.conftest import ROOT, as_json, assert_problem, serving
from tests.ports import unused_port


def test_probes_and_metrics(client, samples):
    assert client.get("/health/live").json()["status"] == "ok"
    model = client.get("/health/ready").json()["model"]
    client.post("/v1/predictions", json={"structures": [as_json(samples[0])]})
    text = client.get("/metrics").text
    assert 'atomscatter_model_info{data_hash="' in text
    assert f'id="{model}"' in text
    assert 'atomscatter_requests_total{method="POST",route="/v1/predictions",status="200"}' in text
    assert "atomscatter_structures_total" in text


def test_models_are_listed_and_described(client):
    listed = client.get("/v1/models").json()
    assert listed["active"] in listed["models"]
    card = client.get(f"/v1/models/{listed['active']}").json()
    assert card["active"] is True
    assert card["species"] == ["Li", "Si"]
    assert card["n_models"] == 500
    again = client.post(f"/v1/models/{listed['active']}/activate")
    assert again.json() == listed


def test_keys_have_scopes(tmp_path, samples):
    predict, first = new_key("laptop", ["predict"])
    operate, second = new_key("operator", ["predict", "jobs"])
    (tmp_path / "keys").write_text(f"# keys\n{first}\n{second}\n")
    model_body = {"structures": [as_json(samples[0])]}
    with serving(tmp_path / "state", api_keys=tmp_path / "keys") as (_, url):
        ask = f"{url}/v1/predictions"
        for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": first.split(":")[-1]}):
            assert_problem(httpx.post(ask, json=model_body, headers=headers, timeout=60), 401)
        assert httpx.post(ask, json=model_body, headers={"X-API-Key": predict}, timeout=60).status_code == 200
        model = httpx.get(f"{url}/health/ready").json()["model"]
        activate = f"{url}/v1/models/{model}/activate"
        assert_problem(httpx.post(activate, headers={"X-API-Key": predict}, timeout=60), 403)
        assert httpx.post(activate, headers={"X-API-Key": operate}, timeout=60).status_code == 200


def test_a_body_without_a_key_is_not_read(tmp_path):
    """Malformed JSON is no news before the key is known, and half a gigabyte is not waited for."""
    predict, line = new_key("laptop", ["predict"])
    (tmp_path / "keys").write_text(f"{line}\n")
    with serving(tmp_path / "state", api_keys=tmp_path / "keys") as (_, url):
        address, announced = httpx.URL(url), 400 * 2**20
        for key, status in (("wrong", 401), (predict, 403)):
            broken = {"content": b"{", "headers": {"content-type": "application/json", "X-API-Key": key}}
            assert_problem(httpx.post(f"{url}/v1/jobs", timeout=60, **broken), status)
            with socket.create_connection((address.host, address.port), timeout=60) as connection:
                connection.sendall(
                    f"POST /v1/datasets HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
                    f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {announced}\r\n\r\n"
                    "--b\r\n".encode()
                )
                assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_killed_prediction_process_is_replaced(tmp_path, samples):
    import psutil

    with serving(tmp_path) as (process, url):
        body = {"structures": [as_json(samples[0])]}
        children = [
            c
            for c in psutil.Process(process.pid).children(recursive=True)
            if "spawn_main" in str(c.cmdline())
        ]
        assert children
        for child in children:
            child.kill()
        assert httpx.post(f"{url}/v1/predictions", json=body, timeout=60).status_code == 200


def test_the_processes_end_with_a_killed_server(tmp_path):
    import psutil

    with serving(tmp_path, "--workers", "2") as (process, _):
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive


def test_a_model_directory_that_is_none_ends_with_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cli", "serve", "--port", str(unused_port()), "--model", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert embedded_model().is_dir()


def test_a_wrong_method_is_told_the_right_ones(client):
    for path, allowed in (
        ("/v1/jobs", "GET, POST"),
        (f"/v1/jobs/{'0' * 16}", "DELETE, GET"),
        ("/v1/models", "GET"),
    ):
        answer = client.put(path)
        assert_problem(answer, 405)
        assert answer.headers["allow"] == allowed
