"""The files that the README's commands are pasted with."""

import json
import re

import ase.io
import numpy as np
import pytest

from api.app import STATIC
from service.demo_data import load_sample
from tests.cli.conftest import run
from tests.repository import ROOT


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "examples"
    result = run("demo", "--files", directory)
    assert result.exit_code == 0, result.output
    return directory


def test_the_readme_names_files_that_are_there(examples):
    text = (
        (ROOT / "README.md").read_text().split("## Your own structures")[1].split("## Beyond one machine")[0]
    )
    lines = [line for line in text.splitlines() if re.match(" {4}(atomscatter|curl|dataset=)", line)]
    read = {word for line in lines for word in re.findall(r"\b[\w-]+\.(?:extxyz|cif|json)\b|POSCAR", line)}
    assert {"structure.cif", "images.json", "paths.extxyz", "more.extxyz", "POSCAR"} <= read
    assert sorted(name for name in read if not (examples / name).exists()) == []


def test_structures_and_energies_are_those_of_the_sample(examples):
    one = ase.io.read(STATIC / "examples/one-structure.extxyz")
    for name in ("structure.cif", "POSCAR"):
        read = ase.io.read(examples / name)
        assert read.get_chemical_formula() == one.get_chemical_formula()
        assert read.get_volume() == pytest.approx(one.get_volume(), rel=1e-6)
    (sent,) = json.loads((examples / "structure.json").read_text())["structures"]
    np.testing.assert_allclose(sent["cartesian_site_positions"], one.positions)
    known, new = (ase.io.read(examples / f"{name}.extxyz", ":") for name in ("paths", "more"))
    energies = {(s.path_id, s.atoms.info["step"]): s.energy for s in load_sample("paths")}
    for atoms in known + new:
        key = str(atoms.info["path_id"]), atoms.info["step"]
        assert atoms.get_potential_energy() == pytest.approx(energies[key])
    paths = {a.info["path_id"] for a in known}
    assert len(paths) == len(list((examples / "relaxations").iterdir())) == 30
    assert paths.isdisjoint({a.info["path_id"] for a in new})


def test_a_directory_that_is_there_is_left_alone(examples):
    (examples / "structure.cif").touch()
    refused = run("demo", "--files", examples)
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr
