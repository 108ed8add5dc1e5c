"""What the client makes of answers that are no service's; tests/api/test_client.py has those that are."""

import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ase import Atoms

from atomscatter.client import AsyncClient, Client, ServiceError
from atomscatter.errors import StructureError

LITHIUM = Atoms("Li", cell=[3, 3, 3], pbc=True)
CALLS = {
    "predict": lambda client: client.predict(LITHIUM),
    "barrier": lambda client: client.barrier([LITHIUM] * 2),
    "rdf": lambda client: client.rdf(LITHIUM),
    "models": lambda client: client.models(),
    "jobs": lambda client: client.jobs(),
    "submit": lambda client: client.submit("evaluate"),
}


class Something:
    """A web server that gives the same answer to everything."""

    def __init__(self):
        self.status, self.content, self.headers, self.seconds = 200, b"", {}, 0.0
        self.bodies = []
        something = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                something.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                time.sleep(something.seconds)
                self.send_response(something.status)
                for name, value in something.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(something.content)))
                self.end_headers()
                self.wfile.write(something.content)

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answers(self, status, content, **headers):
        self.status, self.content, self.headers = status, content, headers


@pytest.fixture(scope="module")
def something():
    found = Something()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def client(something):
    with Client(something.url, patience=0) as found:  # one: each reads all certificates
        yield found


@pytest.mark.parametrize(
    "content",
    [b"<html></html>", b"", b"\xff\xfe", b"[" * 100_000, b"null", b"[1, 2]", b'"predictions"', b'[["a", 1]]'],
    ids=["page", "nothing", "bytes", "deep", "null", "list", "text", "pairs"],
)
def test_an_answer_of_something_else(something, client, content):
    something.answers(200, content)
    for call in CALLS.values():
        with pytest.raises(ServiceError, match=f"{something.url}.* is not an Atomscatter service") as caught:
            call(client)
        assert caught.value.status == 200

    async def ask():
        async with AsyncClient(something.url) as other:
            await other.models()

    with pytest.raises(ServiceError, match="is not an Atomscatter service"):
        asyncio.run(ask())


@pytest.mark.parametrize(
    ("call", "content"),
    [
        ("predict", b"{}"),
        ("predict", b'{"predictions": 1, "model": "a"}'),
        ("predict", b'{"predictions": [1], "model": "a"}'),
        ("predict", b'{"predictions": [{"energy_per_atom_by_fold": []}], "model": "a"}'),
        ("predict", b'{"predictions": [], "model": "a"}'),
        ("jobs", b"{}"),
        ("jobs", b'{"jobs": null}'),
    ],
)
def test_json_that_says_something_else(something, client, call, content):
    something.answers(200, content)
    with pytest.raises(ServiceError, match="is not an Atomscatter service"):
        CALLS[call](client)


@pytest.mark.parametrize("status", [302, 404, 502])
@pytest.mark.parametrize("content", [b"<html></html>", b"[]", b"null", b"", b"{}"])
def test_a_refusal_of_something_else(something, client, status, content):
    something.answers(status, content)
    with pytest.raises(ServiceError, match=f"^{status}: .*may be no address of an Atomscatter") as caught:
        client.models()
    assert caught.value.status == status
    assert caught.value.problem == {}


@pytest.mark.parametrize("errors", [b"null", b"5", b'["a"]', b'[{"detail": 7}]'])
def test_a_refusal_with_other_details(something, client, errors):
    something.answers(422, b'{"detail": ["a"], "errors": ' + errors + b"}")
    with pytest.raises(ServiceError, match="422: "):
        client.models()


def test_a_wait_that_is_no_number(something, client):
    something.answers(503, b"{}", **{"Retry-After": "\u00b2"})  # a digit, but no number
    with pytest.raises(ServiceError, match="503"):
        client.models()


@pytest.mark.parametrize("call", ["predict", "predict_many", "bulk_modulus", "barrier", "voltage", "rdf"])
def test_structures_that_cannot_be_sent(client, call):
    with pytest.raises(StructureError, match="not periodic"):
        getattr(client, call)(Atoms("Li", cell=[3, 3, 3]))


def sent_by(client_type, url, path, **settings):
    """Upload, by either client; the answer."""
    if client_type is Client:
        with Client(url, **settings) as found:
            return found.upload(path)

    async def send():
        async with AsyncClient(url, **settings) as found:
            return await found.upload(path)

    return asyncio.run(send())


@pytest.fixture
def large_file(tmp_path):
    (tmp_path / "data.extxyz").write_bytes(bytes(range(256)) * 1000)
    return tmp_path / "data.extxyz"


@pytest.mark.parametrize("client_type", [Client, AsyncClient])
def test_an_upload_has_the_time_that_a_server_takes_for_it(something, large_file, monkeypatch, client_type):
    monkeypatch.setattr(something, "seconds", 0.3)
    something.answers(200, b"{}")
    assert sent_by(client_type, something.url, large_file, timeout=0.01) == {}


@pytest.mark.parametrize("client_type", [Client, AsyncClient])
def test_each_try_sends_the_whole_file(something, large_file, client_type):
    something.answers(503, b"{}", **{"Retry-After": "0"})
    something.bodies.clear()
    with pytest.raises(ServiceError, match="503"):
        sent_by(client_type, something.url, large_file, patience=0.1)
    assert len(something.bodies) > 1
    assert all(large_file.read_bytes() in body and b'"data.extxyz"' in body for body in something.bodies)
