"""What the page asks the service for."""

import io
import re

import ase.io
import numpy as np
import pytest

from tests.api.conftest import ROOT, assert_problem

EXAMPLES = sorted((ROOT / "api/static/examples").iterdir())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_examples_are_read_as_ase_reads_them(client, path):
    answer = client.post("/v1/structures/file", files={"file": (path.name, path.read_bytes())})
    found = answer.json()["structures"]
    frames = ase.io.read(io.StringIO(path.read_text()), ":", format="extxyz")
    assert len(found) == len(frames)
    for structure, atoms in zip(found, frames, strict=True):
        assert structure["species_at_sites"] == atoms.get_chemical_symbols()
        np.testing.assert_array_equal(structure["lattice_vectors"], atoms.cell.array)
        np.testing.assert_array_equal(structure["cartesian_site_positions"], atoms.positions)
    predicted = client.post("/v1/predictions", json={"structures": found})
    assert predicted.status_code == 200
    by_file = client.post("/v1/predictions/file", files={"file": (path.name, path.read_bytes())})
    assert by_file.json() == predicted.json()


@pytest.mark.parametrize("name", ["parity", "learning_curves"])
def test_plots_of_the_model(client, name):
    active = client.get("/v1/models").json()["active"]
    answer = client.get(f"/v1/models/{active}/report/{name}")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


def test_plots_that_are_not_there(client):
    active = client.get("/v1/models").json()["active"]
    assert_problem(client.get(f"/v1/models/{active}/report/card"), 422)
    assert_problem(client.get(f"/v1/models/{'0' * 16}/report/parity"), 404)


@pytest.mark.parametrize(
    "name",
    [
        "main.js",
        "http.js",
        "chart.js",
        "viewer.js",
        "files.js",
        "jobs.js",
        "elements.js",
        "style.css",
        "vendor/3Dmol-min.js",
    ],
)
def test_the_page_has_its_files(client, name):
    assert client.get(f"/static/{name}").status_code == 200


def test_the_page_needs_no_other_server():
    for path in (ROOT / "api/static").glob("*.*"):
        if path.suffix in (".html", ".js", ".css"):
            assert "https://" not in path.read_text(), path
            assert "http://" not in path.read_text().replace("http://www.w3.org/2000/svg", ""), path


def test_the_description_of_the_api_needs_no_other_server(client):
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == client.get("/").headers["content-security-policy"]
    files = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert len(files) == 4
    for file in files:
        assert file.startswith("/static/")
        assert client.get(file).status_code == 200
