"""Property commands against the library, ASE's equation of state and files on disk."""

import csv
import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.eos import EquationOfState
from ase.mep import NEB
from ase.optimize import MDMin
from ase.units import GPa

from api.app import STATIC
from atomscatter.ensemble import Ensemble
from service.default_model import embedded_model
from tests.cli.conftest import run

ONE = STATIC / "examples/one-structure.extxyz"
PATH = STATIC / "examples/migration-path.extxyz"
MANY = STATIC / "examples/concentrations.extxyz"


@pytest.fixture(scope="module")
def model():
    return Ensemble.load(embedded_model())


def rows(path):
    with path.open(newline="") as file:
        titles, *values = csv.reader(file)
    return titles, np.array(values, dtype=float)


def test_bulk_modulus_of_one_structure(model, tmp_path):
    result = run("bulk-modulus", ONE, "--strain", 0.04, "--steps", 9, "--json", "--output", tmp_path, "-q")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    atoms = ase.io.read(ONE)
    volumes, energies = [], []
    for strain in np.linspace(-0.04, 0.04, 9):
        copy = atoms.copy()
        copy.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
        volumes.append(copy.get_volume())
        energies.append(model.predict(copy).energy)
    v0, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    assert found["bulk_modulus"] == pytest.approx(modulus / GPa, rel=1e-6)
    assert found["volume"] == pytest.approx(v0, rel=1e-6)
    titles, values = rows(tmp_path / "bulk_modulus.csv")
    assert titles == ["volume (A^3)", "energy (eV)", "uncertainty (eV/atom)"]
    np.testing.assert_allclose(values[:, :2], np.column_stack([volumes, energies]), rtol=1e-7)
    assert (tmp_path / "bulk_modulus.png").read_bytes().startswith(b"\x89PNG")
    assert "GPa" in run("bulk-modulus", ONE, "--steps", 7).stdout


def test_barrier(model, workplace, tmp_path):
    result = run("barrier", PATH, "--json", "--output", tmp_path, "-q")
    assert result.exit_code == 0, result.output
    energies = [model.predict(a).energy for a in ase.io.read(PATH, ":")]
    found = json.loads(result.stdout)
    assert found["barrier"] == pytest.approx(np.ptp(energies))
    assert found["forward_barrier"] == pytest.approx(max(energies) - energies[0])
    assert found["backward_barrier"] == pytest.approx(max(energies) - energies[-1])
    assert energies[0] == max(energies), "this path begins at its highest image"
    assert "the highest image is the first" in found["warning"]
    titles, values = rows(tmp_path / "barrier.csv")
    assert titles[1] == "relative energy (eV)"
    np.testing.assert_allclose(values[:, 1], np.array(energies) - energies[0], atol=1e-6)
    shown = run("barrier", PATH, "--model", workplace.model).stdout
    assert "eV" in shown
    images = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert images == [str(i) for i in range(len(energies))]


def test_a_trajectory_of_a_neb_holds_several_bands(workplace, tmp_path):
    ends = [bulk("Si", cubic=True) * (2, 1, 1) for _ in range(2)]
    del ends[0][0], ends[1][1]
    band = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    neb = NEB(band, method="improvedtangent")
    neb.interpolate(mic=True)
    for i, image in enumerate(neb.images):
        image.rattle(0.05, seed=i)
        image.calc = LennardJones(sigma=2.1, epsilon=0.5)
    MDMin(neb, trajectory=str(tmp_path / "neb.traj"), logfile=None).run(fmax=0, steps=2)
    refused = run("barrier", tmp_path / "neb.traj", "--model", workplace.model)
    assert refused.exit_code == 2
    assert "these 15 structures are not one path but bands of 5 images" in refused.stderr
    assert "(--last 5)" in refused.stderr
    ase.io.write(tmp_path / "band.extxyz", ase.io.read(tmp_path / "neb.traj", "-5:"))
    options = "--json", "-q", "--model", workplace.model
    found = json.loads(run("barrier", tmp_path / "neb.traj", "--last", 5, *options).stdout)
    expected = json.loads(run("barrier", tmp_path / "band.extxyz", *options).stdout)
    np.testing.assert_allclose(found["relative_energies"], expected["relative_energies"], atol=1e-5)
    too_many = run("barrier", tmp_path / "band.extxyz", "--last", 6)
    assert too_many.exit_code == 2
    assert "there are 5 structures" in too_many.stderr


