"""Bad input: exit code 2, one line for each problem with file and index, nothing written."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from atomscatter.ensemble import Ensemble
from tests.cli.conftest import Workplace, run


def good(energy: float | None = -40.0) -> Atoms:
    atoms = bulk("Si", cubic=True)
    if energy is not None:
        atoms.info["energy"] = energy
    return atoms


def text(atoms: Atoms) -> str:
    """A structure as extended XYZ, whatever is wrong with it."""
    info = " ".join(f"{key}={value}" for key, value in atoms.info.items())
    lattice = " ".join(map(str, atoms.cell.array.ravel()))
    pbc = " ".join("T" if p else "F" for p in atoms.pbc)
    lines = [str(len(atoms)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}" {info}']
    lines += [f"{s} {x} {y} {z}" for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)]
    return "\n".join(lines) + "\n"


def moved(value: float) -> Atoms:
    atoms = good()
    atoms.positions[3, 1] = value
    return atoms


def flat() -> Atoms:
    atoms = good()
    atoms.cell[2] = atoms.cell[1]
    return atoms


def open_cell() -> Atoms:
    atoms = good()
    atoms.pbc = (True, True, False)
    return atoms


def close() -> Atoms:
    atoms = good()
    atoms.positions[1] = atoms.positions[0] + [0.2, 0, 0]
    return atoms


def with_symbol(symbol: str) -> str:
    return text(good()).replace("Si", symbol, 1)


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "no atoms": (lambda: text(Atoms(cell=[5, 5, 5], pbc=True)), "no atoms"),
    "NaN": (lambda: text(moved(np.nan)), "finite"),
    "infinite": (lambda: text(moved(np.inf)), "finite"),
    "singular cell": (lambda: text(flat()), "cell"),
    "not periodic": (lambda: text(open_cell()), "--vacuum"),
    "unknown element": (lambda: with_symbol("Qq"), "contains 'Qq', which is no element"),
    "atoms too close": (lambda: text(close()), "0.2"),
    "no energy": (lambda: text(good(None)), "--energy-key"),
    "truncated": (lambda: "\n".join(text(good()).splitlines()[:-3]) + "\n", "truncated"),
    "not a structure": (lambda: "this is\nnot a structure\n", "expected a number of atoms"),
}
# What only training data must not be.
ENERGY_ONLY = {"no energy"}


def file_with(tmp_path: Path, name: str) -> Path:
    """A file with one good structure, then the bad one."""
    path = tmp_path / "input.extxyz"
    path.write_text(text(good()) + BAD[name][0]())
    return path


@pytest.mark.parametrize("name", BAD)
def test_featurize(name: str, tmp_path: Path) -> None:
    result = run("featurize", file_with(tmp_path, name), "--store", tmp_path / "store")
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if "input.extxyz" in line]
    assert len(lines) == 1
    assert "structure 1" in lines[0]
    assert BAD[name][1] in lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["input.extxyz"]


@pytest.mark.parametrize("name", sorted(set(BAD) - ENERGY_ONLY))
def test_predict(name: str, tmp_path: Path, workplace: Workplace) -> None:
    path = file_with(tmp_path, name)
    result = run("predict", "--model", workplace.model, path, "--json", "--output", tmp_path / "out.xyz")
    assert result.exit_code == 2
    assert "input.extxyz, structure 1: " in result.stderr
    assert result.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == ["input.extxyz"]
    rest = run("predict", "--model", workplace.model, path, "--json", "--skip-bad")
    assert rest.exit_code == 0
    assert "input.extxyz, structure 1: " in rest.stderr
    assert [json.loads(line)["index"] for line in rest.stdout.splitlines()] == [0]


@pytest.fixture
def small_grids(workplace: Workplace, tmp_path: Path) -> Path:
    """A model that has room for a cubic cell of silicon, and not for eight of them."""
    model = Ensemble.load(workplace.model)
    points = int(2 * model.scattering.grid_points(good()))
    config = model.scattering_config | {"grid": model.scattering.grid.to_dict() | {"max_points": points}}
    replace(model, scattering_config=config).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("command", ["predict", "evaluate", "barrier"])
def test_a_cell_that_is_too_large_for_the_grids(command: str, tmp_path: Path, small_grids: Path) -> None:
    large = good().repeat(2)
    large.info["energy"] = -320.0
    (tmp_path / "small.extxyz").write_text(text(good()))
    (tmp_path / "large.extxyz").write_text(text(good()) + text(large))
    files = tmp_path / "small.extxyz", tmp_path / "large.extxyz"
    result = run(command, *files, "--model", small_grids, "--json")
    assert result.exit_code == 2
    assert "large.extxyz, structure 1: cell of 10.86 x" in result.stderr
    assert "1 bad and 2 good structures; nothing was done" in result.stderr
    assert ("--skip-bad" in result.stderr) == (command != "barrier"), "only what has the option names it"
    assert result.stdout == ""
    if command == "barrier":
        return
    rest = run(command, *files, "--model", small_grids, "--json", "--skip-bad")
    assert rest.exit_code == 0
    assert "large.extxyz, structure 1: cell of" in rest.stderr
    found = [json.loads(line) for line in rest.stdout.splitlines()]
    assert len(found) == 2 if command == "predict" else found[0]["n_structures"] == 2


def test_a_strained_cell_that_is_too_large_is_named(tmp_path: Path, small_grids: Path) -> None:
    one = tmp_path / "one.extxyz"
    one.write_text(text(bulk("Si", cubic=True, a=8.0)))
    result = run("bulk-modulus", one, "--model", small_grids, "--strain", 0.3, "--steps", 5)
    assert result.exit_code == 2
    assert "structure 3 of the series: cell of 9.2 x" in result.stderr


def test_repeated_structures_are_no_training_data(tmp_path: Path) -> None:
    path = tmp_path / "input.extxyz"
    path.write_text(text(good()) * 2)
    result = run("featurize", path, "--store", tmp_path / "store")
    assert result.exit_code == 2
    assert "structure 1: is a duplicate" in result.stderr
    assert not (tmp_path / "store").exists()


def test_missing_and_empty_files_are_named(tmp_path: Path, workplace: Workplace) -> None:
    (tmp_path / "empty.xyz").write_text("")
    result = run("predict", "--model", workplace.model, tmp_path / "empty.xyz", tmp_path / "missing.xyz")
    assert result.exit_code == 2
    assert f"{tmp_path / 'empty.xyz'}: file is empty" in result.stderr
    assert f"{tmp_path / 'missing.xyz'}: file does not exist" in result.stderr


def test_element_that_the_model_never_saw(tmp_path: Path, workplace: Workplace) -> None:
    ase.io.write(tmp_path / "ge.cif", bulk("Ge"))
    result = run("predict", "--model", workplace.model, tmp_path / "ge.cif")
    assert result.exit_code == 2
    assert "ge.cif, structure 0" in result.stderr
    assert "Ge" in result.stderr


def test_evaluate_needs_energies(tmp_path: Path, workplace: Workplace) -> None:
    path = tmp_path / "input.extxyz"
    path.write_text(text(good(None)))
    result = run("evaluate", "--model", workplace.model, path)
    assert result.exit_code == 2
    assert "structure 0" in result.stderr
    assert "--energy-key" in result.stderr


def test_energies_under_another_key(tmp_path: Path, workplace: Workplace) -> None:
    atoms = good(None)
    atoms.info["dft"] = -43.2
    path = tmp_path / "input.extxyz"
    path.write_text(text(atoms))
    assert run("evaluate", "--model", workplace.model, path, "--energy-key", "dft").exit_code == 0


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("beta = -1", "c.toml", "beta"),
        ("width = 0.5", "c.toml", "width"),
        ("beta = = 1", "c.toml", "line 1"),
        ("[1, 2]", "c.json", "dictionary"),
        ('{"scales": "four"}', "c.json", "scales"),
        ("powers = 2", "c.toml", "powers"),
        ('products = "all"', "c.toml", "products"),
        ("products = {widths = [0.5, -1]}", "c.toml", "widths"),
        ("[products]\nradius = 3", "c.toml", "radius"),
        ('{"products": null}', "c.json", "products"),
    ],
)
def test_featurize_configuration(content: str, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    data = tmp_path / "data.xyz"
    data.write_text(text(good()))
    result = run("featurize", data, "--store", tmp_path / "store", "--config", tmp_path / name)
    assert result.exit_code == 2, result.output
    assert name in result.stderr
    assert message in result.stderr
    assert not (tmp_path / "store").exists()


def test_what_the_configured_transform_cannot_take_is_bad(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('species = ["Si", "Li"]\nscales = 1\nn = 1\ngrid = {max_points = 100_000}')
    others = bulk("Ge", cubic=True), bulk("Si", cubic=True, a=13.57)
    for atoms in others:
        atoms.info["energy"] = -40.0
    (tmp_path / "data.extxyz").write_text("".join(map(text, (good(), *others))))
    result = run("featurize", tmp_path / "data.extxyz", "--store", tmp_path / "store", "--config", config)
    assert result.exit_code == 2
    assert "data.extxyz, structure 1: contains Ge; known elements are Li, Si" in result.stderr
    assert "data.extxyz, structure 2: cell of 13.57 x" in result.stderr
    assert "2 bad and 1 good structures; nothing was done (--skip-bad" in result.stderr
    assert not (tmp_path / "store").exists()


def test_an_output_that_is_an_input_is_refused(tmp_path: Path, workplace: Workplace) -> None:
    file = tmp_path / "energies.extxyz"
    file.write_text(text(good()))
    for given in (file, tmp_path):
        result = run("predict", "--model", workplace.model, given, "--output", file)
        assert result.exit_code == 2
        assert "is one of the files that are read" in result.stderr
    assert file.read_text() == text(good())
    result = run("predict", "--model", workplace.model, file, "--output", tmp_path / "out.cif")
    assert result.exit_code == 2
    assert "is written as extended XYZ or as CSV; give it the ending .extxyz or .csv" in result.stderr


def test_ways_to_tell_paths_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "data.extxyz"
    file.write_text(text(good()))
    result = run("featurize", file, "--store", tmp_path / "store", "--path-key", "path", "--path-per-file")
    assert result.exit_code == 2
    assert "--path-key and --path-per-file exclude each other" in result.stderr
    result = run("featurize", file, "--store", tmp_path / "store", "--path-key", "path")
    assert "has no path id: no 'path' in its info" in result.stderr


def test_only_so_many_bad_structures_are_told(tmp_path: Path) -> None:
    file = tmp_path / "data.extxyz"
    file.write_text(150 * text(good(None)))
    result = run("featurize", file, "--store", tmp_path / "store")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert sum("has no energy" in line for line in lines) == 101
    assert any(line.startswith("... and 50 more, the last: ") for line in lines)
    assert "150 bad and 0 good structures" in result.stderr


def test_commands_without_an_option_do_not_name_it(tmp_path: Path) -> None:
    file = tmp_path / "molecule.xyz"
    file.write_text(text(open_cell()))
    result = run("rdf", file)
    assert result.exit_code == 2
    assert "is not periodic" in result.stderr
    assert "--vacuum" not in result.stderr


def test_references_of_other_elements(tmp_path: Path, workplace: Workplace) -> None:
    result = run("train", "--store", workplace.store, "--model", tmp_path / "m", "--references", "Li=-1.9")
    assert result.exit_code == 2
    assert "lack Si" in result.stderr
    result = run("voltage", tmp_path / "any.cif", "--ion", "li")
    assert result.exit_code == 2
    assert "unknown chemical symbol 'li'" in result.stderr


@pytest.mark.parametrize(
    "references", ["Li", "Li=", "Li=x", "Xx=1", "Li=nan", "Li=-1.9,Li=-1.8", "Li=-1.9;Si=-5.4", ""]
)
def test_references(references: str, tmp_path: Path, workplace: Workplace) -> None:
    result = run("train", "--store", workplace.store, "--model", tmp_path / "m", "--references", references)
    assert result.exit_code == 2
    assert "--references" in result.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--store", "nowhere", "--model", "m"),
        ("train", "--store", ".", "--model", "m"),
        ("predict", "--model", "nowhere", "x.xyz"),
        ("evaluate", "--model", ".", "x.xyz"),
        ("info", "nowhere"),
        ("info", "."),
        ("predict", "x.xyz"),
        ("train", "--store", "s", "--model", "m", "--folds", "1"),
        ("train", "--store", "s", "--model", "m", "--orders", "0-3"),
        ("featurize", "--store", "s"),
        ("unknown",),
        ("demo", "--workers", "0"),
        ("predict", "--quiet", "--verbose", "--model", "m", "x.xyz"),
    ],
)
def test_usage(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "variable", "value", "words"),
    [
        (("featurize", "nothing.xyz", "--store", "s"), "ATOMSCATTER_WORKERS", "abc", "workers: "),
        (("train", "--store", "s", "--model", "m"), "ATOMSCATTER_WORKERS", "0", "workers: "),
        (("demo",), "ATOMSCATTER_WORKERS", "abc", "workers: "),
        (("serve",), "ATOMSCATTER_CORS_ORIGINS", "http://x", "cors_origins"),
    ],
)
def test_settings_of_the_environment(
    command: tuple[str, ...],
    variable: str,
    value: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    result = run(*command)
    assert result.exit_code == 2
    assert "Error: settings: " in result.stderr
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"), [('api_key = "keys.txt"', "api_key: "), ("max_atoms = = 5", "settings: ")]
)
def test_settings_of_the_file(
    content: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "atomscatter.toml").write_text(content)
    result = run("serve")  # a misspelt api_keys would leave it open
    assert result.exit_code == 2
    assert words in result.stderr


def test_more_folds_than_paths(tmp_path: Path, workplace: Workplace) -> None:
    result = run("train", "--store", workplace.store, "--model", tmp_path / "m", "--folds", 31)
    assert result.exit_code == 2
    assert "31 test folds" in result.stderr
    assert not (tmp_path / "m").exists()


def test_a_directory_that_is_no_model_is_left_alone(tmp_path: Path, workplace: Workplace) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("five years")
    result = run("train", "--store", workplace.store, "--model", tmp_path / "mine")
    assert result.exit_code == 2
    assert "mine" in result.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "five years"
