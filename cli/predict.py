"""``atomscatter predict``: energies of structures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomscatter.errors import ConfigError
from cli import options
from cli.inputs import ReadingOptions, read_inputs
from cli.models import Model, load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from atomscatter.ensemble import Prediction
    from service.reading import LabelledStructure


def predict(
    structures: options.Structures,
    model: Model = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per structure and line; eV and eV/atom.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write: .extxyz or .xyz for the structures with their energies (eV, total), as "
            "extended XYZ; .csv for a table. Default: none.",
            show_default=False,
        ),
    ] = None,
    vacuum: options.Vacuum = None,
    skip_bad: options.SkipBad = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict energies with their uncertainty (standard deviation over the models)."""
    from service.logs import configure_logging
    from service.progress import progress
    from service.result_files import plain
    from service.tables import terminal

    configure_logging(options.verbosity(quiet, verbose))
    if output is not None:
        _require_place(output, structures)
    ensemble = load_model(model)
    reading = ReadingOptions(vacuum=vacuum, skip_bad=skip_bad)
    found = read_inputs(structures, reading, need_energy=False, scattering=ensemble.scattering)
    predictions = []
    with progress("Predicting", len(found)) as advance:
        for structure in found:
            predictions.append(ensemble.predict(structure.atoms))
            advance()
    if output is not None:
        _write(output, found, predictions)
    if as_json:
        for structure, prediction in zip(found, predictions, strict=True):
            typer.echo(json.dumps(plain(_record(structure, prediction)), allow_nan=False))
    elif output is None or not quiet:
        title = f"model {ensemble.model_id}{' (embedded)' if model is None else ''}"
        terminal().print(_table(title, found, predictions))


def _require_place(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output that would take the place of structures with their reference energies, or that its
    name would make another format for whoever reads it."""
    if output.suffix.lower() not in (".extxyz", ".xyz", ".csv"):
        raise ConfigError(
            f"--output {output}: is written as extended XYZ or as CSV; give it the ending .extxyz or .csv"
        )
    there = output.resolve()
    if there.exists() and any(given.resolve() in (there, *there.parents) for given in inputs):
        raise ConfigError(f"--output {output}: is one of the files that are read; choose another name")


def _record(structure: LabelledStructure, prediction: Prediction) -> dict[str, Any]:
    return {
        "n_atoms": prediction.n_atoms,
        "energy": prediction.energy,
        "energy_per_atom": prediction.energy_per_atom,
        "formation_energy_per_atom": prediction.formation_energy_per_atom,
        "uncertainty": prediction.uncertainty,
        "extrapolating": prediction.extrapolating,
        "extrapolation_score": prediction.extrapolation_score,
        "model": prediction.model,
        "source": structure.source,
        "index": structure.index,
    }


def _names(structures: Sequence[LabelledStructure]) -> list[str]:
    """File and index of each structure; where files of two folders have one name, with the folders."""
    paths = {s.source: Path(s.source).absolute() for s in structures}
    names = {source: path.name for source, path in paths.items()}
    if len(set(names.values())) < len(names):
        common = os.path.commonpath([path.parent for path in paths.values()])
        names = {source: str(path.relative_to(common)) for source, path in paths.items()}
    return [f"{names[s.source]} {s.index}" for s in structures]


def _table(title: str, structures: Sequence[LabelledStructure], predictions: Sequence[Prediction]) -> Table:
    from service.tables import rich_table

    headers = (
        "structure",
        "formula",
        "energy\n(eV)",
        "energy\n(eV/atom)",
        "formation\n(eV/atom)",
        "uncertainty\n(eV/atom)",
        "extrapolates\n(score)",
    )
    rows = []
    for name, s, p in zip(_names(structures), structures, predictions, strict=True):
        formation = p.formation_energy_per_atom
        rows.append(
            [
                name,
                s.atoms.get_chemical_formula(),
                f"{p.energy:.4f}",
                f"{p.energy_per_atom:.4f}",
                "-" if formation is None else f"{formation:.4f}",
                f"{p.uncertainty:.4f}",
                f"{'yes' if p.extrapolating else 'no'} ({p.extrapolation_score:.1f})",
            ]
        )
    return rich_table(title, headers, rows)


def _columns(
    structures: Sequence[LabelledStructure], predictions: Sequence[Prediction]
) -> dict[str, list[Any]]:
    """Columns of a CSV file; what is not known is empty."""
    return {
        "file": [s.source for s in structures],
        "index": [s.index for s in structures],
        "formula": [s.atoms.get_chemical_formula() for s in structures],
        "atoms": [p.n_atoms for p in predictions],
        "energy (eV)": [p.energy for p in predictions],
        "energy (eV/atom)": [p.energy_per_atom for p in predictions],
        "formation energy (eV/atom)": [p.formation_energy_per_atom for p in predictions],
        "uncertainty (eV/atom)": [p.uncertainty for p in predictions],
        "extrapolating": [p.extrapolating for p in predictions],
        "extrapolation score": [p.extrapolation_score for p in predictions],
        "model": [p.model for p in predictions],
    }


def _write(path: Path, structures: Sequence[LabelledStructure], predictions: Sequence[Prediction]) -> None:
    from service.disk import room_checked
    from service.result_files import write_csv, write_extxyz

    if path.suffix.lower() == ".csv":
        with room_checked(path):
            write_csv(path, _columns(structures, predictions))
        return
    infos = (
        {
            "uncertainty_per_atom": p.uncertainty,
            "extrapolating": p.extrapolating,
            "extrapolation_score": p.extrapolation_score,
            "model": p.model,
        }
        for p in predictions
    )
    with room_checked(path):
        write_extxyz(path, [s.atoms for s in structures], [p.energy for p in predictions], infos)
