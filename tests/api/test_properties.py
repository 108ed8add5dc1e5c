import numpy as np
import pytest
from ase import Atoms

from atomscatter import Ensemble
from atomscatter.properties import barrier, fit_equation_of_state
from atomscatter.radial import radial_distribution
from atomscatter.strain import STRAINS, strained
from service.default_model import embedded_model
from service.demo_data import load_sample
from tests.api.conftest import as_json, assert_problem


@pytest.fixture(scope="module")
def ensemble():
    return Ensemble.load(embedded_model())


def test_bulk_modulus_of_one_structure_is_that_of_its_strain_series(client, ensemble, samples):
    atoms = samples[-1]
    answer = client.post("/v1/properties/bulk-modulus", json={"structures": [as_json(atoms)]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    series = strained(atoms)
    energies = [ensemble.predict(a).energy for a in series]
    np.testing.assert_allclose([p["energy"] for p in found["curve"]], energies, rtol=1e-12)
    np.testing.assert_allclose(
        found["volumes"], atoms.get_volume() * (1 + np.array(STRAINS)) ** 3, rtol=1e-12
    )
    assert len(found["curve"]) == len(STRAINS)
    again = client.post("/v1/properties/bulk-modulus", json={"structures": [as_json(a) for a in series]})
    assert again.json()["bulk_modulus"] == pytest.approx(found["bulk_modulus"])
    if found["reason"] is None:
        fit = fit_equation_of_state(found["volumes"], energies)
        assert found["bulk_modulus"] == pytest.approx(fit.bulk_modulus)
        assert found["bulk_modulus_spread"] > 0


def test_a_series_without_a_minimum_has_a_reason_and_no_number(client, samples):
    body = {"structures": [as_json(samples[0])], "strains": [0.2, 0.22, 0.24, 0.26, 0.28]}
    found = client.post("/v1/properties/bulk-modulus", json=body).json()
    assert found["bulk_modulus"] is None
    assert found["reason"]
    assert len(found["curve"]) == 5


def test_migration_barrier_along_the_images(client, ensemble):
    images = [s.atoms for s in load_sample("diffusion")]
    first = images[0].info["path_id"]
    images = [a for a in images if a.info["path_id"] == first]
    body = {"structures": [as_json(a) for a in images]}
    found = client.post("/v1/properties/migration-barrier", json=body).json()
    energies = np.array([ensemble.predict(a).energy for a in images])
    assert found["barrier"] == pytest.approx(barrier(energies), abs=1e-9)
    np.testing.assert_allclose(found["relative_energies"], energies - energies[0], atol=1e-9)
    assert found["barrier_spread"] > 0


def test_a_barrier_needs_two_images_of_one_composition(client, samples):
    one = {"structures": [as_json(samples[0])]}
    assert (
        "at least two"
        in assert_problem(client.post("/v1/properties/migration-barrier", json=one), 422)["detail"]
    )
    two = {"structures": [as_json(samples[0]), as_json(samples[-1])]}
    assert (
        "structure 1"
        in assert_problem(client.post("/v1/properties/migration-barrier", json=two), 422)["detail"]
    )


def test_voltage_curve_over_compositions(client, samples):
    found = client.post(
        "/v1/properties/voltage-curve", json={"structures": [as_json(a) for a in samples]}
    ).json()
    assert len(found["voltage"]) == len(found["x"]) - 1
    assert (np.diff(found["x"]) > 0).all()
    assert (np.diff(found["voltage"]) < 0).all()  # convexity
    assert len(found["structure_x"]) == len(samples)


def test_a_voltage_curve_needs_the_working_ion(client, samples):
    body = {"structures": [as_json(samples[0]), as_json(samples[-1])], "ion": "Na"}
    answer = assert_problem(client.post("/v1/properties/voltage-curve", json=body), 422)
    assert "the working ion" in answer["detail"]


def test_radial_distribution_is_that_of_the_library(client, samples):
    body = {"structure": as_json(samples[0]), "cutoff": 6.0}
    found = client.post("/v1/properties/radial-distribution", json=body).json()
    r, functions = radial_distribution(samples[0], cutoff=6.0)
    np.testing.assert_allclose(found["r"], r)
    for pair in found["pairs"]:
        np.testing.assert_allclose(pair["g"], functions[tuple(pair["elements"])])


def test_radial_distribution_refuses_too_many_atoms_and_names_the_structure(client):
    grid = np.stack(np.meshgrid(*[np.arange(8) * 2.0] * 3), axis=-1).reshape(-1, 3)
    for positions, words in ((grid, "at most 500"), (np.zeros((2, 3)), "atom 0")):
        atoms = Atoms(f"Li{len(positions)}", positions=positions, cell=[16, 16, 16], pbc=True)
        answer = client.post("/v1/properties/radial-distribution", json={"structure": as_json(atoms)})
        (error,) = assert_problem(answer, 422)["errors"]
        assert error["pointer"] == "/structure"
        assert words in error["detail"]


def test_what_is_wrong_with_a_series_names_the_field_that_was_sent(client, samples):
    good = as_json(samples[0])
    bad, flat = good | {"lattice_vectors": [[0, 0, 0]] * 3}, good | {"lattice_vectors": [[5, 0, 0]] * 3}
    other = as_json(samples[-1])
    strains = [-0.02, -0.01, 0.0, 0.01, 0.02]
    for name, body, places in (
        ("bulk-modulus", {"structures": [bad]}, [("/structures/0", 0)]),
        ("bulk-modulus", {"structures": [flat]}, [("/structures/0", 0)]),
        ("bulk-modulus", {"structures": [flat] * 2}, [("/structures/0", 0), ("/structures/1", 1)]),
        ("migration-barrier", {"structures": [good, flat]}, [("/structures/1", 1)]),
        ("voltage-curve", {"structures": [good, flat]}, [("/structures/1", 1)]),
        ("bulk-modulus", {"structures": [good, good], "strains": strains}, [("/strains", None)]),
        ("bulk-modulus", {"structures": [good, other]}, [("/structures", None)]),
        ("migration-barrier", {"structures": [good]}, [("/structures", None)]),
        ("voltage-curve", {"structures": [good], "ion": "Na"}, [("/structures", None)]),
    ):
        found = assert_problem(client.post(f"/v1/properties/{name}", json=body), 422)
        assert [(e["pointer"], e["index"]) for e in found["errors"]] == places, name
