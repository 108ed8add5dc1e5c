"""The demo's run folder: predictions, plots, tables, model card, and where to find them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from atomscatter.ensemble import Ensemble
from service import plots
from service.demo_data import LABELS, LABELS_NOTE, PARENTS_NOTE
from service.evaluation import (
    MEV,
    Errors,
    Evaluated,
    Moduli,
    PropertyErrors,
    barrier_errors,
    bulk_moduli,
    errors_of,
    modulus_errors,
)
from service.model_card import CardExtras, card_json, card_markdown, read_card
from service.model_directory import training_plots
from service.result_files import write_csv, write_extxyz, write_json, write_text
from service.tables import (
    ERROR_HEADERS,
    PROPERTY_HEADERS,
    error_rows,
    errors_json,
    markdown_table,
    property_json,
    property_rows,
    rich_table,
)
from service.training import TrainingReport

NOTES = (
    "Mean ± standard deviation over the folds. Relaxation paths are predicted by the fold that did not train "
    "on them, the other sets by each fold.",
    PARENTS_NOTE,
    LABELS_NOTE,
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo found; everything else is in the run folder."""

    directory: Path
    model_id: str
    errors: list[Errors]
    properties: list[PropertyErrors]
    n_selected: float
    """Features of a model, mean M*."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each stage."""


def write_results(
    directory: Path, ensemble: Ensemble, training: TrainingReport, evaluated: Mapping[str, Evaluated]
) -> DemoResult:
    """Write predictions, plots, tables and model card.

    Args:
        directory: the run folder; the model was saved in its "model".
        ensemble: the model.
        training: its errors.
        evaluated: "paths", "large", "bulk" and "diffusion".
    """
    paths, large = evaluated["paths"], evaluated["large"]
    path_ids = [s.path_id for s in paths.structures]
    folds = dict(zip(path_ids, training.fold_of_structure.tolist(), strict=True))
    errors = [
        errors_of("relaxation paths", paths),
        errors_of("diffusion", evaluated["diffusion"], fold_of_path=folds),
        errors_of("large states", large, fold_of_path=folds),
        *(
            errors_of(kind, large.where("kind", kind), part=True, fold_of_path=folds)
            for kind in ("scratch", "2x1x1", "2x2x2")
        ),
        errors_of("bulk modulus", evaluated["bulk"], fold_of_path=folds),
    ]
    migrations = evaluated["diffusion"].groups("mep")
    strains = evaluated["bulk"].groups("path_id")
    moduli = bulk_moduli(strains)
    properties = [barrier_errors(migrations), modulus_errors(moduli)]
    result = DemoResult(directory, ensemble.model_id, errors, properties, float(np.mean(training.n_selected)))
    for name, part in evaluated.items():
        write_predictions(directory / "predictions" / name, ensemble, part)
    _write_plots(directory / "plots", training, paths, migrations, strains, moduli)
    _write_tables(directory, result)
    return result


def write_timings(directory: Path, seconds: Mapping[str, float]) -> None:
    """Write the wall time of each stage."""
    write_json(directory / "timings.json", {"unit": "s", "stages": seconds})


def write_predictions(stem: Path, ensemble: Ensemble, part: Evaluated) -> None:
    """Write ``stem``.csv and ``stem``.extxyz, one entry for each structure."""
    columns: dict[str, Any] = {"structure": range(len(part.structures)), "path_id": part.info("path_id")}
    for key in ("kind", "alpha", "step", "image", "mep", "strain"):
        if any(value != "" for value in part.info(key)):
            columns[key] = part.info(key)
    atoms = [s.atoms for s in part.structures]
    formation = [ensemble.formation_energy(a, e) for a, e in zip(atoms, part.predicted.tolist(), strict=True)]
    columns |= {
        "n_atoms": part.n_atoms,
        "reference energy (eV/atom)": part.energies.round(6),
        "predicted energy (eV/atom)": part.predicted.round(6),
        "predicted formation energy (eV/atom)": ["" if f is None else round(f, 6) for f in formation],
        "error (meV/atom)": ((part.predicted - part.energies) * MEV).round(3),
        "uncertainty (meV/atom)": (part.uncertainty * MEV).round(3),
        "extrapolation score": part.scores.round(3),
    }
    if part.test_fold is not None:
        columns["predicted by fold"] = part.test_fold
    write_csv(stem.with_suffix(".csv"), columns)
    infos = (
        {"uncertainty_per_atom": float(u), "extrapolation_score": float(s), "reference_energy": float(e)}
        for u, s, e in zip(part.uncertainty, part.scores, part.energies * part.n_atoms, strict=True)
    )
    write_extxyz(stem.with_suffix(".extxyz"), atoms, (part.predicted * part.n_atoms).tolist(), infos)


