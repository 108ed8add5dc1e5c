"""``atomscatter predict``: energies of structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomscatter.errors import ConfigError
from cli import options
from cli.inputs import ReadingOptions, read_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from atomscatter.ensemble import Prediction
    from service.reading import LabelledStructure


def predict(
    structures: options.Structures,
    model: options.ModelDirectory,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per structure and line; eV and eV/atom.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Extended XYZ file (.extxyz, .xyz) for the structures with their energies (eV, total). "
            "Default: none.",
            show_default=False,
        ),
    ] = None,
    vacuum: options.Vacuum = None,
    skip_bad: options.SkipBad = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Predict energies with their uncertainty (standard deviation over the models)."""
    from atomscatter.ensemble import Ensemble
    from service.logs import configure_logging
    from service.progress import progress
    from service.report import plain, terminal

    configure_logging(options.verbosity(quiet, verbose))
    if output is not None:
        _require_place(output, structures)
    ensemble = Ensemble.load(model)
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
        terminal().print(_table(found, predictions))


def _require_place(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output that would take the place of structures with their reference energies, or that its
    name would make another format for whoever reads it."""
    if output.suffix.lower() not in (".extxyz", ".xyz"):
        raise ConfigError(f"--output {output}: is written as extended XYZ; give it the ending .extxyz")
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


def _table(structures: Sequence[LabelledStructure], predictions: Sequence[Prediction]) -> Table:
    from service.report import rich_table

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
    for s, p in zip(structures, predictions, strict=True):
        formation = p.formation_energy_per_atom
        rows.append(
            [
                f"{Path(s.source).name} {s.index}",
                s.atoms.get_chemical_formula(),
                f"{p.energy:.4f}",
                f"{p.energy_per_atom:.4f}",
                "-" if formation is None else f"{formation:.4f}",
                f"{p.uncertainty:.4f}",
                f"{'yes' if p.extrapolating else 'no'} ({p.extrapolation_score:.1f})",
            ]
        )
    return rich_table(f"model {predictions[0].model}", headers, rows)


def _write(path: Path, structures: Sequence[LabelledStructure], predictions: Sequence[Prediction]) -> None:
    from service.disk import room_checked
    from service.report import write_extxyz

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
