"""The Python clients and the ASE calculator against a real server."""

import asyncio
import copy
import pickle
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import ase.io
import numpy as np
import pytest
from ase import Atoms

from api.examples import TRAINING_FILE
from atomscatter import Ensemble, ScatteringCalculator
from atomscatter.client import AsyncClient, Client, ServiceError
from atomscatter.errors import ConfigError, StructureError
from atomscatter.radial import radial_distribution
from tests.api.conftest import ROOT, serving
from tests.ports import unused_port

EXAMPLES = ROOT / "api/static/examples"


@pytest.fixture
def remote(server):
    with Client(server[1]) as found:
        yield found


@pytest.fixture(scope="module")
def local():
    return Ensemble.load(ROOT / "service/data/model")


def test_the_service_answers_as_the_model_does(remote, local, samples):
    answers = remote.predict_many(samples)
    for answer, atoms in zip(answers, samples, strict=True):
        expected = local.predict(atoms)
        assert answer.energy == pytest.approx(expected.energy, rel=1e-12)
        assert answer.uncertainty == pytest.approx(expected.uncertainty, rel=1e-9)
        assert answer.model == expected.model
    assert remote.predict(samples[0]).energy == pytest.approx(answers[0].energy, rel=1e-12)


def test_files_properties_and_models(remote, local):
    assert len(remote.predict_file(EXAMPLES / "concentrations.extxyz", local.model_id)) == 3
    images = ase.io.read(EXAMPLES / "migration-path.extxyz", ":")
    assert remote.barrier(images)["barrier"] > 0
    assert len(remote.bulk_modulus(images[:1], strains=[-0.02, -0.01, 0.0, 0.01, 0.02])["volumes"]) == 5
    assert remote.voltage(ase.io.read(EXAMPLES / "concentrations.extxyz", ":"), ion="Li")["voltage"]
    assert remote.models()["active"] == local.model_id
    assert remote.activate(local.model_id)["active"] == local.model_id


def test_one_structure_in_place_of_a_list_and_arrays_in_place_of_lists(remote, local, samples):
    strains = np.linspace(-0.02, 0.02, 5)
    found = remote.bulk_modulus(samples[0], strains=strains)
    assert found == remote.bulk_modulus([samples[0]], strains=list(strains))
    assert len(found["volumes"]) == 5
    assert remote.predict_many(samples[0]) == [remote.predict(samples[0])]
    assert remote.predict_many(iter(samples[:2])) == remote.predict_many(samples[:2])


def test_radial_distribution_and_model_card(remote, local, samples):
    found = remote.rdf(samples[0], cutoff=5.0, width=0.25)
    r, functions = radial_distribution(samples[0], cutoff=5.0, width=0.25)
    assert found["r"] == pytest.approx(r)
    assert {tuple(p["elements"]): p["g"] for p in found["pairs"]} == {
        pair: pytest.approx(g) for pair, g in functions.items()
    }
    card = remote.model(local.model_id)
    assert card["active"] is True
    assert card["species"] == list(local.scattering.species)
    assert card["training"] == local.card
    with pytest.raises(ServiceError) as caught:
        remote.model("0" * 16)
    assert caught.value.status == 404


def test_copies_have_the_settings_and_connections_of_their_own(server, samples, local):
    calculator = ScatteringCalculator(url=Client(server[1], key="secret-word", patience=3))
    copies = [copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))]
    energy = local.predict(samples[0]).energy
    calculator._predictor.close()
    for found in copies:
        atoms = samples[0].copy()
        atoms.calc = found
        assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
        assert found._predictor.patience == 3
        assert found._predictor._client.headers["X-API-Key"] == "secret-word"
        assert repr(found._predictor) == f"Client({server[1]!r})"

    async def copied():
        async with copy.deepcopy(AsyncClient(server[1], key="secret-word")) as client:
            assert "secret-word" not in repr(client)
            return await client.predict(samples[0])

    assert asyncio.run(copied()).energy == pytest.approx(energy, rel=1e-12)


