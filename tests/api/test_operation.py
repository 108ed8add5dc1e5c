"""What operators rely on: probes, metrics, keys, models, a clean end."""

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import json
import re
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import ase.io
import httpx
import psutil
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from api.app import create_app
from atomscatter.ensemble import Ensemble
from service.api_keys import new_key
from service.default_model import embedded_model
from service.registry import ModelRegistry
from service.settings import ServeSettings
from tests.api.conftest import ROOT, as_json, assert_problem, serving
from tests.cli.conftest import run
from tests.ports import unused_port
from workers.job_runner import JobRunner


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


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """URL of a server with keys, a key that may predict and one that may start jobs, too."""
    folder = tmp_path_factory.mktemp("guarded")
    predict, first = new_key("laptop", ["predict"])
    operate, second = new_key("operator", ["predict", "jobs"])
    (folder / "keys").write_text(f"# keys\n{first}\n{second}\n")
    with serving(folder / "state", api_keys=folder / "keys") as (_, url):
        yield url, predict, operate


def test_keys_have_scopes(guarded, samples):
    url, predict, operate = guarded
    body = {"structures": [as_json(samples[0])]}
    with httpx.Client(base_url=url, timeout=60) as client:
        stored = hashlib.sha256(predict.encode()).hexdigest()
        for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": stored}):
            assert_problem(client.post("/v1/predictions", json=body, headers=headers), 401)
        predicting, operating = ({"X-API-Key": key} for key in (predict, operate))
        assert client.post("/v1/predictions", json=body, headers=predicting).status_code == 200
        activate = f"/v1/models/{client.get('/health/ready').json()['model']}/activate"
        assert_problem(client.post(activate, headers=predicting), 403)
        assert client.post(activate, headers=operating).status_code == 200
        for route in ("/v1/jobs", "/v1/datasets"):
            assert_problem(client.get(route, headers=predicting), 403)
            assert_problem(client.get(route), 401)
        assert client.get("/health/jobs").status_code == 200


def test_a_body_without_a_key_is_not_read(guarded):
    """Malformed JSON is no news before the key is known, and half a gigabyte is not waited for."""
    url, predict, _ = guarded
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


def test_keys_are_revoked_and_rotated_while_the_server_runs(tmp_path):
    (old, old_line), (new, new_line) = new_key("old", ["predict"]), new_key("new", ["predict"])
    keys = tmp_path / "keys"
    keys.write_text(f"{old_line}\n")
    with serving(tmp_path / "state", api_keys=keys) as (_, url), httpx.Client(base_url=url) as client:

        def statuses():
            return [client.get("/v1/models", headers={"X-API-Key": key}).status_code for key in (old, new)]

        def become(expected):
            deadline = time.monotonic() + 20
            while statuses() != expected and time.monotonic() < deadline:
                time.sleep(0.2)
            return statuses() == expected

        assert statuses() == [200, 401]
        keys.write_text(f"{old_line}\n{new_line}\n")
        assert become([200, 200])
        keys.write_text(f"{new_line}\nhalf a li")
        time.sleep(3)
        assert statuses() == [200, 200], "nobody is locked out meanwhile"
        keys.write_text(f"{new_line}\n")
        assert become([401, 200])
        keys.unlink()
        time.sleep(3)
        assert statuses() == [401, 200]


