"""The commands on good input."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from atomscatter import Ensemble
from atomscatter.errors import ConfigError
from atomscatter.products import Products
from cli.inputs import read_config, scattering_for
from service.default_model import embedded_model
from service.feature_store import FeatureStore
from tests.cli.conftest import Workplace, run

KEYS = {
    "n_atoms",
    "energy",
    "energy_per_atom",
    "formation_energy_per_atom",
    "uncertainty",
    "extrapolating",
    "extrapolation_score",
    "model",
    "source",
    "index",
}


def command(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run ``atomscatter`` as a process of its own."""
    code = "from cli.app import main; main()"
    root = Path(__file__).parents[2]
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(root)!r}); {code}",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=300,
    )


@pytest.mark.parametrize("name", ["demo", "featurize", "train", "evaluate", "predict", "info"])
def test_help_says_what_a_command_does(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_every_option_has_help() -> None:
    import typer

    from cli.app import app

    for name, sub in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in sub.params:
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


def test_version() -> None:
    result = command("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("atomscatter ")


def test_training_prints_folds_and_writes_the_report(workplace: Workplace) -> None:
    assert "mean ± std" in workplace.train_output
    assert Ensemble.load(workplace.model).model_id in workplace.train_output
    report = workplace.model / "report"
    assert {p.name for p in report.iterdir()} == {"learning_curves.png", "parity.png", "card.md"}
    card = (report / "card.md").read_text()
    assert "held-out paths (meV/atom)" in card
    assert "features per model (M* times 1.5)" in card
    assert (
        "single precision, grids move with the atoms, products at the atoms of widths 0.57, 0.8, 1.6" in card
    )
    assert "orders 0-2, 4 of 6 channels for each model, seed 0" in card


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("products = false", None),
        ("products = true", Products()),
        ("beta = 0.6", Products()),
        ("[products]", Products()),
        ("[products]\nwidths = [0.8, 1.2]\nn = 2", Products((0.8, 1.2), 2)),
    ],
)
def test_products_in_a_configuration_file(setting: str, expected: Products | None, tmp_path: Path) -> None:
    file = tmp_path / "transform.toml"
    file.write_text(setting)
    config = read_config(file)
    assert scattering_for(["Si"], config).products == expected
    assert scattering_for(["Si"], config, products=False).products is None
    assert scattering_for(["Si"], config, products=True).products == (expected or Products())


