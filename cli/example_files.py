"""Small files to try the commands on: structures of the embedded sample, and the examples of the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from service.reading import LabelledStructure

_CONCENTRATIONS = 3  # of the 37: 30 relaxation paths


def write_example_files(directory: Path) -> list[str]:
    """Write the files into a directory, which is made.

    Structures without energies, to predict: structure.cif and POSCAR (the same one), migration-path.extxyz,
    concentrations.extxyz; structure.json and images.json (the path), as the service takes them. With energies
    (eV), to train and test: relaxations/*.extxyz (a path in each file), paths.extxyz (all of these),
    more.extxyz (paths that are not among them), others.extxyz.

    Returns:
        The names.
    """
    import ase.io  # as below, only here: it takes long to load

    from api.app import STATIC
    from service.demo_data import load_sample, thinned
    from service.reading import read_structures

    names = ("one-structure", "migration-path", "concentrations")
    files = [STATIC / "examples" / f"{name}.extxyz" for name in names]
    one, path, concentrations = ([s.atoms for s in read_structures([file])[0]] for file in files)
    sample = load_sample("paths")
    known = thinned(sample, _CONCENTRATIONS)
    there = {s.path_id for s in known}
    new = next(s.path_id for s in sample if s.path_id not in there)

    (directory / "relaxations").mkdir(parents=True)
    ase.io.write(directory / "structure.cif", one)
    ase.io.write(directory / "POSCAR", one, format="vasp", direct=True)
    ase.io.write(directory / "migration-path.extxyz", path)
    ase.io.write(directory / "concentrations.extxyz", concentrations)
    _write_json(directory / "structure.json", one)
    _write_json(directory / "images.json", path)
    for path_id in sorted(there):
        steps = [s for s in known if s.path_id == path_id]
        _write_labelled(directory / "relaxations" / f"{path_id}.extxyz", steps)
    _write_labelled(directory / "paths.extxyz", known)
    _write_labelled(directory / "more.extxyz", [s for s in sample if s.path_id == new])
    _write_labelled(directory / "others.extxyz", load_sample("diffusion"))
    return sorted(entry.name for entry in directory.iterdir())


def _write_labelled(file: Path, structures: Sequence[LabelledStructure]) -> None:
    from service.result_files import write_extxyz

    energies = [s.energy for s in structures if s.energy is not None]
    write_extxyz(file, [s.atoms for s in structures], energies, [{} for _ in structures])


def _write_json(file: Path, structures: Sequence[Atoms]) -> None:
    """The body of a request."""
    body: list[dict[str, Any]] = [
        {
            "lattice_vectors": atoms.cell.array.tolist(),
            "cartesian_site_positions": atoms.positions.tolist(),
            "species_at_sites": atoms.get_chemical_symbols(),
        }
        for atoms in structures
    ]
    file.write_text(json.dumps({"structures": body}) + "\n", encoding="utf-8")