def metric(client, name):
    found = re.search(rf"^{re.escape(name)} (.*)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def requests_counted(client, path, status):
    return metric(client, f'atomscatter_requests_total{{method="POST",route="{path}",status="{status}"}}')


def test_a_file_that_is_kept_on_disk_meanwhile_is_answered_as_others_are(client, samples):
    """It is closed after the answer, when the server says that the sender is gone."""
    path, statuses = "/v1/predictions/file", ("200", "499")
    before = [requests_counted(client, path, status) for status in statuses]
    atoms = samples[0].copy()
    atoms.info["note"] = "x" * 2_000_000
    file = io.StringIO()
    ase.io.write(file, atoms, format="extxyz")
    for _ in range(2):  # on one connection
        answer = client.post(path, files={"file": ("a.extxyz", file.getvalue())})
        assert answer.status_code == 200, answer.text
    after = [requests_counted(client, path, status) for status in statuses]
    assert after == [before[0] + 2, before[1]]


def test_the_work_for_a_client_that_hangs_up_ends(client, samples):
    """And the processes are there for others."""
    many = [as_json(atoms) for atoms in samples] * 80
    file = io.StringIO()
    ase.io.write(file, samples * 80, format="extxyz")

    for path, body in (
        ("/v1/predictions", {"json": {"structures": many}}),
        ("/v1/predictions/file", {"files": {"file": ("a.extxyz", file.getvalue())}}),
    ):
        ended = requests_counted(client, path, "499")
        done = metric(client, "atomscatter_structures_total")
        with pytest.raises(httpx.ReadTimeout):  # far from all of them: with two processes they take a minute
            client.post(path, **body, timeout=5)
        deadline = time.monotonic() + 20
        while metric(client, "atomscatter_structures_pending") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert metric(client, "atomscatter_structures_pending") == 0
        assert requests_counted(client, path, "499") == ended + 1
        assert metric(client, "atomscatter_structures_total") == done
        assert client.post("/v1/predictions", json={"structures": many[:1]}).status_code == 200


def test_killed_processes_are_replaced_and_end_with_a_killed_server(tmp_path, samples):
    with serving(tmp_path, "--workers", "2") as (process, url):
        server = psutil.Process(process.pid)
        predicting = [c for c in server.children(recursive=True) if "spawn_main" in str(c.cmdline())]
        assert len(predicting) == 2
        for child in predicting:
            child.kill()
        body = {"structures": [as_json(samples[0])]}
        assert httpx.post(f"{url}/v1/predictions", json=body, timeout=60).status_code == 200
        children = server.children(recursive=True)
        assert children
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive


def test_a_model_directory_that_is_none_ends_with_code_2(tmp_path):
    done = run("serve", "--port", unused_port(), "--model", tmp_path)
    assert done.exit_code == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert embedded_model().is_dir()


def truncated(model):
    weights = model / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:1000])


def of_another_format(model):
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps(card | {"format_version": 0}))


def not_an_archive(model):
    (model / "weights.npz").write_bytes(b"\x80\x04N.")  # which NumPy takes for a pickle


DAMAGES = [truncated, of_another_format, not_an_archive]


@pytest.fixture
def other_model(tmp_path):
    """Directory and id of a model that is not the embedded one."""
    other = dataclasses.replace(Ensemble.load(embedded_model()), data_hash="another")
    other.save(tmp_path / "other")
    return tmp_path / "other", other.model_id


def with_active(state, model):
    """Add a model to a state directory and make it the active one; where it is kept."""
    registry = ModelRegistry(state / "models")
    model_id = registry.add(model)
    registry.activate(model_id)
    return registry.directory(model_id)


def test_servers_of_one_state_directory_answer_with_the_model_that_one_was_told_to_activate(
    tmp_path, samples, other_model
):
    model, model_id = other_model
    state = tmp_path / "state"
    ModelRegistry(state / "models").add(model)
    body = {"structures": [as_json(samples[0])]}
    with (
        serving(state) as (_, first),
        serving(state) as (_, second),
        httpx.Client(timeout=60) as client,
    ):
        before = client.get(f"{first}/v1/models").json()["active"]
        for told, other, wanted in ((first, second, model_id), (second, first, before)):
            answered = []
            assert client.post(f"{told}/v1/models/{wanted}/activate").json()["active"] == wanted
            deadline = time.monotonic() + 60
            while (not answered or answered[-1] != wanted) and time.monotonic() < deadline:
                answer = client.post(f"{other}/v1/predictions", json=body)
                assert answer.status_code == 200
                answered.append(answer.json()["model"])
            assert answered[-1] == wanted
            assert set(answered) <= {before, model_id}
            assert client.get(f"{other}/health/ready").json()["model"] == wanted
        assert client.delete(f"{second}/v1/models/{model_id}").status_code == 204
        assert_problem(client.post(f"{first}/v1/predictions", json={**body, "model": model_id}), 404)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_no_unknown_one(tmp_path, samples, other_model, damage):
    """It is the server's fault, whose files are nobody's business; its log names them."""
    model, model_id = other_model
    damage(with_active(tmp_path / "state", model))
    app = create_app(ServeSettings(state=tmp_path / "state"))
    service = app.state.service
    embedded = service.registry.ids()[0]
    service._active = service._load(embedded)  # without processes: none is needed to find the damage

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            mine = {"X-Request-ID": "mine"}
            yield await client.get(f"/v1/models/{model_id}", headers=mine)
            body = {"structures": [as_json(samples[0])], "model": model_id}
            yield await client.post("/v1/predictions", json=body, headers=mine)
            yield await client.post(f"/v1/models/{model_id}/activate", headers=mine)
            yield await client.get(f"/v1/models/{'0' * 16}")

    async def answers():
        return [answer async for answer in ask()]

    with capture_logs(processors=[merge_contextvars]) as logs:
        *damaged, unknown = asyncio.run(answers())
    for answer in damaged:
        detail = assert_problem(answer, 500)["detail"]
        assert detail.startswith(f"model {model_id} is damaged, or not of this version")
        assert "pickle" not in answer.text
        assert str(tmp_path) not in answer.text
    assert assert_problem(unknown, 404)["detail"] == f"there is no model {'0' * 16}"
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["request_id"] for entry in errors] == ["mine"] * 3
    assert all(str(tmp_path) in entry["reason"] for entry in errors), "operators are told the file"
    assert service.registry.active == model_id
    assert service.active.id == embedded


