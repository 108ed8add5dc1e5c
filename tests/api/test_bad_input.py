"""Every way of sending nonsense has an exact status and a problem document that names the place."""

import gzip
import io
import json
import math
import pickle
import sqlite3
import time
import zipfile

import httpx
import pytest

from tests.api.conftest import assert_problem

CELL = [[10.0, 0, 0], [0, 10.0, 0], [0, 0, 10.0]]
SITES = [[0.0, 0, 0], [2.5, 2.5, 2.5]]
SPECIES = ["Li", "Si"]
JSON = {"content-type": "application/json"}


def structure(cell=CELL, sites=SITES, species=SPECIES, **more):
    return {
        "lattice_vectors": cell,
        "cartesian_site_positions": sites,
        "species_at_sites": species,
        **more,
    }


def body(**changes):
    return {"structures": [structure(**changes)]}


def scaled(factor):
    return [[factor * x for x in row] for row in CELL]


CONTENT = {  # name: (body, words of the detail or of an error)
    "no structures": ({"structures": []}, "at least 1"),
    "structures missing": ({}, "required"),
    "structures is a number": ({"structures": 3}, "list"),
    "body is a list": ([], "dictionary"),
    "body is null": (None, "dictionary"),
    "structure is null": ({"structures": [None]}, "dictionary"),
    "unknown key": ({**body(), "stuff": 1}, "not permitted"),
    "unknown key in a structure": (body(charge=1), "not permitted"),
    "no sites": (body(sites=[], species=[]), "at least 1"),
    "NaN position": (body(sites=[[0, 0, math.nan], [2, 2, 2]]), "finite"),
    "infinite position": (body(sites=[[0, 0, math.inf], [2, 2, 2]]), "finite"),
    "NaN cell": (body(cell=[[math.nan, 0, 0], [0, 10, 0], [0, 0, 10]]), "finite"),
    "position is text": (body(sites=[["x", 0, 0], [2, 2, 2]]), "number"),
    "position is a number as text": (body(sites=[["1.0", 0, 0], [2, 2, 2]]), "number"),
    "position is a truth value": (body(sites=[[True, 0, 0], [2, 2, 2]]), "number"),
    "position is null": (body(sites=[[None, 0, 0], [2, 2, 2]]), "number"),
    "position has two numbers": (body(sites=[[0, 0], [2, 2, 2]]), "at least 3"),
    "position has four numbers": (body(sites=[[0, 0, 0, 0], [2, 2, 2]]), "at most 3"),
    "cell of two vectors": (body(cell=CELL[:2]), "at least 3"),
    "cell of four vectors": (body(cell=[*CELL, [1, 1, 1]]), "at most 3"),
    "cell of zeros": (body(cell=scaled(0)), "singular"),
    "two equal vectors": (body(cell=[CELL[0], CELL[0], CELL[2]]), "singular"),
    "sliver": (body(cell=[[10, 0, 0], [10, 1e-6, 0], [0, 0, 10]]), "singular"),
    "tiny cell": (body(cell=scaled(1e-3)), "image"),
    "cell of 1e-300 A": (body(cell=scaled(1e-301)), "image"),
    "cell of 1e9 A": (body(cell=scaled(1e8)), "volume"),
    "cell of 1e300 A": (body(cell=scaled(1e299)), "volume"),
    "long cell": (body(cell=[[60000, 0, 0], [0, 2, 0], [0, 0, 2]], sites=SITES), "grid points"),
    "skewed by a million Å": (body(cell=[[10, 0, 0], [1e6, 10, 0], [0, 0, 10]]), "grid points"),
    "500 atoms in one place": (body(sites=[[0, 0, 0]] * 500, species=["Li"] * 500), "0.000"),
    "atoms on top of each other": (body(sites=[[1, 1, 1], [1, 1, 1]]), "atom 0"),
    "atoms 0.4 A apart": (body(sites=[[0, 0, 0], [0, 0, 0.4]]), "0.400"),
    "atoms close through the boundary": (body(sites=[[0, 0, 0.1], [0, 0, 9.9]]), "0.200"),
    "atom 1e15 A away": (body(sites=[[1e15, 0, 0], [2, 2, 2]]), "million cells"),
    "element that the model never saw": (body(species=["Li", "Na"]), "Na"),
    "no element": (body(species=["Li", "Xx"]), "no chemical element"),
    "dummy element X": (body(species=["Li", "X"]), "no chemical element"),
    "empty symbol": (body(species=["Li", ""]), "no chemical element"),
    "long symbol": (body(species=["Li", "A" * 1000]), "at most 3"),
    "number for a symbol": (body(species=["Li", 14]), "string"),
    "fewer species than sites": (body(species=["Li"]), "2 positions and 1 species"),
    "more species than sites": (body(species=["Li"] * 3), "2 positions and 3 species"),
    "too many atoms": (
        body(
            cell=scaled(3),
            sites=[[3 * (i % 10), 3 * (i // 10 % 10), 3 * (i // 100)] for i in range(501)],
            species=["Li"] * 501,
        ),
        "at most 500",
    ),
    "model is a path": ({**body(), "model": "../../etc/passwd"}, "pattern"),
    "model is a number": ({**body(), "model": 3}, "string"),
    "second structure is bad": (
        {"structures": [structure(), structure(cell=scaled(0))]},
        "/structures/1",
    ),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_that_cannot_be_used_is_422(client, name):
    content, words = CONTENT[name]
    began = time.perf_counter()
    answer = client.post("/v1/predictions", content=json.dumps(content), headers=JSON)
    assert time.perf_counter() - began < 5  # an order above what is seen: nothing hangs
    found = assert_problem(answer, 422)
    assert words in json.dumps(found["errors"])
    assert all(e["pointer"].startswith(("/", "")) for e in found["errors"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"structures": [}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"structures": ' + b"1" * 5000 + b"}",
    ],
    ids=["empty", "cut off", "not UTF-8", "syntax", "deep lists", "deep objects", "5000 digits"],
)
def test_malformed_json_is_refused(client, content):
    answer = client.post("/v1/predictions", content=content, headers=JSON)
    assert_problem(answer, 422 if content == b"" else 400)


def test_numbers_beyond_a_double_are_not_finite(client):
    text = json.dumps(body()).replace("2.5", "1e999", 1)
    found = assert_problem(client.post("/v1/predictions", content=text, headers=JSON), 422)
    assert found["errors"][0]["pointer"] == "/structures/0/cartesian_site_positions/1/0"


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(client, kind):
    answer = client.post("/v1/predictions", content=json.dumps(body()), headers={"content-type": kind})
    assert answer.status_code in (415, 422)
    assert_problem(answer, answer.status_code)


def test_a_body_above_the_limit_is_refused_before_it_is_read(client):
    assert_problem(client.post("/v1/predictions", content=b" " * (11 * 2**20), headers=JSON), 413)


def test_a_body_above_the_limit_without_a_length_is_refused(client):
    def chunks():
        for _ in range(11):
            yield b" " * 2**20

    try:
        answer = client.post("/v1/predictions", content=chunks(), headers=JSON)
    except httpx.TransportError:
        pytest.fail("the connection broke before the answer")
    assert_problem(answer, 413)


def test_unknown_routes_methods_and_models(client):
    assert_problem(client.get("/v1/nothing"), 404)
    assert_problem(client.get("/v1/predictions"), 405)
    assert_problem(client.post("/v1/predictions", json={**body(), "model": "0" * 16}), 404)
    assert_problem(client.get("/v1/models/" + "0" * 16), 404)
    assert_problem(client.get("/v1/models/..%2f..%2fetc"), 404)
    assert_problem(client.get("/static/../app.py"), 404)
    assert_problem(client.get("/static/..%2fapp.py"), 404)


# Files


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.xyz", "1\n\nLi 0 0 0\n")
    return buffer.getvalue()


def database(path):
    connection = sqlite3.connect(path)
    connection.execute("create table systems (id integer)")
    connection.commit()
    connection.close()
    return path.read_bytes()


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


XYZ = b'2\nLattice="10 0 0 0 10 0 0 0 10" pbc="T T T"\nLi 0 0 0\nSi 2.5 2.5 2.5\n'
POSCAR = b"x\n1.0\n10 0 0\n0 10 0\n0 0 10\nLi Si\n1 1\nCartesian\n0 0 0\n2.5 2.5 2.5\n"
FILES = {  # name: (file name, content, status, words)
    "pickle": ("a.traj", pickle.dumps(Evil()), 415, "binary"),
    "binary pickle named xyz": ("a.xyz", pickle.dumps(Evil(), protocol=4), 415, "binary"),
    "zip": ("a.zip", zipped(), 415, "binary"),
    "gzip": ("a.xyz.gz", gzip.compress(XYZ), 415, "binary"),
    "traj": ("a.traj", b"- of UlmASE-Trajectory" + bytes(100), 415, "binary"),
    "empty": ("a.xyz", b"", 422, "empty"),
    "prose": ("a.txt", b"hello\nworld\n", 415, "neither"),
    "html": ("a.html", b"<html><script>alert(1)</script></html>", 415, "neither"),
    "xyz of 1e12 atoms": ("a.xyz", b"1000000000000\n\nLi 0 0 0\n", 422, "claims"),
    "xyz of -1 atoms": ("a.xyz", b"-1\n\n", 422, "claims"),
    "xyz cut off": ("a.xyz", XYZ[:-20], 422, ""),
    "xyz without a cell": ("a.xyz", b"1\n\nLi 0 0 0\n", 422, "not periodic"),
    "xyz with NaN": ("a.xyz", XYZ.replace(b"Li 0", b"Li nan"), 422, "finite"),
    "xyz of an unknown element": ("a.xyz", XYZ.replace(b"Si", b"Qq"), 422, "cannot be parsed"),
    "xyz of another element": ("a.xyz", XYZ.replace(b"Si", b"Na"), 422, "Na"),
    "second frame is bad": ("a.xyz", XYZ + XYZ.replace(b"2.5 2.5 2.5", b"0 0 0.1"), 422, "atom 0"),
    "poscar of 1e12 atoms": ("POSCAR", POSCAR.replace(b"\n1 1\n", b"\n1000000000000 1\n"), 422, "claims"),
    "poscar cut off": ("POSCAR", POSCAR[:40], 422, ""),
    "poscar of words": ("POSCAR", b"a\nb\nc\nd\ne\nf\ng\n", 422, ""),
    "cif of nothing": ("a.cif", b"data_x\n", 422, ""),
    "cif with a formula for a cell": ("a.cif", b"data_x\n_cell_length_a __import__('os')\n", 422, ""),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files(client, name):
    file_name, content, status, words = FILES[name]
    answer = client.post("/v1/predictions/file", files={"file": (file_name, content)})
    assert words in json.dumps(assert_problem(answer, status))


def test_a_database_is_refused(client, tmp_path):
    content = database(tmp_path / "x.db")
    assert_problem(client.post("/v1/predictions/file", files={"file": ("x.db", content)}), 415)


def test_a_form_without_a_file(client):
    assert_problem(client.post("/v1/predictions/file", data={"other": "x"}), 422)
    assert_problem(client.post("/v1/predictions/file", json={}), 422)


def test_the_server_is_well_after_all_of_this(client):
    assert client.get("/health/ready").status_code == 200
    assert client.post("/v1/predictions", json=body()).status_code == 200
