"""Every way of sending nonsense has an exact status and a problem document that names the place."""

import gzip
import io
import json
import math
import pickle
import sqlite3
import zipfile

import httpx
import pytest

from service.settings import ServeSettings
from tests.api.conftest import assert_problem, serving
from tests.api.usage import Usage

CELL = [[10.0, 0, 0], [0, 10.0, 0], [0, 0, 10.0]]
SITES = [[0.0, 0, 0], [2.5, 2.5, 2.5]]
SPECIES = ["Li", "Si"]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def reader(client):
    """The process that reads data sets starts with the first of them."""
    assert client.post("/v1/datasets", files={"file": ("a.xyz", XYZ)}).status_code == 422  # no energies


@pytest.fixture
def ask(server, client, reader):
    """POST; what the whole service spends on it is at most a second of processor time, and 200 MB."""

    def post(path, seconds=1.0, **request):
        # Processes that share a core make each other slow, in processor time too: not each time alike.
        # Memory is looked at each time, since a process may keep what it was given once.
        for _ in range(3):
            with Usage(server[0].pid) as usage:
                answer = client.post(path, **request)
            assert usage.megabytes <= 200
            if usage.seconds <= seconds:
                return answer
        pytest.fail(f"{usage.seconds} s of processor time, three times more than {seconds}")

    return post


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