def test_asynchronous(server, samples, remote):
    async def both():
        async with AsyncClient(server[1]) as client:
            first, second = await asyncio.gather(*(client.predict(a) for a in samples[:2]))
            file = await client.predict_file(EXAMPLES / "one-structure.extxyz")
            images = ase.io.read(EXAMPLES / "migration-path.extxyz", ":")
            barrier = await client.barrier(images)
            modulus = await client.bulk_modulus(images[:1])
            curve = await client.voltage(ase.io.read(EXAMPLES / "concentrations.extxyz", ":"))
            models = await client.models()
            assert await client.activate(models["active"]) == models
            assert await client.model(models["active"]) == remote.model(models["active"])
            assert await client.rdf(images[0]) == remote.rdf(images[0])
            return [first, second], file, barrier, modulus, curve

    answers, file, barrier, modulus, curve = asyncio.run(both())
    assert answers == remote.predict_many(samples[:2])
    assert file[0].n_atoms == 86
    assert barrier["barrier"] > 0
    assert modulus["curve"]
    assert curve["voltage"]


def test_calculator(server, samples, local):
    atoms = samples[0].copy()
    atoms.calc = ScatteringCalculator(url=server[1])
    assert atoms.get_potential_energy() == pytest.approx(local.predict(atoms).energy, rel=1e-12)
    assert atoms.calc.prediction.uncertainty == pytest.approx(local.predict(atoms).uncertainty, rel=1e-9)
    expected = local.predict(atoms).energy_per_atom_by_fold
    assert len(expected) == 5
    assert atoms.calc.prediction.energy_per_atom_by_fold == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ConfigError, match="not both"):
        ScatteringCalculator()
    with pytest.raises(ConfigError, match="not both"):
        ScatteringCalculator(local, url=server[1])


def test_refusals_say_why(remote, samples):
    with pytest.raises(ServiceError, match="Au") as caught:
        remote.predict(Atoms("Au", cell=[4, 4, 4], pbc=True))
    assert caught.value.status == 422
    assert caught.value.problem["errors"][0]["index"] == 0
    with pytest.raises(StructureError, match="not periodic"):
        remote.predict(Atoms("Li"))
    with pytest.raises(ServiceError) as caught:
        remote.predict(samples[0], model="0" * 16)
    assert caught.value.status == 404
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1") as caught:
        Client(f"http://127.0.0.1:{unused_port()}").models()
    assert caught.value.status is None


def test_keys(tmp_path):
    from service.api_keys import new_key

    key, line = new_key("somebody", ["predict"])
    (tmp_path / "keys").write_text(line + "\n")
    with serving(tmp_path / "state", api_keys=tmp_path / "keys") as (_, url):
        with Client(url, key=key) as client:
            active = client.models()["active"]
            with pytest.raises(ServiceError) as caught:
                client.activate(active)
            assert caught.value.status == 403
        with Client(url) as client, pytest.raises(ServiceError) as caught:
            client.models()
        assert caught.value.status == 401


def test_deleting(server, remote, tmp_path):
    (tmp_path / "a.extxyz").write_text(TRAINING_FILE)
    dataset = remote.upload(tmp_path / "a.extxyz")["id"]
    assert remote.delete_dataset(dataset) is None
    active = remote.models()["active"]
    for refused, status in (
        (lambda: remote.delete_dataset(dataset), 404),
        (lambda: remote.delete_model("0" * 16), 404),
        (lambda: remote.delete_model(active), 409),
    ):
        with pytest.raises(ServiceError) as caught:
            refused()
        assert caught.value.status == status

    async def the_same():
        async with AsyncClient(server[1]) as client:
            assert (await client.upload(tmp_path / "a.extxyz"))["id"] == dataset
            await client.delete_dataset(dataset)
            with pytest.raises(ServiceError, match="is the active one"):
                await client.delete_model(active)

    asyncio.run(the_same())


@pytest.fixture
def busy():
    """A server that is busy the first two times."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(503 if len(seen) < 3 else 200)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_DELETE(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_a_busy_service_is_asked_again(busy):
    url, seen = busy
    with Client(url) as client:
        assert client.models() == {}
    assert len(seen) == 3


def test_nothing_is_deleted_where_something_else_answers(busy):
    url, seen = busy
    with Client(url) as client, pytest.raises(ServiceError, match="status 200, not 204"):
        client.delete_model("0" * 16)
    assert seen == [f"/v1/models/{'0' * 16}"] * 3


def test_patience_ends(busy):
    url, seen = busy
    with Client(url, patience=0) as client, pytest.raises(ServiceError) as caught:
        client.models()
    assert caught.value.status == 503
    assert len(seen) == 1
