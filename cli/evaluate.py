"""``atomscatter evaluate``: errors of a model on labelled structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomscatter.errors import ConfigError
from cli import options
from cli.inputs import ReadingOptions, read_inputs
from cli.models import Model, load_model

if TYPE_CHECKING:
    from service.evaluation import Evaluated


def evaluate(
    data: options.Data,
    model: Model = None,
    as_json: options.AsJson = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="CSV file (.csv) for the energies and the error of each structure. Default: none.",
            show_default=False,
        ),
    ] = None,
    energy_key: options.EnergyKey = None,
    vacuum: options.Vacuum = None,
    skip_bad: options.SkipBad = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare predicted with reference energies (eV in the files, meV/atom in the output)."""
    from service import evaluation
    from service.disk import room_checked
    from service.logs import configure_logging
    from service.progress import progress
    from service.result_files import plain, write_csv
    from service.tables import rich_table, terminal

    configure_logging(options.verbosity(quiet, verbose))
    if output is not None and output.suffix.lower() != ".csv":
        raise ConfigError(f"--output {output}: is written as CSV; give it the ending .csv")
    ensemble = load_model(model)
    reading = ReadingOptions(energy_key=energy_key, vacuum=vacuum, skip_bad=skip_bad)
    structures = read_inputs(data, reading, need_energy=True, scattering=ensemble.scattering)
    with progress("Features", len(structures)) as advance:
        blocks = evaluation.needed_features(ensemble, structures, advance)
        evaluated = evaluation.evaluate_blocks(ensemble, structures, blocks)
    result = evaluation.summary(evaluated)
    result["model"] = ensemble.model_id
    if output is not None:
        with room_checked(output):
            write_csv(output, _columns(evaluated))
    if as_json:
        typer.echo(json.dumps(plain(result), allow_nan=False))
        return
    named = f"model {ensemble.model_id}{' (embedded)' if model is None else ''}"
    title = f"{result['n_structures']} structures, {named}"
    terminal().print(rich_table(title, ("errors (meV/atom)", "averaged model", "folds"), _rows(result)))
    typer.echo(f"{100 * result['extrapolating_share']:.0f} % of the structures are flagged as extrapolating.")


def _columns(evaluated: Evaluated) -> dict[str, list[Any]]:
    """Columns of a CSV file, one row for each structure."""
    from service.evaluation import MEV

    structures = evaluated.structures
    errors = evaluated.predicted - evaluated.energies
    return {
        "file": [s.source for s in structures],
        "index": [s.index for s in structures],
        "formula": [s.atoms.get_chemical_formula() for s in structures],
        "atoms": evaluated.n_atoms.tolist(),
        "reference energy (eV/atom)": evaluated.energies.tolist(),
        "predicted energy (eV/atom)": evaluated.predicted.tolist(),
        "error (meV/atom)": (MEV * errors).tolist(),
        "uncertainty (eV/atom)": evaluated.uncertainty.tolist(),
        "extrapolation score": evaluated.scores.tolist(),
    }


def _rows(result: dict[str, Any]) -> list[list[str]]:
    from service.tables import plus_minus

    names = {"rmse": "RMSE", "mae": "MAE", "max_error": "largest"}
    return [
        [
            shown,
            f"{result['averaged_model'][name]:.2f}",
            plus_minus(result["folds_mean"][name], result["folds_std"][name], 2),
        ]
        for name, shown in names.items()
    ]
