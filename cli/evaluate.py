"""``atomscatter evaluate``: errors of a model on labelled structures."""

from __future__ import annotations

import json
from typing import Any

import typer

from cli import options
from cli.inputs import ReadingOptions, read_inputs


def evaluate(
    data: options.Data,
    model: options.ModelDirectory,
    as_json: options.AsJson = False,
    energy_key: options.EnergyKey = None,
    vacuum: options.Vacuum = None,
    skip_bad: options.SkipBad = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare predicted with reference energies (eV in the files, meV/atom in the output)."""
    from atomscatter.ensemble import Ensemble
    from service import evaluation
    from service.logs import configure_logging
    from service.progress import progress
    from service.report import plain, rich_table, terminal

    configure_logging(options.verbosity(quiet, verbose))
    ensemble = Ensemble.load(model)
    reading = ReadingOptions(energy_key=energy_key, vacuum=vacuum, skip_bad=skip_bad)
    structures = read_inputs(data, reading, need_energy=True, scattering=ensemble.scattering)
    with progress("Features", len(structures)) as advance:
        blocks = evaluation.needed_features(ensemble, structures, advance)
        evaluated = evaluation.evaluate_blocks(ensemble, structures, blocks)
    result = evaluation.summary(evaluated)
    result["model"] = ensemble.model_id
    if as_json:
        typer.echo(json.dumps(plain(result), allow_nan=False))
        return
    title = f"{result['n_structures']} structures, model {ensemble.model_id}"
    terminal().print(rich_table(title, ("errors (meV/atom)", "averaged model", "folds"), _rows(result)))
    typer.echo(f"{100 * result['extrapolating_share']:.0f} % of the structures are flagged as extrapolating.")


def _rows(result: dict[str, Any]) -> list[list[str]]:
    from service.report import plus_minus

    names = {"rmse": "RMSE", "mae": "MAE", "max_error": "largest"}
    return [
        [
            shown,
            f"{result['averaged_model'][name]:.2f}",
            plus_minus(result["folds_mean"][name], result["folds_std"][name], 2),
        ]
        for name, shown in names.items()
    ]
