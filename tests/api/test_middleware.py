"""What happens around a request, without processes."""

import asyncio
import re

import httpx
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from api.app import create_app
from service.settings import ServeSettings
from tests.api.conftest import assert_problem


def test_an_unexpected_error_has_the_request_id_in_answer_and_log(tmp_path):
    app = create_app(ServeSettings(state=tmp_path))

    @app.get("/broken")
    async def broken():
        raise RuntimeError("secret")

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/broken", headers={"X-Request-ID": "mine"})

    with capture_logs(processors=[merge_contextvars]) as logs:
        answer = asyncio.run(ask())
    assert_problem(answer, 500)
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    (error,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert error["request_id"] == "mine"


def test_methods_that_no_route_has_are_counted_as_one(tmp_path):
    app = create_app(ServeSettings(state=tmp_path))

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            for method in ("A1", "A2", "GETS", "get", "PATCH"):
                await client.request(method, "/nothing")

    asyncio.run(ask())
    text = app.state.service.metrics.text().decode()
    labels = set(re.findall(r'atomscatter_requests_total\{method="(\w+)"', text))
    # httpx sends "get" in capitals
    assert labels == {"GET", "PATCH", "other"}
    assert 'method="other",route="(none)",status="404"} 3.0' in text


def test_other_origins_see_where_a_job_is_and_when_to_come_back(tmp_path):
    origin = "https://lab.example"
    app = create_app(ServeSettings(state=tmp_path, cors_origins=[origin]))

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/health/live", headers={"Origin": origin})

    answer = asyncio.run(ask())
    assert answer.headers["access-control-allow-origin"] == origin
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed == {"x-request-id", "Location", "Retry-After"}