def test_products_of_many_elements(tmp_path: Path) -> None:
    symbols = ["H", "Li", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K"]
    with pytest.raises(ConfigError, match=r"14 species and 3 widths would be 51156 features.* no products"):
        scattering_for(symbols, read_config(None))
    assert scattering_for(symbols, read_config(None), products=False).n_features > 0
    for setting in ("products = false", "products = {widths = [0.8], n = 2}"):
        (tmp_path / "transform.toml").write_text(setting)
        assert scattering_for(symbols, read_config(tmp_path / "transform.toml")).n_features > 0


def test_predict_json_from_a_process(workplace: Workplace, tmp_path: Path) -> None:
    frames = ase.io.read(workplace.data, "3:5")
    ase.io.write(tmp_path / "two.xyz", frames, format="extxyz")
    ase.io.write(tmp_path / "si.cif", bulk("Si"))
    result = command("predict", "--model", workplace.model, "two.xyz", "si.cif", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(r) for r in records] == [KEYS] * 3
    assert [(r["source"], r["index"]) for r in records] == [("two.xyz", 0), ("two.xyz", 1), ("si.cif", 0)]
    ensemble = Ensemble.load(workplace.model)
    for record, atoms in zip(records, frames, strict=False):
        expected = ensemble.predict(atoms)
        assert record["energy"] == pytest.approx(expected.energy, abs=1e-9)
        assert record["uncertainty"] == pytest.approx(expected.uncertainty, abs=1e-9)
        assert record["energy"] == pytest.approx(record["energy_per_atom"] * record["n_atoms"])
        assert record["model"] == ensemble.model_id
    assert "Traceback" not in result.stderr


def test_predict_writes_energies_for_ase(workplace: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "out.extxyz"
    ase.io.write(tmp_path / "some.extxyz", ase.io.read(workplace.data, "::6"))
    result = run("predict", "--model", workplace.model, tmp_path / "some.extxyz", "--output", output, "-q")
    assert result.exit_code == 0
    written, read = ase.io.read(output, ":"), ase.io.read(tmp_path / "some.extxyz", ":")
    assert len(written) == len(read)
    for new, old in zip(written, read, strict=True):
        np.testing.assert_allclose(new.positions, old.positions, atol=1e-7)
    model = Ensemble.load(workplace.model)
    assert written[7].get_potential_energy() == pytest.approx(model.predict(read[7]).energy, abs=1e-6)
    assert written[7].info["model"] == model.model_id


def test_predict_table_has_units(workplace: Workplace, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "POSCAR", bulk("Si", cubic=True))
    result = run("predict", "--model", workplace.model, tmp_path / "POSCAR")
    assert result.exit_code == 0
    assert "(eV/atom)" in result.stdout
    assert "Si8" in result.stdout
    assert "…" not in result.stdout


def test_files_of_one_name_are_told_apart(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("vasp/00", "vasp/01"):
        Path(folder).mkdir(parents=True)
        ase.io.write(f"{folder}/POSCAR", bulk("Si"))
    ase.io.write("vasp/two.extxyz", [bulk("Si"), bulk("Si", cubic=True)])
    shown = run("predict", "--model", workplace.model, "vasp").stdout
    names = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert names == ["00/POSCAR 0", "01/POSCAR 0", "two.extxyz 0", "two.extxyz 1"]
    # As given one way and the other; the folder above is common.
    shown = run("predict", "--model", workplace.model, tmp_path / "vasp/00/POSCAR", "vasp/01/POSCAR").stdout
    assert "00/POSCAR 0" in shown
    assert "01/POSCAR 0" in shown


def test_predict_writes_a_table(workplace: Workplace, tmp_path: Path) -> None:
    frames = ase.io.read(workplace.data, "3:5")
    ase.io.write(tmp_path / "two.extxyz", frames)
    output = tmp_path / "out.csv"
    result = run("predict", "--model", workplace.model, tmp_path / "two.extxyz", "--output", output, "-q")
    assert result.exit_code == 0, result.output
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    model = Ensemble.load(workplace.model)
    assert [(row["file"], row["index"]) for row in rows] == [(str(tmp_path / "two.extxyz"), i) for i in "01"]
    for row, atoms in zip(rows, frames, strict=True):
        expected = model.predict(atoms)
        assert float(row["energy (eV)"]) == pytest.approx(expected.energy, abs=1e-6)
        assert float(row["energy (eV/atom)"]) == pytest.approx(expected.energy / len(atoms), abs=1e-8)
        assert float(row["uncertainty (eV/atom)"]) == pytest.approx(expected.uncertainty, abs=1e-8)
        assert row["formula"] == atoms.get_chemical_formula()


def test_the_embedded_model_is_the_default_and_has_a_name(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("POSCAR", bulk("Si"))
    embedded, own = (Ensemble.load(p).model_id for p in (embedded_model(), workplace.model))

    def used(*model: object) -> str:
        return str(json.loads(run("predict", "POSCAR", "--json", *model).stdout)["model"])

    assert used() == used("--model", "embedded") == embedded
    assert f"model {embedded} (embedded)" in run("predict", "POSCAR").stdout
    assert json.loads(run("info", "embedded", "--json").stdout)["model"] == embedded
    shutil.copytree(workplace.model, "embedded")
    assert used("--model", "embedded") == own, "a directory of that name comes first"
    assert used() == embedded, "but is not guessed"


def test_predict_reads_directories_and_adds_vacuum(workplace: Workplace, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    (folder / "deeper").mkdir(parents=True)
    ase.io.write(folder / "a.xyz", molecule("Si2H6")[:2])
    ase.io.write(folder / "deeper" / "b.cif", bulk("Si"))
    refused = run("predict", "--model", workplace.model, folder, "--json")
    assert refused.exit_code == 2
    assert "a.xyz" in refused.stderr
    assert "--vacuum" in refused.stderr
    accepted = run("predict", "--model", workplace.model, folder, "--json", "--vacuum", 6)
    assert accepted.exit_code == 0
    assert len(accepted.stdout.splitlines()) == 2


def test_reading_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.progress.SECONDS_UNTIL_COUNTED", 0.0)
    ase.io.write(tmp_path / "data.extxyz", [bulk("Si", a=a) for a in (5.3, 5.4, 5.5)])
    result = run("rdf", tmp_path / "data.extxyz")
    assert "done=3" in next(line for line in result.stderr.splitlines() if "Reading" in line)


def test_evaluate(workplace: Workplace, tmp_path: Path) -> None:
    data = tmp_path / "some.extxyz"
    ase.io.write(data, ase.io.read(workplace.data, "::7"))
    result = run("evaluate", "--model", workplace.model, data, "--json", "-q")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    frames = ase.io.read(data, ":")
    model = Ensemble.load(workplace.model)
    wrong = [model.predict(a).energy_per_atom - a.get_potential_energy() / len(a) for a in frames]  # eV/atom
    assert values["n_structures"] == len(frames)
    assert values["averaged_model"]["rmse"] == pytest.approx(1000 * np.sqrt(np.mean(np.square(wrong))))
    assert values["averaged_model"]["mae"] == pytest.approx(1000 * np.mean(np.abs(wrong)))
    assert values["averaged_model"]["max_error"] == pytest.approx(1000 * np.max(np.abs(wrong)))
    assert values["unit"] == "meV/atom"
    assert values["model"] == model.model_id
    output = tmp_path / "errors.csv"
    shown = run("evaluate", "--model", workplace.model, data, "--output", output)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["error (meV/atom)"]) for row in rows], 1000 * np.array(wrong))
    given = [a.get_potential_energy() / len(a) for a in frames]
    np.testing.assert_allclose([float(row["reference energy (eV/atom)"]) for row in rows], given)
    assert [row["index"] for row in rows] == [str(i) for i in range(len(frames))]
    refused = run("evaluate", "--model", workplace.model, data, "--output", tmp_path / "errors.json")
    assert refused.exit_code == 2
    assert "give it the ending .csv" in refused.stderr
    assert "RMSE" in shown.stdout
    assert f"{values['averaged_model']['rmse']:.2f}" in shown.stdout


def test_info(workplace: Workplace) -> None:
    store = json.loads(run("info", workplace.store, "--json").stdout)
    assert store["structures"] == 60
    assert store["translated copies"] == 24
    assert store["relaxation paths"] == 30
    assert store["complete"] is True
    assert store["damaged"] == []
    model = json.loads(run("info", workplace.model, "--json").stdout)
    assert model["models"] == 8
    assert model["transform"]["beta"] == 1.0
    assert Ensemble.load(workplace.model).model_id in run("info", workplace.model).stdout


def test_names_with_brackets_are_shown_whole(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # short names fit into the tables
    ase.io.write("relax[final].xyz", bulk("Si", cubic=True), format="extxyz")
    assert "relax[final].xyz" in run("predict", "--model", workplace.model, "relax[final].xyz").stdout
    shutil.copytree(workplace.model, "model[2]")
    assert "model[2]" in run("info", "model[2]").stdout


def test_info_counts_no_damaged_units(workplace: Workplace, tmp_path: Path) -> None:
    shutil.copytree(workplace.store, tmp_path / "store")
    units = json.loads(run("info", workplace.store, "--json").stdout)["units done"].split(" of ")[1]
    (tmp_path / "store" / "features" / "c" / "1" / "0").write_bytes(b"damaged")
    store = json.loads(run("info", tmp_path / "store", "--json").stdout)
    assert store["damaged"] == ["features/c/1/0"]
    assert store["complete"] is False
    assert store["units done"] == f"{int(units) - 1} of {units}"


def test_training_again_replaces_the_model_only_when_told_to(workplace: Workplace, tmp_path: Path) -> None:
    arguments = (
        "--store",
        workplace.store,
        "--folds",
        2,
        "--bootstraps",
        2,
        "--max-features",
        6,
        "--workers",
        1,
    )
    ids = []
    for seed, force in ((0, []), (1, ["--force"])):
        result = run("train", "--model", tmp_path / "m", *arguments, "--seed", seed, *force)
        assert result.exit_code == 0, result.output
        ids.append(Ensemble.load(tmp_path / "m").model_id)
        assert (tmp_path / "m" / "report" / "parity.png").exists()
    assert ids[0] != ids[1]
    refused = run("train", "--model", tmp_path / "m", *arguments, "--seed", 2)
    assert refused.exit_code == 2
    assert "there is a model already" in refused.stderr
    assert "--force" in refused.stderr
    assert Ensemble.load(tmp_path / "m").model_id == ids[1]


def test_some_steps_of_each_path(workplace: Workplace, tmp_path: Path) -> None:
    options = ["--path-key", "path_id", "--config", workplace.data.parent / "transform.toml", "--copies", 0]
    made = run("featurize", workplace.data, "--store", tmp_path / "s", *options, "--steps", 1)
    assert made.exit_code == 0, made.output
    assert "30 of 60 structures x" in made.stdout
    store, whole = FeatureStore.open(tmp_path / "s"), FeatureStore.open(workplace.store)
    assert len(set(store.path_ids)) == len(store) == 30
    last = {path: row for row, path in enumerate(whole.path_ids) if whole.originals[row] < 0}
    rows = [last[path] for path in store.path_ids]
    np.testing.assert_array_equal(store.energies, whole.energies[rows])
    np.testing.assert_array_equal(store.features[:], whole.features[:][rows])
    other = run("featurize", workplace.data, "--store", tmp_path / "s", *options)
    assert other.exit_code == 2, "another choice is another store"
    assert "30 structures there, 60 now" in other.stderr
    refused = run("featurize", workplace.data, "--store", tmp_path / "t", *options, "--steps", 0)
    assert refused.exit_code == 2
    assert "--steps" in refused.stderr
    pathless = run("featurize", workplace.data, "--store", tmp_path / "t", "--steps", 5)
    assert pathless.exit_code == 2
    assert "each of the 60 structures is a relaxation path of its own" in pathless.stderr
