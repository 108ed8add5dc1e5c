"""What happens around a request, without processes."""

import asyncio
import re

import httpx
from fastapi.responses import StreamingResponse
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from api.app import create_app
from service.api_keys import new_key
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


def asked(app, method, path, **headers):
    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(
                method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )

    return asyncio.run(ask())


ORIGIN = "https://lab.example"


def test_other_origins_see_where_a_job_is_when_to_come_back_and_what_went_wrong(tmp_path):
    app = create_app(ServeSettings(state=tmp_path, cors_origins=[ORIGIN]))

    @app.get("/broken")
    async def broken():
        raise RuntimeError

    for path, status in (("/health/live", 200), ("/broken", 500)):
        answer = asked(app, "GET", path, Origin=ORIGIN)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        assert exposed == {"x-request-id", "Location", "Retry-After"}


def test_pages_of_other_sites_change_nothing(tmp_path):
    """What got in is answered 404: there is no such route."""
    alone, named = (create_app(ServeSettings(state=tmp_path, cors_origins=o)) for o in ([], [ORIGIN]))
    for app, headers, status in (
        (alone, {}, 404),
        (alone, {"Origin": "http://x"}, 404),
        (alone, {"Origin": "http://x", "Sec_Fetch_Site": "same-origin"}, 404),
        (alone, {"Origin": ORIGIN, "Sec_Fetch_Site": "same-origin"}, 404),  # a proxy has changed the Host
        (alone, {"Sec_Fetch_Site": "none"}, 404),
        (alone, {"Sec_Fetch_Site": "cross-site"}, 403),
        (alone, {"Origin": "http://x:81", "Sec_Fetch_Site": "same-site"}, 403),
        (alone, {"Origin": ORIGIN}, 403),
        (alone, {"Origin": "null"}, 403),
        (named, {"Origin": ORIGIN, "Sec_Fetch_Site": "cross-site"}, 404),
        (named, {"Origin": "https://other.example"}, 403),
    ):
        for method in ("POST", "DELETE"):
            assert_problem(asked(app, method, "/nothing", **headers), status)
        assert_problem(asked(app, "GET", "/nothing", **headers), 404)


def test_head_is_answered_where_get_is(tmp_path):
    app = create_app(ServeSettings(state=tmp_path))
    for path in ("/", "/docs", "/static/docs.html", "/openapi.json", "/health/live", "/v1/datasets"):
        answer, got = asked(app, "HEAD", path), asked(app, "GET", path)
        assert answer.status_code == 200, path
        assert answer.content == b""
        assert answer.headers["content-length"] == got.headers["content-length"]
    assert asked(app, "HEAD", "/v1/predictions").status_code == 405
    assert asked(app, "HEAD", f"/v1/jobs/{'0' * 16}/events").status_code == 405, "it might not end"
    counted = app.state.service.metrics.text().decode()
    assert 'atomscatter_requests_total{method="HEAD",route="/health/live",status="200"} 1.0' in counted


def test_no_answer_holds_an_address_that_the_sender_made(tmp_path):
    answer = asked(create_app(ServeSettings(state=tmp_path)), "GET", "/v1/jobs/", Host="evil.example")
    assert_problem(answer, 404)


def test_a_stream_of_events_counts_until_it_begins(tmp_path):
    app = create_app(ServeSettings(state=tmp_path))
    metrics = app.state.service.metrics
    seen = []

    @app.get("/stream")
    async def stream():
        async def events():
            seen.append(metrics.in_flight._value.get())
            yield "data: 1\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    assert asked(app, "GET", "/stream").text == "data: 1\n\n"
    assert seen == [0]
    text = metrics.text().decode()
    assert "atomscatter_requests_in_flight 0.0" in text
    assert 'atomscatter_requests_total{method="GET",route="/stream",status="200"} 1.0' in text
    assert 'atomscatter_request_seconds_count{route="/stream"}' not in text


def test_the_log_names_client_and_key_and_holds_no_escape_sequences(tmp_path):
    key, line = new_key("laptop", ["predict"])
    (tmp_path / "keys").write_text(f"{line}\n")
    app = create_app(ServeSettings(state=tmp_path, api_keys=tmp_path / "keys"))
    with capture_logs() as logs:
        asked(app, "GET", "/%1b%5b31m%0aother?q=1")
        asked(app, "GET", "/v1/jobs", X_API_Key=key)
        asked(app, "GET", "/health/live")
        asked(app, "GET", "/health/ready")
    escaped, known, good, bad = logs
    assert escaped["path"] == "/%1B%5B31m%0Aother"
    assert escaped["client"] == "127.0.0.1"
    assert "key" not in escaped
    assert (known["status"], known["key"]) == (403, "laptop")
    assert key not in str(logs)
    assert (good["log_level"], bad["log_level"], bad["status"]) == ("debug", "info", 503)
