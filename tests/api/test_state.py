"""What the routes share, without processes."""

import asyncio
import contextlib
import dataclasses
import io
import logging
import shutil
import sqlite3
import tempfile

import httpx
import pytest
from structlog.testing import capture_logs

from api import examples
from api.app import create_app
from api.server import _AsOurs
from api.state import Service
from atomscatter.ensemble import Ensemble
from service.datasets import DatasetReading, describe
from service.default_model import embedded_model
from service.registry import UnknownModelError
from service.settings import ServeSettings
from service.state import StateDirectory
from tests.api.conftest import assert_problem
from workers.prediction_pool import PredictionPool


def asked(app, *requests):
    """Answers to (method, path, further arguments) in a row."""

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return [await client.request(method, path, **more) for method, path, more in requests]

    return asyncio.run(ask())


def test_a_model_that_requests_name_is_loaded_once_and_gone_when_its_directory_is(tmp_path):
    dataclasses.replace(Ensemble.load(embedded_model()), data_hash="another").save(tmp_path / "other")
    service = Service(ServeSettings(state=tmp_path / "state"))
    model_id = service.registry.add(tmp_path / "other")
    service._active = service._load(service.registry.ids()[0])

    async def use():
        first = await service.model(model_id)
        assert await service.model(model_id) is first
        shutil.rmtree(service.registry.directory(model_id))
        with pytest.raises(UnknownModelError):
            await service.model(model_id)

    asyncio.run(use())


def test_metrics_are_of_now_although_the_ledger_fails(tmp_path):
    app = create_app(ServeSettings(state=tmp_path))
    service = app.state.service
    service._jobs = service.directory.ledger()
    service._pool = PredictionPool(1, capacity=1, timeout=1, dataset_timeout=1, max_points=1)
    service._pool.lost["died"] += 1
    (before,) = asked(app, ("GET", "/metrics", {}))
    assert 'atomscatter_jobs{state="queued"} 0.0' in before.text
    assert 'atomscatter_processes_lost_total{reason="died"} 1.0' in before.text
    assert "atomscatter_build_info{version=" in before.text
    assert "\nprocess_resident_memory_bytes " in before.text
    assert "\natomscatter_state_free_bytes " in before.text
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as ledger:
        ledger.execute("DROP TABLE jobs")
    (after,) = asked(app, ("GET", "/metrics", {}))
    assert after.status_code == 200
    assert "atomscatter_jobs{" not in after.text


def test_a_full_temporary_directory_is_not_the_senders_fault(tmp_path, small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk("1m")))
    app = create_app(ServeSettings(state=tmp_path))
    (answer,) = asked(app, ("POST", "/v1/structures/file", {"files": {"file": b" " * 2**22}}))
    assert "no space left" in assert_problem(answer, 503)["detail"]
    assert answer.headers["retry-after"]


def test_lines_of_others_are_lines_of_the_log():
    logger = logging.Logger("uvicorn.error")
    logger.addHandler(_AsOurs())
    with capture_logs() as logs:
        logger.warning("Invalid %s", "request")
    assert logs == [
        {
            "event": "Invalid request",
            "log_level": "warning",
            "logger": "uvicorn.error",
            "exc_info": None,
        }
    ]


def another_model(tmp_path, state):
    """Id of a model that was added to a state directory."""
    dataclasses.replace(Ensemble.load(embedded_model()), data_hash="another").save(tmp_path / "other")
    return StateDirectory(state).registry().add(tmp_path / "other")


def test_an_active_model_of_another_process_that_cannot_be_served_is_waited_for(tmp_path, monkeypatch):
    """With its processes: the one before goes on answering, and the log says so once.

    Beside it is a server with a model of its own, which it keeps.
    """
    monkeypatch.setattr("api.state._SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr("api.state._SECONDS_AFTER_TROUBLE", 0.1)
    model_id = another_model(tmp_path, tmp_path / "state")
    app = create_app(ServeSettings(state=tmp_path / "state", workers=1))
    service, registry = app.state.service, StateDirectory(tmp_path / "state").registry()
    weights = registry.directory(model_id) / "weights.npz"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    leftover = registry.root / ".deleted-1234"
    leftover.mkdir()

    async def until(condition):
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.05)

    own = create_app(ServeSettings(state=tmp_path / "state", workers=1, model=embedded_model()))

    async def switch():
        async with app.router.lifespan_context(app), own.router.lifespan_context(own):
            before = service.active.id
            assert not leftover.exists(), "of a process that was killed as it deleted a model"
            registry.activate(model_id)
            await until(lambda: any(entry["log_level"] == "error" for entry in logs))
            await asyncio.sleep(0.5)
            assert service.active.id == before
            assert service.ready
            weights.write_bytes(content)
            await until(lambda: service.active.id == model_id)
            await asyncio.sleep(0.5)
            assert own.state.service.active.id == before

    with capture_logs() as logs:
        asyncio.run(switch())
    told = [(entry["log_level"], entry["event"]) for entry in logs if "activ" in entry["event"]]
    assert told == [
        ("error", "the active model cannot be served; the one before is"),
        ("info", "another process has activated a model"),
    ]


def test_what_is_needed_is_not_deleted(tmp_path):
    app = create_app(ServeSettings(state=tmp_path))
    service = app.state.service
    service._jobs = ledger = service.directory.ledger()
    model_id = another_model(tmp_path, tmp_path)
    embedded, *_ = service.registry.ids()
    service._active = service._load(embedded)
    with service.datasets.received(io.BytesIO(examples.TRAINING_FILE.encode())) as path:
        found = describe("a.extxyz", path, DatasetReading())
        dataset_id = service.datasets.add(path, DatasetReading(), found).id
    job, _ = ledger.submit("evaluate", {"dataset": dataset_id, "model": model_id})
    wanted = [("DELETE", f"/v1/{place}", {}) for place in (f"datasets/{dataset_id}", f"models/{model_id}")]
    for answer in asked(app, *wanted):
        assert f"needed by job {job.id}, which is queued" in assert_problem(answer, 409)["detail"]
    ledger.cancel(job.id)
    active = ("DELETE", f"/v1/models/{embedded}", {})
    (refused,) = asked(app, active)
    assert "is the active one" in assert_problem(refused, 409)["detail"]
    assert [(answer.status_code, answer.content) for answer in asked(app, *wanted)] == [(204, b"")] * 2
    for answer in asked(app, *wanted):
        assert_problem(answer, 404)
    assert service.datasets.all() == []
    assert service.registry.ids() == [embedded]


def test_a_model_that_is_served_or_active_is_not_deleted(tmp_path):
    """Which are two when the server was started with a model of its own."""
    app = create_app(ServeSettings(state=tmp_path))
    service = app.state.service
    service._jobs = service.directory.ledger()
    model_id = another_model(tmp_path, tmp_path)
    embedded, *_ = service.registry.ids()
    for served, active in ((embedded, model_id), (model_id, embedded)):
        service._active = service._load(served)
        service.registry.activate(active)
        (answer,) = asked(app, ("DELETE", f"/v1/models/{model_id}", {}))
        assert "is the active one" in assert_problem(answer, 409)["detail"]
    assert service.registry.ids() == [embedded, model_id]
