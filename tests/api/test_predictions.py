import io

import httpx
import numpy as np
import pytest
from ase.io import write

from atomscatter import Ensemble
from service.default_model import embedded_model
from tests.api.conftest import as_json, assert_problem


@pytest.fixture(scope="module")
def ensemble():
    return Ensemble.load(embedded_model())


def file_of(structures, kind):
    buffer = io.BytesIO() if kind == "cif" else io.StringIO()
    write(buffer, structures, format=kind)
    content = buffer.getvalue()
    return content if isinstance(content, bytes) else content.encode()


def test_predictions_are_those_of_the_library_in_the_order_of_the_request(client, samples, ensemble):
    answer = client.post("/v1/predictions", json={"structures": [as_json(a) for a in samples]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["model"] == ensemble.model_id
    assert body["data_hash"] == ensemble.data_hash
    assert len(body["predictions"]) == len(samples)
    for atoms, found in zip(samples, body["predictions"], strict=True):
        expected = ensemble.predict(atoms)
        assert found["n_atoms"] == len(atoms)
        for name in ("energy", "energy_per_atom", "formation_energy_per_atom", "uncertainty"):
            assert found[name] == pytest.approx(getattr(expected, name), rel=1e-12)
        assert found["extrapolating"] == expected.extrapolating
        assert found["extrapolation_score"] == pytest.approx(expected.extrapolation_score, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "kind", "count"), [("many.extxyz", "extxyz", 3), ("one.cif", "cif", 1), ("POSCAR", "vasp", 1)]
)
def test_files_give_the_energies_of_their_structures(client, samples, name, kind, count):
    content = file_of(samples[:count], kind)
    answer = client.post("/v1/predictions/file", files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    found = [p["energy_per_atom"] for p in answer.json()["predictions"]]
    body = {"structures": [as_json(a) for a in samples[:count]]}
    exact = [p["energy_per_atom"] for p in client.post("/v1/predictions", json=body).json()["predictions"]]
    # Files hold 8 digits or more of each coordinate.
    np.testing.assert_allclose(found, exact, atol=2e-4)


@pytest.mark.parametrize("name", ["upload", "data.bin", "../../etc/passwd", "a@:0.dat"])
def test_the_name_of_a_file_does_not_decide_what_is_read(client, samples, name):
    content = file_of(samples[:1], "extxyz")
    answer = client.post("/v1/predictions/file", files={"file": (name, content)})
    assert answer.status_code == 200, answer.text


def test_one_bad_structure_is_named_and_the_others_are_not_blamed(client, samples):
    structures = [as_json(a) for a in samples[:3]]
    structures[1]["cartesian_site_positions"][5] = structures[1]["cartesian_site_positions"][4]
    body = assert_problem(client.post("/v1/predictions", json={"structures": structures}), 422)
    assert [e["index"] for e in body["errors"]] == [1]
    assert body["errors"][0]["pointer"] == "/structures/1"
    assert "atom 4" in body["errors"][0]["detail"]


def test_a_bad_structure_of_a_file_is_named_alike_by_parser_and_model(client, samples):
    """By its index: no JSON pointer leads into a file."""
    foreign = samples[1].copy()
    foreign.symbols[0] = "Na"
    for content, words in (
        (file_of([samples[0], foreign], "extxyz"), "Na"),
        (
            file_of(samples[:2], "extxyz").replace(b"T T T", b"T T F").replace(b"T T F", b"T T T", 1),
            "not periodic",
        ),
    ):
        answer = client.post("/v1/predictions/file", files={"file": ("a.xyz", content)})
        found = assert_problem(answer, 422)
        assert found["title"] == "Unprocessable Content"
        assert found["detail"] in ("1 of the structures cannot be used", "1 problem in the file")
        (error,) = found["errors"]
        assert (error["pointer"], error["index"]) == ("/file", 1)
        assert words in error["detail"]


def test_several_clients_at_once_get_their_own_answers(server, samples, ensemble):
    from concurrent.futures import ThreadPoolExecutor

    def ask(atoms):
        answer = httpx.post(f"{server[1]}/v1/predictions", json={"structures": [as_json(atoms)]}, timeout=60)
        return answer.json()["predictions"][0]["energy"]

    wanted = [samples[i % len(samples)] for i in range(12)]
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(ask, wanted))
    np.testing.assert_allclose(found, [ensemble.predict(a).energy for a in wanted], rtol=1e-12)


def test_request_ids_come_back_and_foreign_ones_only_when_harmless(client):
    assert client.get("/health/live", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 65, "<script>"):
        assert client.get("/health/live", headers={"X-Request-ID": bad}).headers["x-request-id"] != bad