CONTENT = {  # name: (body, JSON pointer, words of the detail)
    "no structures": ({"structures": []}, "/structures", "at least 1"),
    "structures missing": ({}, "/structures", "required"),
    "structures is a number": ({"structures": 3}, "/structures", "list"),
    "body is a list": ([], "", "dictionary"),
    "body is null": (None, "", "dictionary"),
    "structure is null": ({"structures": [None]}, "/structures/0", "dictionary"),
    "unknown key": ({**body(), "stuff": 1}, "/stuff", "not permitted"),
    "unknown key in a structure": (body(charge=1), "/structures/0/charge", "not permitted"),
    "no sites": (body(sites=[], species=[]), "/structures/0/cartesian_site_positions", "at least 1"),
    "NaN position": (
        body(sites=[[0, 0, math.nan], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0/2",
        "finite",
    ),
    "infinite position": (
        body(sites=[[0, 0, math.inf], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0/2",
        "finite",
    ),
    "NaN cell": (
        body(cell=[[math.nan, 0, 0], [0, 10, 0], [0, 0, 10]]),
        "/structures/0/lattice_vectors/0/0",
        "finite",
    ),
    "position is text": (
        body(sites=[["x", 0, 0], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0/0",
        "number",
    ),
    "position is a number as text": (
        body(sites=[["1.0", 0, 0], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0/0",
        "number",
    ),
    "position is a truth value": (
        body(sites=[[True, 0, 0], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0/0",
        "number",
    ),
    "position is null": (
        body(sites=[[None, 0, 0], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0/0",
        "number",
    ),
    "position has two numbers": (
        body(sites=[[0, 0], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0",
        "at least 3",
    ),
    "position has four numbers": (
        body(sites=[[0, 0, 0, 0], [2, 2, 2]]),
        "/structures/0/cartesian_site_positions/0",
        "at most 3",
    ),
    "cell of two vectors": (body(cell=CELL[:2]), "/structures/0/lattice_vectors", "at least 3"),
    "cell of four vectors": (body(cell=[*CELL, [1, 1, 1]]), "/structures/0/lattice_vectors", "at most 3"),
    "cell of zeros": (body(cell=scaled(0)), "/structures/0", "singular"),
    "two equal vectors": (body(cell=[CELL[0], CELL[0], CELL[2]]), "/structures/0", "singular"),
    "sliver": (body(cell=[[10, 0, 0], [10, 1e-6, 0], [0, 0, 10]]), "/structures/0", "singular"),
    "tiny cell": (body(cell=scaled(1e-3)), "/structures/0", "image"),
    "cell of 1e-300 A": (body(cell=scaled(1e-301)), "/structures/0", "image"),
    "cell of 1e9 A": (body(cell=scaled(1e8)), "/structures/0", "volume"),
    "cell of 1e300 A": (body(cell=scaled(1e299)), "/structures/0", "volume"),
    "long cell": (
        body(cell=[[60000, 0, 0], [0, 2, 0], [0, 0, 2]], sites=SITES),
        "/structures/0",
        "grid points",
    ),
    "skewed by a million Å": (
        body(cell=[[10, 0, 0], [1e6, 10, 0], [0, 0, 10]]),
        "/structures/0",
        "grid points",
    ),
    "500 atoms in one place": (body(sites=[[0, 0, 0]] * 500, species=["Li"] * 500), "/structures/0", "0.000"),
    "atoms on top of each other": (body(sites=[[1, 1, 1], [1, 1, 1]]), "/structures/0", "atom 0"),
    "atoms 0.4 A apart": (body(sites=[[0, 0, 0], [0, 0, 0.4]]), "/structures/0", "0.400"),
    "atoms close through the boundary": (body(sites=[[0, 0, 0.1], [0, 0, 9.9]]), "/structures/0", "0.200"),
    "atom 1e15 A away": (body(sites=[[1e15, 0, 0], [2, 2, 2]]), "/structures/0", "million cells"),
    "element that the model never saw": (body(species=["Li", "Na"]), "/structures/0", "Na"),
    "no element": (body(species=["Li", "Xx"]), "/structures/0/species_at_sites", "no chemical element"),
    "dummy element X": (body(species=["Li", "X"]), "/structures/0/species_at_sites", "no chemical element"),
    "empty symbol": (body(species=["Li", ""]), "/structures/0/species_at_sites", "no chemical element"),
    "long symbol": (body(species=["Li", "A" * 1000]), "/structures/0/species_at_sites/1", "at most 3"),
    "number for a symbol": (body(species=["Li", 14]), "/structures/0/species_at_sites/1", "string"),
    "fewer species than sites": (body(species=["Li"]), "/structures/0", "2 positions and 1 species"),
    "more species than sites": (body(species=["Li"] * 3), "/structures/0", "2 positions and 3 species"),
    "too many atoms": (
        body(
            cell=scaled(3),
            sites=[[3 * (i % 10), 3 * (i // 10 % 10), 3 * (i // 100)] for i in range(501)],
            species=["Li"] * 501,
        ),
        "/structures/0",
        "at most 500",
    ),
    "model is a path": ({**body(), "model": "../../etc/passwd"}, "/model", "pattern"),
    "model is a number": ({**body(), "model": 3}, "/model", "string"),
    "second structure is bad": (
        {"structures": [structure(), structure(cell=scaled(0))]},
        "/structures/1",
        "singular",
    ),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_that_cannot_be_used_is_422(ask, name):
    content, pointer, words = CONTENT[name]
    answer = ask("/v1/predictions", content=json.dumps(content), headers=JSON)
    first = assert_problem(answer, 422)["errors"][0]
    assert first["pointer"] == pointer
    assert words in first["detail"]
    if pointer.startswith("/structures/"):
        assert first["index"] == int(pointer.split("/")[2])


OTHER_ROUTES = {  # name: (path, body, JSON pointer)
    "ion that is no element": ("voltage-curve", {"structures": [structure()], "ion": "Xx"}, "/ion"),
    "ion is a number": ("voltage-curve", {"structures": [structure()], "ion": 3}, "/ion"),
    "one strain": ("bulk-modulus", {"structures": [structure()], "strains": [0.1]}, "/strains"),
    "strain that is text": (
        *("bulk-modulus", {"structures": [structure()], "strains": ["0"] * 5}),
        "/strains/0",
    ),
    "cutoff below zero": ("radial-distribution", {"structure": structure(), "cutoff": -1}, "/cutoff"),
    "radial distribution of no element": (
        *("radial-distribution", {"structure": structure(species=["Li", "Xx"])}),
        "/structure/species_at_sites",
    ),
    "infinite width": ("radial-distribution", {"structure": structure(), "width": math.inf}, "/width"),
    "one image": ("migration-barrier", body(), "/structures"),
}


def test_all_bad_structures_of_a_request_are_named(ask):
    bad = [
        structure(),
        structure(species=["Li", "Xx"]),
        structure(cell=scaled(0)),
        structure(species=["Li", "Na"]),
        structure(species=["Li"]),
    ]
    for path in ("/v1/predictions", "/v1/properties/migration-barrier", "/v1/properties/voltage-curve"):
        found = assert_problem(ask(path, json={"structures": bad}), 422)
        assert [(e["pointer"], e["index"]) for e in found["errors"]] == [
            ("/structures/1/species_at_sites", 1),
            ("/structures/2", 2),
            ("/structures/3", 3),
            ("/structures/4", 4),
        ]
        for error, words in zip(found["errors"], ["'Xx'", "singular", "Na", "1 species"], strict=True):
            assert words in error["detail"]


RADIAL = {  # name: cell
    "skewed by a million Å": [[10, 0, 0], [1e6, 10, 0], [0, 0, 10]],
    "of 0.6 Å": scaled(0.06),
    "as thin as an atom": [[3, 0, 0], [0, 0.6, 0], [0, 0, 0.6]],
}


@pytest.mark.parametrize("name", RADIAL)
def test_cells_with_too_many_images_have_no_radial_distribution(ask, name):
    one = structure(cell=RADIAL[name], sites=SITES[:1], species=["Li"])
    answer = ask("/v1/properties/radial-distribution", json={"structure": one, "cutoff": 20, "width": 0.01})
    first = assert_problem(answer, 422)["errors"][0]
    assert first["pointer"] == "/structure"
    assert "images" in first["detail"]


@pytest.mark.parametrize("name", OTHER_ROUTES)
def test_properties_name_the_field(ask, name):
    path, content, pointer = OTHER_ROUTES[name]
    answer = ask(f"/v1/properties/{path}", content=json.dumps(content), headers=JSON)
    assert assert_problem(answer, 422)["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({}, ""),
        ({"type": "shell", "parameters": {"command": "ls"}}, ""),
        ({"type": "train", "parameters": {}}, "/parameters/store"),
        ({"type": "featurize", "parameters": {"dataset": "../x"}}, "/parameters/dataset"),
        ({"type": "train", "parameters": {"store": "0" * 16, "folds": 1}}, "/parameters/folds"),
    ],
)
def test_jobs_name_the_field(ask, content, pointer):
    answer = ask("/v1/jobs", json=content)
    assert assert_problem(answer, 422)["errors"][0]["pointer"] == pointer


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
def test_malformed_json_is_refused(ask, content):
    answer = ask("/v1/predictions", content=content, headers=JSON)
    assert_problem(answer, 422 if content == b"" else 400)


def test_numbers_beyond_a_double_are_not_finite(ask):
    text = json.dumps(body()).replace("2.5", "1e999", 1)
    found = assert_problem(ask("/v1/predictions", content=text, headers=JSON), 422)
    assert found["errors"][0]["pointer"] == "/structures/0/cartesian_site_positions/1/0"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "text/json", "json", ""]
)
def test_other_media_types_are_refused(ask, kind):
    found = assert_problem(
        ask("/v1/predictions", content=json.dumps(body()), headers={"content-type": kind}), 415
    )
    assert "application/json" in found["detail"]


def test_a_body_above_the_limit_is_refused_before_it_is_read(ask):
    assert_problem(ask("/v1/predictions", content=b" " * (6 * 2**20), headers=JSON), 413)
    assert_problem(ask("/v1/predictions/file", files={"file": ("a.xyz", b" " * (11 * 2**20))}), 413)


def test_a_body_above_the_limit_without_a_length_is_refused(ask):
    chunks = [b" " * 2**20] * 6  # httpx sends such a list without saying how long it is
    try:
        answer = ask("/v1/predictions", content=chunks, headers=JSON)
    except httpx.TransportError:
        pytest.fail("the connection broke before the answer")
    assert_problem(answer, 413)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'"",', b"0,", b"[[[]]],"])
def test_a_body_of_almost_nothing_at_the_limit(ask, unit):
    """Megabytes of empty lists are a hundred once they are parsed."""
    size = ServeSettings.model_fields["max_body_bytes"].default - 100
    content = b'{"structures": [' + (unit * (size // len(unit)))[:-1] + b"]}"
    found = assert_problem(ask("/v1/predictions", content=content, headers=JSON, seconds=2), 422)
    assert found["errors"][0]["pointer"].startswith("/structures")


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


def poscar_of(counts):
    return POSCAR.replace(b"\n1 1\n", b"\n" + counts + b"\n")


def cif(n_sites, group, occupancies=(("Li", 1.0),)):
    """Sites in no special place, each with these species."""
    lengths = "".join(f"_cell_length_{a} 20\n" for a in "abc")
    angles = "".join(f"_cell_angle_{a} 90\n" for a in ("alpha", "beta", "gamma"))
    names = ("label", "fract_x", "fract_y", "fract_z", "occupancy")
    head = f"data_x\n{lengths}{angles}_space_group_name_H-M_alt '{group}'\nloop_\n"
    sites = [
        f"{symbol} {i / n_sites:.6f} {0.3 * i / n_sites + 0.01:.6f} {0.7 * i / n_sites + 0.02:.6f} {share}\n"
        for i in range(n_sites)
        for symbol, share in occupancies
    ]
    return "".join([head, *(f"_atom_site_{name}\n" for name in names), *sites]).encode()


def with_columns(properties):
    return XYZ.replace(b" pbc", b" Properties=species:S:1:pos:R:" + properties + b" pbc")


FILES = {  # name: (file name, content, status, words)
    "pickle": ("a.traj", pickle.dumps(Evil()), 415, "binary"),
    "binary pickle named xyz": ("a.xyz", pickle.dumps(Evil(), protocol=4), 415, "binary"),
    "zip": ("a.zip", zipped(), 415, "binary"),
    "gzip": ("a.xyz.gz", gzip.compress(XYZ), 415, "binary"),
    "traj": ("a.traj", b"- of UlmASE-Trajectory" + bytes(100), 415, "binary"),
    "empty": ("a.xyz", b"", 422, "empty"),
    "path for a name": ("../../../etc/passwd", b"hello\n", 415, "neither"),
    "absolute path for a name": ("/etc/passwd", b"hello\n", 415, "neither"),
    "slice in a name": ("a@:", b"hello\n", 415, "neither"),
    "database address for a name": ("postgresql://localhost/x", b"hello\n", 415, "neither"),
    "prose": ("a.txt", b"hello\nworld\n", 415, "neither"),
    "html": ("a.html", b"<html><script>alert(1)</script></html>", 415, "neither"),
    "xyz of 1e12 atoms": ("a.xyz", b"1000000000000\n\nLi 0 0 0\n", 422, "claims"),
    "xyz of -1 atoms": ("a.xyz", b"-1\n\n", 422, "claims"),
    "xyz cut off": ("a.xyz", XYZ[:-20], 422, "truncated"),
    "xyz without a cell": ("a.xyz", b"1\n\nLi 0 0 0\n", 422, "not periodic"),
    "xyz with NaN": ("a.xyz", XYZ.replace(b"Li 0", b"Li nan"), 422, "finite"),
    "xyz of an unknown element": ("a.xyz", XYZ.replace(b"Si", b"Qq"), 422, "no element"),
    "xyz of another element": ("a.xyz", XYZ.replace(b"Si", b"Na"), 422, "Na"),
    "second frame is bad": ("a.xyz", XYZ + XYZ.replace(b"2.5 2.5 2.5", b"0 0 0.1"), 422, "atom 0"),
    "poscar of 1e12 atoms": ("POSCAR", poscar_of(b"1000000000000 1"), 422, "claims"),
    "poscar of 1_000_000_000 atoms": ("POSCAR", poscar_of(b"1_000_000_000 1"), 422, "claims"),
    "poscar of 20_000_000 atoms": ("POSCAR", poscar_of(b"20_000_000"), 422, "claims"),
    "poscar of +20000000 atoms": ("POSCAR", poscar_of(b"+20000000"), 422, "claims"),
    "poscar of as many atoms as it takes back": ("POSCAR", poscar_of(b"30000000 -30000000"), 422, "claims"),
    "poscar of many atoms, old line ends": (
        *("POSCAR", poscar_of(b"20000000 1").replace(b"\n", b"\r")),
        *(422, "claims"),
    ),
    "poscar of many atoms after a form feed": (
        *("POSCAR", poscar_of(b"20000000 1").replace(b"x", b"\x0c\x0c\x0cx", 1)),
        *(422, "claims"),
    ),
    "poscar with a very long line": ("POSCAR", poscar_of(b"00 " * 1_000_000), 422, "longer"),
    "xyz of a million columns": ("a.xyz", with_columns(b"1000000"), 422, "columns"),
    "xyz of 1e8 columns": ("a.xyz", with_columns(b"100_000_000"), 422, "columns"),
    "xyz of columns that are taken back": (
        *("a.xyz", with_columns(b"1000000:extra:R:-999997")),
        *(422, "columns"),
    ),
    "xyz of a million columns that it has": (
        *("a.xyz", with_columns(b"1000000").replace(b"Li 0 0 0", b"Li" + b" 0" * 1_000_000)),
        *(422, "columns"),
    ),
    "a thousand bad frames": ("a.xyz", b"0\n\n" * 1000, 422, "no atoms"),
    "a million bad frames": ("a.xyz", b"0\n\n" * 1_000_000, 422, "more than"),
    "too many frames": ("a.xyz", XYZ * 50_000, 422, "more than"),
    "poscar cut off": ("POSCAR", POSCAR[:40], 422, "cannot be parsed"),
    "poscar of words": ("POSCAR", b"a\nb\nc\nd\ne\nf\ng\n", 422, "cannot be parsed"),
    "cif of nothing": ("a.cif", b"data_x\n", 422, "no structure"),
    "cif with a formula for a cell": (
        "a.cif",
        b"data_x\n_cell_length_a __import__('os')\n",
        422,
        "no structure",
    ),
    "cif of much symmetry": ("a.cif", cif(300, "F m -3 m"), 422, "192 symmetry operations"),
    "cif of more symmetry": ("a.cif", cif(1500, "F m -3 m"), 422, "more than 500 sites"),
    "cif of many sites": ("a.cif", cif(100_000, "P 1"), 422, "more than 500 sites"),
    "cif of many operations": (
        *("a.cif", cif(1, "P 1") + b"loop_\n_symmetry_equiv_pos_as_xyz\n" + b"'x,y,z'\n" * 19_000),
        *(422, "19000 symmetry operations"),
    ),
    "cif of a long list": (
        *("a.cif", cif(1, "P 1") + b"loop_\n_a\n_b\n" + b"'1' '2'\n" * 500_000),
        *(422, "lines of lists"),
    ),
    "cif of half a lithium": ("a.cif", cif(1, "P 1", occupancies=[("Li", 0.5)]), 422, "disordered"),
    "cif of a site that is lithium or silicon": (
        *("a.cif", cif(1, "P 1", occupancies=[("Li", 0.5), ("Si", 0.5)])),
        *(422, "disordered"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files(ask, name):
    file_name, content, status, words = FILES[name]
    found = assert_problem(ask("/v1/predictions/file", files={"file": (file_name, content)}), status)
    if status == 422:
        assert found["errors"][0]["pointer"].startswith("/file")
        assert words in found["errors"][0]["detail"]
    else:
        assert words in found["detail"]


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "a@:", "a@0:3", "postgresql://h/x", "..\\x"]
)
def test_nothing_but_the_ending_of_a_name_is_looked_at(client, name):
    answer = client.post("/v1/predictions/file", files={"file": (name, XYZ)})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 1


@pytest.mark.parametrize("columns", [b"1000000", b"100_000_000", b"1000000:extra:R:-999997"])
def test_columns_of_a_training_set_that_are_not_there(ask, columns):
    found = assert_problem(ask("/v1/datasets", files={"file": ("a.xyz", with_columns(columns))}), 422)
    assert "columns" in found["errors"][0]["detail"]


def test_a_database_is_refused(ask, tmp_path):
    content = database(tmp_path / "x.db")
    assert_problem(ask("/v1/predictions/file", files={"file": ("x.db", content)}), 415)


def test_a_form_without_a_file(ask):
    found = assert_problem(ask("/v1/predictions/file", files={"other": ("a", b"x")}), 422)
    assert found["errors"][0]["pointer"] == "/file"
    assert_problem(ask("/v1/predictions/file", data={"file": "x"}), 415)
    assert_problem(ask("/v1/predictions/file", json={}), 415)


def test_a_form_with_more_than_a_file(ask):
    file = ("file", ("a.xyz", XYZ))
    for path in ("/v1/predictions/file", "/v1/structures/file", "/v1/datasets"):
        found = assert_problem(ask(path, files=[file], data={"model": "0" * 16}), 422)
        assert [e["pointer"] for e in found["errors"]] == ["/model"]
        assert "is no part of this form" in found["errors"][0]["detail"]
        found = assert_problem(ask(path, files=[file, file, ("other", ("b.xyz", XYZ))]), 422)
        assert [e["pointer"] for e in found["errors"]] == ["/file", "/other"]
        assert found["errors"][0]["detail"] == "is given 2 times"


def test_the_name_of_a_part_is_no_unicode(ask):
    """Half a surrogate pair, from a character set of the sender's choice, has no place in an answer."""
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.xyz"\r\n\r\n' + XYZ + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\nx\r\n--b--\r\n'
    )
    for charset, name in (("utf-7", b"+2AA-"), ("unicode_escape", rb"\ud800")):
        headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
        for path in ("/v1/predictions/file", "/v1/structures/file", "/v1/datasets"):
            found = assert_problem(ask(path, content=form % name, headers=headers), 422)
            assert [e["pointer"] for e in found["errors"]] == ["/?"]


def test_an_answer_names_no_option_of_the_command_line(ask):
    for path in ("/v1/predictions/file", "/v1/datasets"):
        for content in (XYZ, XYZ.replace(b"T T T", b"T T F")):
            assert "--" not in ask(path, files={"file": ("a.xyz", content)}).text


def test_work_that_takes_too_long_names_what_it_was_on(tmp_path):
    file = {"files": {"file": ("a.xyz", XYZ)}}
    asked = {
        "/v1/predictions": ({"json": body()}, "/structures"),
        "/v1/predictions/file": (file, "/file"),
        "/v1/datasets": (file, "/file"),
        "/v1/properties/radial-distribution": ({"json": {"structure": structure()}}, "/structure"),
    }
    no_time = {"timeout": 1e-4, "dataset_timeout": 1e-4}
    with serving(tmp_path / "state", **no_time) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        for path, (request, pointer) in asked.items():
            found = assert_problem(client.post(path, **request), 422)
            assert "took longer than" in found["detail"]
            assert [e["pointer"] for e in found["errors"]] == [pointer]


def test_the_server_is_well_after_all_of_this(client):
    assert client.get("/health/ready").status_code == 200
    assert client.post("/v1/predictions", json=body()).status_code == 200


def test_problems_say_what_is_wrong_in_plain_words(client):
    answer = assert_problem(client.post("/v1/predictions", json=body(species=["Xx", "Li"])), 422)
    assert answer["detail"] == "1 of the structures cannot be used"
    assert [e["detail"] for e in answer["errors"]] == ["site 0: 'Xx' is no chemical element"]
    answer = assert_problem(client.post("/v1/properties/radial-distribution", json={"cutoff": -1}), 422)
    assert answer["detail"] == "2 fields are not valid"
    answer = assert_problem(client.post("/v1/predictions", json={"structures": [structure()] * 1001}), 422)
    assert answer["detail"] == "1001 structures; at most 1000"
    assert [e["pointer"] for e in answer["errors"]] == ["/structures"]
    series = {"structures": [structure()] * 2, "strains": [-0.02, -0.01, 0.0, 0.01, 0.02]}
    answer = assert_problem(client.post("/v1/properties/bulk-modulus", json=series), 422)
    assert answer["detail"] == "strains: belong to one structure, not to a series"
    lonely = {"structure": structure(species=["Li", "Xx"])}
    answer = assert_problem(client.post("/v1/properties/radial-distribution", json=lonely), 422)
    assert answer["detail"] == "structure: site 1: 'Xx' is no chemical element"
