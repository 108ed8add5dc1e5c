"""What the routes share, without processes."""

import asyncio
import contextlib
import dataclasses
import logging
import shutil
import sqlite3
import tempfile

import httpx
import pytest
from structlog.testing import capture_logs

from api.app import create_app
from api.server import _AsOurs
from api.state import Service
from atomscatter.ensemble import Ensemble
from service.default_model import embedded_model
from service.registry import UnknownModelError
from service.settings import ServeSettings
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
