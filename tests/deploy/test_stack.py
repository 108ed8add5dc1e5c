"""docker-compose.yml at work: its services run as in containers, and a model is made through the API."""

import json
import time

import pytest

from service.demo_data import load_sample
from tests.api.conftest import as_json
from tests.api.test_jobs import ended, submit, training_set
from tests.deploy.compose_file import compose, n_bytes

_ACTORS = """
import json, os, sys, urllib.request
token = open(os.environ["RAY_AUTH_TOKEN_PATH"]).read()
headers = {"Authorization": "Bearer " + token}
request = urllib.request.Request("http://head:8265/logical/actors", headers=headers)
actors = json.load(urllib.request.urlopen(request, timeout=60))["data"]["actors"].values()
print(json.dumps([[a["actorClass"], a["address"]["ipAddress"]] for a in actors]))
"""


@pytest.fixture(scope="module")
def made(client):
    """What a user does: upload, featurize, train, activate; the ids of what came of it."""
    files, form = {"file": ("paths.extxyz", training_set(6)[0])}, {"path_key": "path_id"}
    dataset = client.post("/v1/datasets", files=files, data=form).json()["id"]
    wanted = {
        "featurize": {"dataset": dataset, "beta": 0.9, "scales": 2},
        "train": {"folds": 2, "bootstraps": 2, "max_features": 9},
    }
    store = _done(client, "featurize", wanted["featurize"])["id"]
    model = _done(client, "train", wanted["train"] | {"store": store})["result"]["model"]
    assert client.post(f"/v1/models/{model}/activate").json()["active"] == model
    return {"dataset": dataset, "store": store, "model": model}


def _done(client, kind, parameters):
    job = ended(client, submit(client, kind, parameters))
    assert job["state"] == "succeeded", client.get(f"/v1/jobs/{job['id']}/log").text
    return job


def test_from_an_upload_to_a_prediction_by_the_new_model(client, made):
    answer = client.post("/v1/predictions", json={"structures": [as_json(load_sample("paths")[0].atoms)]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == made["model"]
    assert -10 < answer.json()["predictions"][0]["energy_per_atom"] < 0


def test_both_workers_made_the_features_and_the_head_none(stack, made):
    deadline = time.monotonic() + 60
    while not {"Featurizer", "FitWorker"} <= (places := actor_places(stack)).keys():
        assert time.monotonic() < deadline, places
        time.sleep(1)
    workers = {c.machine.addresses[0] for c in stack.of("worker")}
    assert places["Featurizer"] == workers
    assert places["FitWorker"] <= workers


def actor_places(stack):
    """Kind of actor -> addresses where Ray's dashboard, which hears of them a little later, has seen any."""
    found = stack.containers["head"].run("python", "-c", _ACTORS)
    assert found.returncode == 0, found.stderr
    places = {}
    for kind, address in json.loads(found.stdout):
        places.setdefault(kind.split(".")[-1], set()).add(address)
    return places


def test_what_is_made_is_on_the_volumes(stack, made):
    assert (stack.volume("stores") / made["store"]).is_dir()
    assert (stack.volume("models") / made["model"] / "weights.npz").is_file()
    assert (stack.volume("models") / "active").read_text().strip() == made["model"]
    assert (stack.volume("state") / "jobs.sqlite").is_file()
    assert (stack.volume("state") / "datasets").is_dir()


def test_services_run_as_in_containers(stack, client):
    for service in ("head", "worker", "api"):
        for container in stack.of(service):
            assert container.run("id", "-u").stdout == "10001\n"
            assert container.run("hostname").stdout == f"{container.name}\n"
            assert container.run("touch", "/usr/x", "/etc/x", "/x").returncode != 0
            wanted = compose()["services"][service]
            is_read_only = "Read-only file system" in container.run("touch", "/x").stderr
            assert is_read_only == wanted.get("read_only", False)
            size = container.run("df", "--output=size", "--block-size=1", "/dev/shm").stdout.split()[1]
            assert int(size) == n_bytes(wanted.get("shm_size", "64mb"))


def test_the_token_is_in_its_file_and_nowhere_else(stack, made):
    file = stack.volume("token") / "token"
    token = file.read_text()
    assert len(token) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    seen = [p for p in stack.files() if p.is_file() and not p.is_symlink() and p != file]
    assert any(p.name == "dashboard.log" for p in seen), "Ray's logs are among them"
    assert [p for p in seen if token.encode() in p.read_bytes()] == []
    for service in ("head", "worker", "api"):
        for container in stack.of(service):
            assert (
                token not in container.run("sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline").stdout
            )
