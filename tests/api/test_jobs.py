"""Data sets and jobs over real HTTP: a model from an upload, and what happens when processes die."""

import asyncio
import dataclasses
import io
import json
import math
import pickle
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import ase.io
import httpx
import psutil
import pytest
from ase.build import bulk

from api.app import create_app
from atomscatter.client import AsyncClient, Client, ServiceError
from atomscatter.ensemble import Ensemble
from service.chunks import chunk_name
from service.default_model import embedded_model
from service.demo_data import load_sample
from service.feature_store import FeatureStore
from service.settings import ServeSettings
from service.state import StateDirectory
from tests.api.conftest import as_json, assert_problem, serving
from tests.api.pickles import Evil, heard, noting_pickles, own

ENDED = {"succeeded", "failed", "cancelled"}


def training_set(n_paths=8):
    """Extended XYZ of some relaxation paths, with their ids."""
    names = []
    for s in load_sample("paths"):
        if s.path_id not in names:
            names.append(s.path_id)
    chosen = set(names[:: len(names) // n_paths][:n_paths])
    text = io.StringIO()
    found = [s.atoms for s in load_sample("paths") if s.path_id in chosen]
    ase.io.write(text, found, format="extxyz")
    return text.getvalue().encode(), len(found)


@pytest.fixture(scope="module")
def upload():
    return training_set()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
    """Where the server and its jobs note what they unpickle."""
    return tmp_path_factory.mktemp("pickles") / "log"


@pytest.fixture(scope="module")
def working(place, pickled):
    with (
        noting_pickles(pickled),
        serving(place, "--workers", "2", timeout=30) as (process, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield process, client


@pytest.fixture(scope="module")
def dataset(working, upload):
    content, n = upload
    answer = working[1].post(
        "/v1/datasets", files={"file": ("a.extxyz", content)}, data={"path_key": "path_id"}
    )
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert found["n_structures"] == n
    assert found["n_paths"] == 8
    assert found["elements"] == ["Li", "Si"]
    return found["id"]


def submit(client, kind, parameters, **headers):
    answer = client.post("/v1/jobs", json={"type": kind, "parameters": parameters}, headers=headers)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    return job["id"]


def ended(client, job_id, seconds=240):
    """The job when it has ended; AssertionError when so many seconds pass without any progress of it."""
    last, deadline = None, math.inf
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] in ENDED:
            return job
        if job != last:
            last, deadline = job, time.monotonic() + seconds
        time.sleep(0.2)
    raise AssertionError(f"{job}\n{client.get(f'/v1/jobs/{job_id}/log').text}")


def events(client, job_id):
    """All events until the stream ends."""
    found = []
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
    return found


TRANSFORM = {"beta": 0.9, "scales": 2, "precision": "double"}


@pytest.fixture(scope="module")
def store(working, dataset):
    """A featurize job, watched live."""
    client = working[1]
    job_id = submit(client, "featurize", {"dataset": dataset, **TRANSFORM})
    seen = events(client, job_id)
    assert seen[-1]["state"] == "succeeded", client.get(f"/v1/jobs/{job_id}/log").text
    assert {e["state"] for e in seen} >= {"running", "succeeded"}
    counts = [e["done"] for e in seen if e["state"] in ("running", "succeeded")]
    assert counts == sorted(counts)
    assert seen[-1]["done"] == seen[-1]["total"] > 0
    return job_id


FIT = {
    "folds": 2,
    "bootstraps": 3,
    "max_features": 20,
    "invariance": 7,
    "size_factor": 1.5,
    "channel_share": 0.6,
}


@pytest.fixture(scope="module")
def trained(working, store):
    """Result of a train job."""
    job = ended(working[1], submit(working[1], "train", {"store": store, **FIT}))
    assert job["state"] == "succeeded", job
    return job


def test_some_steps_of_each_path(working, dataset, upload):
    client = working[1]
    wanted = {"dataset": dataset, **TRANSFORM, "products": False, "copies": 0, "steps": 1}
    job = ended(client, submit(client, "featurize", wanted))
    assert job["state"] == "succeeded", job
    assert job["result"]["n_structures"] == 8 < upload[1]


def test_steps_of_structures_without_paths_are_refused_before_there_is_a_job(working, upload):
    client = working[1]
    pathless = client.post("/v1/datasets", files={"file": ("a.extxyz", upload[0])}).json()
    assert pathless["n_paths"] == pathless["n_structures"] == upload[1]
    before = client.get("/v1/jobs").json()
    wanted = {"type": "featurize", "parameters": {"dataset": pathless["id"], "steps": 2}}
    found = assert_problem(client.post("/v1/jobs", json=wanted), 422)
    assert "no steps to choose from" in found["detail"]
    assert client.get("/v1/jobs").json() == before


def test_from_an_upload_to_the_active_model(working, dataset, trained, samples):
    client = working[1]
    model = trained["result"]["model"]
    card = client.get(f"/v1/models/{model}").json()
    assert {name: card["training"]["settings"][name] for name in FIT} == FIT
    assert {name: card["scattering"][name] for name in TRANSFORM} == TRANSFORM
    assert card["scattering"]["products"]["n"] == 4
    assert trained["result"]["rmse_mev_per_atom"] > 0
    assert model in client.get("/v1/models").json()["models"]
    assert client.get(f"/v1/models/{model}/report/parity").headers["content-type"] == "image/png"
    assert "job succeeded" in client.get(f"/v1/jobs/{trained['id']}/log").text

    evaluated = ended(client, submit(client, "evaluate", {"dataset": dataset, "model": model}))
    assert evaluated["state"] == "succeeded", evaluated
    assert evaluated["result"]["averaged_model"]["rmse"] > 0

    before = client.get("/v1/models").json()["active"]
    stop, statuses = threading.Event(), []

    def load():
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            while not stop.is_set():
                answer = other.post("/v1/predictions", json={"structures": [as_json(samples[0])]})
                statuses.append((answer.status_code, answer.json().get("model")))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()

    def until_answered_by(one):
        deadline = time.monotonic() + 60
        while one not in {m for _, m in statuses} and time.monotonic() < deadline:
            time.sleep(0.1)

    until_answered_by(before)
    assert client.post(f"/v1/models/{model}/activate").json()["active"] == model
    until_answered_by(model)
    stop.set()
    for thread in threads:
        thread.join()
    assert {s for s, _ in statuses} == {200}, "a switch of models drops no request"
    assert {m for _, m in statuses} == {before, model}
    client.post(f"/v1/models/{before}/activate")


def test_the_same_key_a_hundred_times_at_once_is_one_job(working, dataset):
    client = working[1]
    body = {"type": "evaluate", "parameters": {"dataset": dataset}}

    def send(_):
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            return other.post("/v1/jobs", json=body, headers={"Idempotency-Key": "once"})

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(send, range(100)))
    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["id"] for a in answers}) == 1
    other = {"type": "evaluate", "parameters": {"dataset": dataset, "model": None}}
    assert client.post("/v1/jobs", json=other, headers={"Idempotency-Key": "once"}).status_code == 202
    changed = {"type": "featurize", "parameters": {"dataset": dataset}}
    assert_problem(client.post("/v1/jobs", json=changed, headers={"Idempotency-Key": "once"}), 422)
    assert ended(client, answers[0].json()["id"])["state"] == "succeeded"