def test_a_path_is_no_strain_series(workplace):
    shown = run("bulk-modulus", PATH, "--model", workplace.model)
    assert shown.exit_code == 0
    assert "No bulk modulus: structure 6 is not structure 0 at another volume" in shown.stdout


@pytest.mark.parametrize("command", ["bulk-modulus", "barrier", "voltage", "rdf"])
def test_output_is_a_directory(command, tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("energies.csv", "file"):
        result = run(command, ONE, "--output", tmp_path / name)
        assert result.exit_code == 2
        assert f"{name}: is the directory for a CSV file and a plot" in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_barrier_over_the_folders_of_a_vasp_calculation(workplace, tmp_path):
    images = ase.io.read(PATH, ":")
    for i, image in enumerate(images):
        folder = tmp_path / f"vasp/{i:02}"
        folder.mkdir(parents=True)
        for name in ("POSCAR", "CONTCAR") if 0 < i < len(images) - 1 else ("POSCAR",):
            given = images[0] if name == "POSCAR" and 0 < i < len(images) - 1 else image
            ase.io.write(folder / name, given, format="vasp")
    (tmp_path / "numbered").mkdir()
    for i, image in enumerate(images):
        ase.io.write(tmp_path / f"numbered/{i + 5}.extxyz", image)  # 10 after 9
    options = (
        "--json",
        "-q",
        "--model",
        workplace.model,
    )  # whose features are faster than the embedded one's
    expected = json.loads(run("barrier", PATH, *options).stdout)["relative_energies"]
    for directory in ("vasp", "numbered"):
        result = run("barrier", tmp_path / directory, *options)
        assert result.exit_code == 0, result.output
        np.testing.assert_allclose(json.loads(result.stdout)["relative_energies"], expected, atol=1e-5)


def test_voltage(model, tmp_path):
    result = run("voltage", MANY, "--json", "--output", tmp_path, "-q")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    # Charge conservation: the integral of the voltage is minus the energy of formation at the end.
    last = max(ase.io.read(MANY, ":"), key=lambda a: a.symbols.count("Li") / a.symbols.count("Si"))
    formation = model.predict(last).formation_energy_per_atom * len(last) / last.symbols.count("Si")
    assert np.sum(np.diff(found["x"]) * found["voltage"]) == pytest.approx(-formation)
    assert (np.diff(found["voltage"]) < 0).all(), "a convex hull has falling voltages"
    assert rows(tmp_path / "voltage.csv")[0][2] == "voltage (V)"


def test_rdf(tmp_path):
    result = run("rdf", ONE, "--cutoff", 6, "--json", "--output", tmp_path, "-q")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    atoms = ase.io.read(ONE)
    # Neighbours below 4 A, counted another way: distances over 5 x 5 x 5 images.
    li, si = (atoms.positions[atoms.symbols == s] for s in ("Li", "Si"))
    shifts = np.stack(np.meshgrid(*[range(-2, 3)] * 3), -1).reshape(-1, 3) @ atoms.cell.array
    distances = np.linalg.norm(li[:, None, None] - si[None, :, None] - shifts, axis=-1)
    r, width = np.array(found["r"]), 0.1
    g = next(np.array(p["g"]) for p in found["pairs"] if p["elements"] == ["Li", "Si"])
    shells = 4 / 3 * np.pi * ((r + width / 2) ** 3 - (r - width / 2) ** 3)
    counted = (g * shells)[r < 4].sum() * len(li) * len(si) / atoms.get_volume()
    assert counted == pytest.approx((distances < 4).sum())
    assert rows(tmp_path / "rdf.csv")[0][0] == "r (Angstrom)"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("barrier", ONE), "at least two"),
        (("barrier", MANY), "one composition"),
        (("voltage", PATH, "--ion", "Na"), "working ion"),
        (("voltage", MANY, "--ion", "Na"), "working ion"),
        (("rdf", PATH), "one structure"),
        (("bulk-modulus", ONE, "--model", "nowhere"), "nowhere"),
        (("bulk-modulus", "nothing.cif"), "nothing.cif"),
    ],
)
def test_bad_input_is_named(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