def test_files_of_the_service_are_named_from_its_state_directory(tmp_path):
    app = create_app(ServeSettings(state=tmp_path))
    service = app.state.service
    service._jobs = service.directory.ledger()
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as ledger:
        ledger.execute("DROP TABLE jobs")

    async def answer():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/v1/jobs")

    with capture_logs() as logs:
        found = asyncio.run(answer())
    assert assert_problem(found, 503)["detail"].startswith("jobs.sqlite: the ledger cannot be used")
    assert str(tmp_path) not in found.text
    assert any(str(tmp_path) in entry.get("reason", "") for entry in logs), "operators are told the file"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_active_model_ends_with_one_line(tmp_path, other_model, damage):
    model, model_id = other_model
    damage(with_active(tmp_path / "state", model))
    done = run("serve", "--port", 0, "--state", tmp_path / "state")
    assert done.exit_code == 2, done.stderr
    (line,) = done.stderr.splitlines()
    way_out = "(--model DIR serves another one, --model embedded the embedded one)"
    assert line.startswith(f"Error: the active model {model_id} cannot be used {way_out}: {tmp_path}")


def test_an_undamaged_copy_takes_the_place_of_a_damaged_model_and_the_log_says_where(tmp_path, other_model):
    model, model_id = other_model
    truncated(with_active(tmp_path / "state", model))
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--workers", "1", "--model", str(model)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, "--state", str(tmp_path / "state")], cwd=ROOT, stderr=log)
    try:
        url = said_when_serving(process, tmp_path / "log")
        assert httpx.get(f"{url}/health/ready", timeout=60).json()["model"] == model_id
        assert httpx.get(f"{url}/v1/models/{model_id}", timeout=60).status_code == 200
    finally:
        process.terminate()
        process.wait(60)
    kept = ModelRegistry(tmp_path / "state/models")
    assert kept.load(kept.active).model_id == model_id


def said_when_serving(process, log, seconds=120):
    """URL that a log of JSON lines names."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        for line in log.read_text().splitlines(keepends=True):
            if line.endswith("\n") and (entry := json.loads(line))["event"] == "serving":
                return entry["url"]
        time.sleep(0.2)
    raise AssertionError("the log does not say where the server listens")


def test_a_cluster_that_does_not_answer_is_asked_once_for_all(tmp_path):
    """And other routes, which share the threads, are answered meanwhile."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            serving(tmp_path, "--address", address) as (_, url),
            httpx.Client(base_url=url, timeout=120, limits=httpx.Limits(max_connections=None)) as client,
            ThreadPoolExecutor(60) as threads,
        ):
            silent.settimeout(300)
            probes = [threads.submit(client.get, "/health/jobs") for _ in range(60)]
            question, _ = silent.accept()
            assert client.get("/v1/models").status_code == 200
            assert not any(probe.done() for probe in probes), "the cluster is still being asked"
            for probe in probes:
                assert_problem(probe.result(), 503)
            question.close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()  # it was asked once


def test_where_the_cluster_is_is_for_the_log(tmp_path):
    """Nobody needs a key for the probe."""
    address = f"http://127.0.0.1:{unused_port()}"
    app = create_app(ServeSettings(state=tmp_path, jobs_address=address))
    service = app.state.service
    service._runner = JobRunner(service.directory, address)

    async def answer():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/health/jobs")

    with capture_logs() as logs:
        service._runner.start()
        found = asyncio.run(answer())
        service._runner.stop()
    assert assert_problem(found, 503)["detail"] == (
        "the cluster of the jobs cannot be used now; the log says why"
    )
    told = [entry["reason"] for entry in logs if entry["event"] == "no job could be started now"]
    assert len(told) == 1
    assert address in told[0]


def test_a_wrong_method_is_told_the_right_ones(client):
    for path, allowed in (
        ("/v1/jobs", "GET, POST"),
        (f"/v1/jobs/{'0' * 16}", "DELETE, GET"),
        ("/v1/models", "GET"),
    ):
        answer = client.put(path)
        assert_problem(answer, 405)
        assert answer.headers["allow"] == allowed