def _write_plots(
    directory: Path,
    training: TrainingReport,
    paths: Evaluated,
    migrations: Iterable[Evaluated],
    strains: Iterable[Evaluated],
    moduli: Moduli,
) -> None:
    colours = plots.Colours(np.array(paths.info("alpha"), dtype=float), "lithium content α")
    training_plots(training, directory, colours)
    curves = [
        plots.EnergyVolume(float(s.info("alpha")[0]), s.volumes / s.n_atoms, s.energies, s.folds)
        for s in strains
    ]
    plots.energy_volume(sorted(curves, key=lambda c: c.alpha), moduli, directory / "bulk_moduli.png")
    energies = [
        plots.MigrationPath(
            f"path {int(m.info('mep')[0]) + 1}, Li$_{{{m.info('alpha')[0]:.1f}}}$Si",
            m.energies * m.n_atoms,
            m.folds * m.n_atoms,
        )
        for m in migrations
    ]
    plots.migration_paths(energies, directory / "migration_paths.png")


def _write_tables(directory: Path, result: DemoResult) -> None:
    extras = CardExtras(NOTES, result.errors, result.properties, LABELS)
    card = read_card(directory / "model")
    write_json(directory / "model_card.json", card_json(card, extras))
    write_text(directory / "model_card.md", card_markdown(card, extras))
    table = {
        "model": result.model_id,
        "labels": LABELS,
        "features_per_model": result.n_selected,
        "energies": [errors_json(e) for e in result.errors],
        "properties": [property_json(p) for p in result.properties],
        "notes": NOTES,
    }
    write_json(directory / "table.json", table)
    parts = [
        markdown_table(ERROR_HEADERS, error_rows(result.errors)),
        markdown_table(PROPERTY_HEADERS, property_rows(result.properties)),
        f"Features per model (M*): {result.n_selected:.0f} on average. Model {result.model_id}.\n",
        *(f"{note}\n" for note in NOTES),
    ]
    write_text(directory / "table.md", "\n".join(parts))


def print_result(console: Console, result: DemoResult) -> None:
    """Show the tables, the times, and what to do next."""
    directory = result.directory
    title = f"Errors, labels: {LABELS}"
    console.print()
    console.print(rich_table(title, ERROR_HEADERS, error_rows(result.errors)))
    console.print(rich_table("", PROPERTY_HEADERS, property_rows(result.properties)))
    failed = sum(p.failed for p in result.properties)
    if failed:
        console.print(
            f"{failed} E(V) curves of the folds have no modulus: no minimum well among the strains."
        )
    console.print(f"Features per model (M*): {result.n_selected:.0f} on average.")
    for note in NOTES:
        console.print(note, style="dim")
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    console.print(f"\nTime: {stages}; {sum(result.seconds.values()):.0f} s in all.")
    console.print(
        f"Results are in {directory}/: table.md, model_card.md, plots/, predictions/, model/, features/\n"
    )
    console.print("Next, predict your own structures (any format ASE reads) with this model:")
    console.print(f"  atomscatter predict --model {directory}/model YOUR_FILE", highlight=False)
    console.print("or train on your own data:", highlight=False)
    console.print("  atomscatter featurize YOUR_DATA --store features --path-per-file", highlight=False)
    console.print(
        "  (or, where one file holds several relaxation paths, --path-key INFO_KEY)", highlight=False
    )
    console.print("  atomscatter train --store features --model model", highlight=False)
