"""Tables and files: units in the headers, numbers as computed, files complete or absent."""

import csv
import json
import os
import threading
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from atomscatter.errors import DataError
from service import report
from service.default_model import embedded_model
from service.evaluation import Errors, PropertyErrors

ERRORS = Errors("large states", 84, np.array([0.010, 0.014]), np.array([0.008, 0.009]), 0.25)


def test_error_rows_are_mev_with_spread() -> None:
    assert report.error_rows([ERRORS]) == [["large states", "84", "12.0 ± 2.0", "8.5 ± 0.5", "", "25 %"]]


def test_errors_as_json() -> None:
    values = report.errors_json(ERRORS)
    assert values["rmse_mean"] == pytest.approx(12.0)
    assert values["rmse_std"] == pytest.approx(2.0)
    assert values["unit"] == "meV/atom"


def test_properties_without_values_are_not_hidden() -> None:
    nothing = PropertyErrors("bulk moduli", "GPa", 3, np.array([np.nan, np.nan]), float("nan"), 6)
    assert report.property_rows([nothing]) == [["bulk moduli", "3", "not finite GPa", "no value"]]
    some = PropertyErrors("bulk moduli", "GPa", 3, np.array([10.0, np.nan, 12.0]), 9.0, 1)
    assert report.property_rows([some])[0][2:] == ["11.0 ± 1.0 GPa", "9.0 GPa"]


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [(7.44, 0.44, "7.4 ± 0.4"), (2e15, 1e14, "2.0e+15 ± 1.0e+14"), (float("inf"), 0.0, "not finite")],
)
def test_plus_minus(mean: float, std: float, text: str) -> None:
    assert report.plus_minus(mean, std) == text


def test_markdown_table() -> None:
    text = report.markdown_table(("set", "n\n(eV)"), [["  part", "1"]])
    assert text.splitlines() == ["| set | n (eV) |", "| --- | ---: |", "| &nbsp;&nbsp;part | 1 |"]


def test_names_of_files_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console = report.terminal()
    console.print(report.rich_table("in relax[1]", ("file",), [["relax[final].xyz"], ["a:smiley:.xyz"]]))
    console.print("model in models[2]")
    shown = capsys.readouterr().out
    for name in ("in relax[1]", "relax[final].xyz", "a:smiley:.xyz", "model in models[2]"):
        assert name in shown


@pytest.mark.parametrize(
    ("selection", "models"),
    [("bagged", "5 folds, 100 bootstraps each"), ("full", "5 folds, 4 nested splits each")],
)
def test_a_card_says_how_many_models_there_are(selection: str, models: str) -> None:
    card = report.read_card(embedded_model())
    card["training"]["settings"]["selection"] = selection
    assert f"| models | {models}, selection {selection}" in report.card_markdown(card, report.CardExtras())


def test_json_is_strict(tmp_path: Path) -> None:
    report.write_json(tmp_path / "a.json", {"x": np.float64("nan"), "y": np.array([1.0, np.inf]), "z": (1,)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.0, None], "z": [1]}


def test_csv(tmp_path: Path) -> None:
    report.write_csv(tmp_path / "p.csv", {"energy (eV)": [-1.5, 2.0], "kind": ["a, b", "c"]})
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert rows == [{"energy (eV)": "-1.5", "kind": "a, b"}, {"energy (eV)": "2.0", "kind": "c"}]
    with pytest.raises(DataError, match="different lengths"):
        report.write_csv(tmp_path / "q.csv", {"a": [1], "b": [1, 2]})
    assert not (tmp_path / "q.csv").exists()


def test_extxyz_gives_energies_to_ase(tmp_path: Path) -> None:
    atoms = bulk("Si")
    report.write_extxyz(tmp_path / "o.xyz", [atoms, atoms], [-10.5, -11.0], [{"note": "a"}, {"note": "b"}])
    frames = ase.io.read(tmp_path / "o.xyz", ":")
    assert [a.get_potential_energy() for a in frames] == [-10.5, -11.0]
    assert [a.info["note"] for a in frames] == ["a", "b"]
    assert atoms.calc is None


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    report.write_json(path, {"x": 1})
    with pytest.raises(UnicodeEncodeError):
        report.write_text(path, "\ud800")
    assert json.loads(path.read_text()) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    report.write_text(pipe, "an energy\n")
    reader.join(10)
    assert heard == ["an energy\n"]
    assert pipe.is_fifo()
