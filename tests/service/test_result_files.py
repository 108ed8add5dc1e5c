"""Files of results: units in the headers, numbers as computed, files complete or absent."""

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
from service.result_files import write_csv, write_extxyz, write_json, write_text


def test_json_is_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": np.float64("nan"), "y": np.array([1.0, np.inf]), "z": (1,)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.0, None], "z": [1]}


def test_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "p.csv", {"energy (eV)": [-1.5, 2.0], "kind": ["a, b", "c"]})
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert rows == [{"energy (eV)": "-1.5", "kind": "a, b"}, {"energy (eV)": "2.0", "kind": "c"}]
    with pytest.raises(DataError, match="different lengths"):
        write_csv(tmp_path / "q.csv", {"a": [1], "b": [1, 2]})
    assert not (tmp_path / "q.csv").exists()


def test_extxyz_gives_energies_to_ase(tmp_path: Path) -> None:
    atoms = bulk("Si")
    write_extxyz(tmp_path / "o.xyz", [atoms, atoms], [-10.5, -11.0], [{"note": "a"}, {"note": "b"}])
    frames = ase.io.read(tmp_path / "o.xyz", ":")
    assert [a.get_potential_energy() for a in frames] == [-10.5, -11.0]
    assert [a.info["note"] for a in frames] == ["a", "b"]
    assert atoms.calc is None


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert json.loads(path.read_text()) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "an energy\n")
    reader.join(10)
    assert heard == ["an energy\n"]
    assert pipe.is_fifo()