def chunk_times(store):
    """Unit -> time of its chunk's file, of what a store notes as complete."""
    units = FeatureStore.open(store, check=False).completed_units()
    return {unit: (store / chunk_name(unit)).stat().st_mtime_ns for unit in units}


def job_process(place, job_id):
    """The process of a job, found by its command line."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if "workers.job" in line and job_id in line and str(place) in " ".join(line):
                return process
        time.sleep(0.05)
    raise AssertionError("no process for the job")


def until(client, job_id, condition, seconds=240):
    """Return when a job that has not ended meets a condition."""
    deadline = time.monotonic() + seconds
    while not condition(job := client.get(f"/v1/jobs/{job_id}").json()):
        assert job["state"] not in ENDED, job
        assert time.monotonic() < deadline, job
        time.sleep(0.05)


def running(client, job_id):
    until(client, job_id, lambda job: job["state"] == "running")


def test_a_running_job_is_cancelled(working, place, dataset):
    client = working[1]
    job_id = submit(client, "featurize", {"dataset": dataset, "copies": 0.1})
    waiting = submit(client, "evaluate", {"dataset": dataset})
    assert client.delete(f"/v1/jobs/{waiting}").json()["state"] == "cancelled"
    process = job_process(place, job_id)
    running(client, job_id)
    assert client.delete(f"/v1/jobs/{job_id}").json()["state"] in ("cancelling", "cancelled")
    assert ended(client, job_id, 60)["state"] == "cancelled"
    process.wait(30)
    assert client.delete(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"


def test_a_cancelled_job_goes_on_where_it_was(working, place, dataset):
    client = working[1]
    job_id = submit(client, "featurize", {"dataset": dataset, "copies": 1.0})
    store = place / "stores" / job_id
    assert_problem(client.post(f"/v1/jobs/{job_id}/resume"), 409)
    until(client, job_id, lambda job: job["done"])
    client.delete(f"/v1/jobs/{job_id}")
    assert ended(client, job_id, 60)["state"] == "cancelled"
    before = chunk_times(store)
    assert before, "it was at work"
    answer = client.post(f"/v1/jobs/{job_id}/resume")
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    assert answer.json()["ended"] is None
    assert ended(client, job_id)["state"] == "succeeded"
    after = chunk_times(store)
    assert len(after) > len(before)
    assert before.items() <= after.items(), "nothing was computed again"
    assert_problem(client.post(f"/v1/jobs/{job_id}/resume"), 409)
    assert_problem(client.post(f"/v1/jobs/{'0' * 16}/resume"), 404)


def test_a_full_queue_takes_no_resumed_job(tmp_path):
    app = create_app(ServeSettings(state=tmp_path, max_jobs=1))
    service = app.state.service
    service._jobs = ledger = service.directory.ledger()  # without a runner: what waits goes on waiting
    job, _ = ledger.submit("evaluate", {"dataset": "a"})
    ledger.cancel(job.id)
    ledger.submit("evaluate", {"dataset": "b"})

    async def resumed():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(f"/v1/jobs/{job.id}/resume")

    answer = asyncio.run(resumed())
    assert_problem(answer, 503)
    assert answer.headers["Retry-After"] == "60"
    assert ledger.get(job.id).state == "cancelled"


def test_the_python_clients(working, upload, tmp_path):
    url = str(working[1].base_url)
    (tmp_path / "a.extxyz").write_bytes(upload[0])
    with Client(url) as client:
        dataset = client.upload(tmp_path / "a.extxyz", path_key="path_id")
        job = client.submit("evaluate", key="mine", dataset=dataset["id"])
        assert client.submit("evaluate", key="mine", dataset=dataset["id"])["id"] == job["id"]
        assert client.cancel(job["id"])["state"] in ("cancelled", "cancelling")
        assert client.jobs(1)[0]["id"] == job["id"]

    async def the_same():
        async with AsyncClient(url) as client:
            again = await client.upload(tmp_path / "a.extxyz", path_key="path_id")
            other = await client.submit("evaluate", dataset=again["id"])
            await client.cancel(other["id"])
            assert [j["id"] for j in await client.jobs(2)] == [other["id"], job["id"]]
            assert await client.log(job["id"], 10**6) == b""
            return again, await client.job(job["id"])

    again, found = asyncio.run(the_same())
    assert again == dataset
    assert found["type"] == "evaluate"
    assert ended(working[1], job["id"], 60)["state"] == "cancelled"


def test_a_data_set_and_a_model_are_deleted_when_no_job_needs_them(working, place, tmp_path):
    client, content = working[1], training_set(n_paths=2)[0]
    dataset = client.post("/v1/datasets", files={"file": ("a.extxyz", content)}).json()["id"]
    other = dataclasses.replace(Ensemble.load(embedded_model()), data_hash="another")
    other.save(tmp_path / "other")
    model = StateDirectory(place).registry().add(tmp_path / "other")
    needing = [
        submit(client, "featurize", {"dataset": dataset, "copies": 1.0}),
        submit(client, "evaluate", {"dataset": dataset, "model": model}),
    ]
    running(client, needing[0])
    with Client(str(client.base_url)) as remote:
        for refused in (lambda: remote.delete_dataset(dataset), lambda: remote.delete_model(model)):
            with pytest.raises(ServiceError, match="needed by job") as caught:
                refused()
            assert caught.value.status == 409
        assert client.get(f"/v1/models/{model}").status_code == 200
        for job_id in reversed(needing):
            client.delete(f"/v1/jobs/{job_id}")
            assert ended(client, job_id, 60)["state"] == "cancelled"
        remote.delete_dataset(dataset)
        remote.delete_model(model)
    for path in (f"/v1/datasets/{dataset}", f"/v1/models/{model}"):
        assert_problem(client.get(path), 404)
        assert_problem(client.delete(path), 404)
    assert_problem(client.post(f"/v1/models/{model}/activate"), 404)
    assert dataset not in [found["id"] for found in client.get("/v1/datasets").json()["datasets"]]
    assert not [left for store in ("datasets", "models") for left in (place / store).glob(".deleted-*")]


def test_the_rest_of_a_log(working, trained):
    with Client(str(working[1].base_url)) as client:
        rest = client.log(trained["id"], 5)
        assert rest
        assert client.log(trained["id"])[5:].startswith(rest)  # it may have grown meanwhile


BAD = {
    "unknown data set": ({"type": "featurize", "parameters": {"dataset": "0" * 16}}, 404),
    "unknown store": ({"type": "train", "parameters": {"store": "0" * 16}}, 404),
    "unknown type": ({"type": "shell", "parameters": {}}, 422),
    "a command": ({"type": "featurize", "parameters": {"dataset": "0" * 16, "entrypoint": "sh"}}, 422),
    "no id": ({"type": "featurize", "parameters": {"dataset": "../../etc/passwd"}}, 422),
    "shell text": ({"type": "featurize", "parameters": {"dataset": "$(touch /tmp/x)"}}, 422),
    "no folds": ({"type": "train", "parameters": {"store": "0" * 16, "folds": 1}}, 422),
    "environment": ({"type": "featurize", "parameters": {"dataset": "0" * 16}, "runtime_env": {}}, 422),
    "a list": ([], 422),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_jobs(working, case):
    body, status = BAD[case]
    assert_problem(working[1].post("/v1/jobs", json=body), status)


def test_a_store_that_is_none(working, dataset):
    client = working[1]
    job_id = submit(client, "evaluate", {"dataset": dataset})
    assert_problem(client.post("/v1/jobs", json={"type": "train", "parameters": {"store": job_id}}), 422)
    for route in ("", "/log", "/events"):
        assert_problem(client.get(f"/v1/jobs/{'0' * 16}{route}"), 404)
    assert_problem(client.delete(f"/v1/jobs/{'0' * 16}"), 404)
    ended(client, job_id)


def test_a_data_set_of_other_elements_is_not_evaluated(working):
    client, text = working[1], io.StringIO()
    salt = bulk("NaCl", "rocksalt", a=5.6)
    salt.info["energy"] = -8.0
    ase.io.write(text, salt, format="extxyz")
    dataset = client.post("/v1/datasets", files={"file": ("a.extxyz", text.getvalue().encode())}).json()
    before = client.get("/v1/jobs").json()
    for named in ({}, {"model": client.get("/v1/models").json()["active"]}):
        wanted = {"type": "evaluate", "parameters": {"dataset": dataset["id"], **named}}
        found = assert_problem(client.post("/v1/jobs", json=wanted), 422)
        assert "contains Cl, Na; known elements" in found["detail"]
    assert client.get("/v1/jobs").json() == before


def test_a_request_of_before_gives_its_job_even_if_it_could_not_be_accepted_now(working, place):
    client, content = working[1], training_set(n_paths=1)[0]
    dataset = client.post("/v1/datasets", files={"file": ("a.extxyz", content)}).json()["id"]
    key = {"Idempotency-Key": "of-before"}
    first = submit(client, "evaluate", {"dataset": dataset}, **key)
    ended(client, first)
    shutil.rmtree(place / "datasets" / dataset)
    assert submit(client, "evaluate", {"dataset": dataset}, **key) == first
    body = {"type": "evaluate", "parameters": {"dataset": dataset}}
    assert_problem(client.post("/v1/jobs", json=body), 404)


def test_bad_data_sets(working, upload):
    client, content = working[1], upload[0]
    for name, data, form, status in (
        ("a.extxyz", content[: len(content) // 2], {}, 422),
        ("a.extxyz", content, {"energy_key": "nothing"}, 422),
        ("a.extxyz", content, {"path_key": "nothing"}, 422),
        ("a.extxyz", b"", {}, 422),
        ("a.traj", b"- of Ulm\0\0", {}, 415),
        ("a.extxyz", content, {"path_key": "x" * 101}, 422),
    ):
        before = client.get("/v1/datasets").json()
        assert_problem(client.post("/v1/datasets", files={"file": (name, data)}, data=form), status)
        assert client.get("/v1/datasets").json() == before
    assert_problem(client.get(f"/v1/datasets/{'0' * 16}"), 404)


def test_no_pickle_is_loaded_that_was_uploaded_or_stored(
    working, place, pickled, upload, store, trained, samples, tmp_path
):
    """By the server and by all the jobs that it has had; the interpreter itself listens."""
    client, marker = working[1], tmp_path / "loaded"
    evils = [pickle.dumps(Evil(str(marker)), protocol=p) for p in (0, 2, 5)]
    for evil in evils:
        for name in ("a.extxyz", "a.cif", "POSCAR", "a.traj", "a.pckl", "a.db", "a"):
            for path in ("/v1/structures/file", "/v1/predictions/file", "/v1/datasets"):
                answer = client.post(path, files={"file": (name, evil)})
                assert answer.status_code in (415, 422), (path, name, answer.text)
        for path in ("/v1/predictions", "/v1/jobs"):
            answer = client.post(path, content=evil, headers={"content-type": "application/json"})
            assert answer.status_code == 400
    sent = {"file": ("a.extxyz", upload[0])}
    assert client.post("/v1/predictions/file", files=sent).status_code == 200
    wanted = {"structures": [as_json(samples[0])], "model": trained["result"]["model"]}
    assert client.post("/v1/predictions", json=wanted).status_code == 200

    # Pickles in place of what is stored: read, and refused or failed, but not loaded.
    sent = {"file": ("a.extxyz", training_set(n_paths=2)[0])}
    dataset = client.post("/v1/datasets", files=sent).json()["id"]
    (place / "datasets" / dataset / "structures.extxyz").write_bytes(evils[-1])
    chunks = [file for file in (place / "stores" / store / "features").rglob("c/**/*") if file.is_file()]
    kept = [file.read_bytes() for file in chunks]
    for file in chunks:
        file.write_bytes(evils[-1])
    for kind, parameters in (("featurize", {"dataset": dataset}), ("train", {"store": store, **FIT})):
        failed = ended(client, submit(client, kind, parameters))
        assert failed["state"] == "failed"
        assert str(place) not in failed["error"]
    for file, content in zip(chunks, kept, strict=True):
        file.write_bytes(content)

    assert heard(pickled), "the processes listened"
    assert [pair for pair in heard(pickled) if not own(pair)] == []
    assert not [name for name, _ in heard(pickled) if name.endswith(".mkdir")]
    assert not marker.exists()


def test_a_server_that_ends_queues_its_job_again(tmp_path, upload):
    """For the next one, which starts it: tests/faults/test_killed_server.py."""
    state = tmp_path / "state"
    with serving(state) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        dataset = client.post("/v1/datasets", files={"file": ("a.extxyz", upload[0])}).json()["id"]
        job_id = submit(client, "featurize", {"dataset": dataset})
        worker = job_process(state, job_id)
        running(client, job_id)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert not worker.is_running()
    job = StateDirectory(state).ledger().get(job_id)
    assert job.state == "queued"
    assert job.attempts == 0, "the job is not to blame"
