"""Errors of a linear model on all sets, and the tables that compare several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from common import table
from peer_fits import Sets

from atomscatter.ensemble import Ensemble
from service.evaluation import barrier_errors, bulk_moduli, errors_of, modulus_errors
from service.tables import errors_json, property_json
from service.training import TrainingData

ENERGY_COLUMNS = (
    "relaxation paths",
    "diffusion",
    "large states",
    "scratch",
    "2x1x1",
    "2x2x2",
    "bulk modulus",
)


def errors(
    sets: Sets, predicted: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """Every error, as in the tables of the demo; arguments as for :meth:`Sets.evaluated`."""
    evaluated = sets.evaluated(predicted, scores)
    large, strains = evaluated["large"], evaluated["bulk"].groups("path_id")
    energies = [
        errors_of("relaxation paths", evaluated["paths"]),
        errors_of("diffusion", evaluated["diffusion"], fold_of_path=sets.fold_of_path),
        errors_of("large states", large, fold_of_path=sets.fold_of_path),
        *(
            errors_of(kind, large.where("kind", kind), part=True, fold_of_path=sets.fold_of_path)
            for kind in ("scratch", "2x1x1", "2x2x2")
        ),
        errors_of("bulk modulus", evaluated["bulk"], fold_of_path=sets.fold_of_path),
    ]
    moduli = bulk_moduli(strains)
    percent = np.array([moduli.mean_errors(values)[1] for values in moduli.folds])
    properties = [barrier_errors(evaluated["diffusion"].groups("mep")), modulus_errors(moduli)]
    rows = [errors_json(e) for e in energies]
    if scores is None:
        for row in rows:
            del row["extrapolating_share"]
    return {
        "energies": rows,
        "properties": [property_json(p) for p in properties],
        "modulus_mae_percent": {"mean": float(percent.mean()), "std": float(percent.std())},
    }


def moves_of_copies(weights: np.ndarray, data: TrainingData, fold_of_path: Mapping[str, int]):
    """By how much energies of held-out structures move with the grids, rms and largest, eV/atom.

    ``weights``: as of :func:`fold_weights`; ``data`` has translated copies.
    """
    folds = np.array([fold_of_path[path] for path in data.difference_paths])
    moved = np.einsum("nd,nd->n", data.differences, weights[folds])
    return {"rms": float(np.sqrt(np.mean(moved**2))), "largest": float(np.abs(moved).max())}


def fold_weights(ensemble: Ensemble) -> np.ndarray:
    """Weights of the averaged model of each fold, shape (n_folds, n_features), eV/atom per unit."""
    folds = np.unique(ensemble.fold)
    return np.array([ensemble.weights[ensemble.fold == fold].mean(axis=0) for fold in folds])


def plus_minus(entry: Mapping[str, float], name: str, digits: int = 1) -> str:
    return f"{entry[f'{name}_mean']:.{digits}f} ± {entry[f'{name}_std']:.{digits}f}"


def error_table(rows: Sequence[Mapping[str, Any]], error: str, leading: Mapping[str, str]) -> str:
    """Energies, meV/atom.

    Args:
        rows: of models; each has what :func:`errors` gives.
        error: rmse or mae.
        leading: the columns that come first, by header, and the entries of a row that they show.
    """
    lines = []
    for row in rows:
        of_set = {e["set"]: plus_minus(e, error) for e in row["energies"]}
        lines.append([*(row[key] for key in leading.values()), *(of_set[name] for name in ENERGY_COLUMNS)])
    return table([*leading, *ENERGY_COLUMNS], lines)


def held_out_table(rows: Sequence[Mapping[str, Any]], leading: Mapping[str, str]) -> str:
    """RMSE of the sets that derive from the paths, each structure predicted only by the fold that did not
    train on its parent, meV/atom; arguments as of :func:`error_table`."""
    names = [e["set"] for e in rows[0]["energies"] if e["rmse_mean_parents_held_out"] is not None]
    lines = []
    for row in rows:
        of_set = {e["set"]: e["rmse_mean_parents_held_out"] for e in row["energies"]}
        lines.append([*(row[key] for key in leading.values()), *(f"{of_set[name]:.1f}" for name in names)])
    return table([*leading, *names], lines)


def extrapolation_table(rows: Sequence[Mapping[str, Any]], leading: Mapping[str, str]) -> str:
    """Share of the structures that a model flags as extrapolating, percent, of the models that can;
    arguments as of :func:`error_table`."""
    lines = []
    for row in rows:
        of_set = {e["set"]: e.get("extrapolating_share") for e in row["energies"]}
        if None not in of_set.values():
            shown = (f"{100 * of_set[name]:.0f}" for name in ENERGY_COLUMNS)
            lines.append([*(row[key] for key in leading.values()), *shown])
    return table([*leading, *ENERGY_COLUMNS], lines) if lines else "None of these rows has it."


def property_table(rows: Sequence[Mapping[str, Any]], leading: Mapping[str, str]) -> str:
    """Barriers and bulk moduli; arguments as of :func:`error_table`."""
    header = [
        "barrier MAE (eV)",
        "bulk modulus MAE (GPa)",
        "of the modulus (%)",
        "curves without minimum, all folds",
    ]
    lines = []
    for row in rows:
        barriers, moduli = row["properties"]
        percent = {f"mae_{k}": v for k, v in row["modulus_mae_percent"].items()}
        shown = plus_minus(barriers, "mae", 2), plus_minus(moduli, "mae"), plus_minus(percent, "mae")
        lines.append([*(row[key] for key in leading.values()), *shown, moduli["failed_fits"]])
    return table([*leading, *header], lines)
