"""The numbers of the paper's tables and figures, of one trained ensemble, as JSON values.

Errors per atom are in meV/atom, other energies in eV; mean and standard deviation are over the test folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from atomscatter.learning_curves import SHOWN_SIZES
from service.evaluation import (
    Errors,
    Evaluated,
    barrier_errors,
    bulk_moduli,
    errors_of,
    parents_held_out,
)
from service.result_files import plain
from service.training import TrainingReport

MEV = 1000.0
SETS = ("diffusion", "large", "bulk")
LARGE_KINDS = ("scratch", "2x1x1", "2x2x2")


def results_of(
    training: TrainingReport, path_ids: Sequence[str], evaluated: Mapping[str, Evaluated]
) -> dict[str, Any]:
    """All numbers.

    Args:
        training: the report, whose ``others`` holds the structures of SETS one after the other.
        path_ids: relaxation path of each training structure.
        evaluated: the structures of each of SETS with their predictions.
    """
    folds = dict(zip(path_ids, training.fold_of_structure.tolist(), strict=True))
    values = {
        "n_models": len(training.n_selected),
        "n_structures": len(path_ids),
        "n_paths": len(folds),
        "n_selected": {"mean": training.n_selected.mean(), "std": training.n_selected.std()},
        "training_seconds": training.seconds,
        "errors": [_paths(training), *(_errors(*s, folds) for s in named_sets(evaluated))],
        "barriers": barriers(evaluated["diffusion"], folds),
        "migration_paths": migration_paths(evaluated["diffusion"], training),
        "moduli": moduli(evaluated["bulk"], folds),
        "energy_volume": energy_volume(evaluated["bulk"]),
        "curves": learning_curves(training, evaluated),
    }
    return {name: plain(value) for name, value in values.items()}


def named_sets(evaluated: Mapping[str, Evaluated]) -> Iterator[tuple[str, Evaluated]]:
    """Rows of Table I after the first, and the parts of the large states."""
    large = evaluated["large"]
    yield "diffusion", evaluated["diffusion"]
    yield "large states", large
    for kind in LARGE_KINDS:
        yield kind, large.where("kind", kind)
    yield "bulk modulus", evaluated["bulk"]


def _paths(training: TrainingReport) -> dict[str, Any]:
    rmse, mae = (np.array([getattr(f, name) for f in training.folds]) for name in ("rmse", "mae"))
    return _row(Errors("relaxation paths", len(training.energies), rmse, mae, float("nan")))


def _errors(name: str, part: Evaluated, folds: Mapping[str, int]) -> dict[str, Any]:
    return _row(errors_of(name, part, fold_of_path=folds))


def _row(errors: Errors) -> dict[str, Any]:
    held_out = errors.held_out_rmse
    return {
        "set": errors.name,
        "n": errors.n,
        "rmse": errors.rmse * MEV,
        "mae": errors.mae * MEV,
        "held_out_rmse": None if held_out is None else held_out * MEV,
        "flagged": errors.extrapolating,
    }


def barriers(diffusion: Evaluated, folds: Mapping[str, int]) -> dict[str, Any]:
    """Table II: each barrier by reference, averaged model, folds, and the fold without the parent, eV; and
    the correlation of its images' energies, reference and averaged model."""
    paths = diffusion.groups("mep")
    errors = barrier_errors(paths)

    def height(energies: np.ndarray, part: Evaluated) -> float:
        return float(np.ptp(energies * part.n_atoms))

    held_out = [parents_held_out(path, folds) for path in paths]
    return {
        "alpha": [path.info("alpha")[0] for path in paths],
        "reference": [height(path.energies, path) for path in paths],
        "model": [height(path.predicted, path) for path in paths],
        "folds": [[height(energies, path) for energies in path.folds] for path in paths],
        "held_out": [None if part is None else height(part.predicted, part) for part in held_out],
        "profile": [np.corrcoef(path.energies, path.predicted)[0, 1] for path in paths],
        "mae": errors.averaged,
        "fold_mae": errors.mae,
    }


def migration_paths(diffusion: Evaluated, training: TrainingReport) -> list[dict[str, Any]]:
    """Fig. 7: total energies along each path, eV; of the models cut at 1 and at SHOWN_SIZES
    features, too."""
    cut = fold_means(training)  # diffusion comes first among the other structures
    shown = {
        size: cut[:, i, : len(diffusion.predicted)].mean(axis=0)
        for i, size in enumerate(training.sizes.tolist())
        if size in (1, *SHOWN_SIZES)
    }
    meps = np.array(diffusion.info("mep"))
    found = []
    for mep in np.unique(meps):
        rows = np.flatnonzero(meps == mep)
        path = diffusion.rows(rows.tolist())
        found.append(
            {
                "alpha": path.info("alpha")[0],
                "reference": path.energies * path.n_atoms,
                "model": path.predicted * path.n_atoms,
                "folds": path.folds * path.n_atoms,
                "cut": {size: energies[rows] * path.n_atoms for size, energies in shown.items()},
            }
        )
    return found


def moduli(bulk: Evaluated, folds: Mapping[str, int]) -> dict[str, Any]:
    """Fig. 10 (left): bulk moduli, GPa, and their errors in GPa and percent."""
    found = bulk_moduli(sorted(bulk.groups("path_id"), key=lambda s: s.info("alpha")[0]))
    by_fold = [found.mean_errors(values) for values in found.folds]
    values: dict[str, Any] = {
        "alpha": found.alpha,
        "reference": found.reference,
        "model": found.averaged,
        "folds": found.folds,
        "fold_mae_gpa": [e[0] for e in by_fold],
        "fold_mae_percent": [e[1] for e in by_fold],
        "without": int(np.isnan(found.averaged).sum()),
    }
    values["mae_gpa"], values["mae_percent"] = found.mean_errors(found.averaged)
    part = parents_held_out(bulk, folds)
    if part is not None:
        held_out = bulk_moduli(sorted(part.groups("path_id"), key=lambda s: s.info("alpha")[0]))
        errors = held_out.mean_errors(held_out.averaged)
        values["held_out_mae_gpa"], values["held_out_mae_percent"] = errors
    return values


def energy_volume(bulk: Evaluated) -> list[dict[str, Any]]:
    """Fig. 9: energies of the strained structures, eV/atom, against A^3/atom."""
    series = sorted(bulk.groups("path_id"), key=lambda s: s.info("alpha")[0])
    found = []
    for one in series:
        order = np.argsort(one.volumes)
        found.append(
            {
                "alpha": one.info("alpha")[0],
                "volume": (one.volumes / one.n_atoms)[order],
                "reference": one.energies[order],
                "folds": one.folds[:, order],
            }
        )
    return found


def learning_curves(training: TrainingReport, evaluated: Mapping[str, Evaluated]) -> dict[str, Any]:
    """Figs. 5, 6, 8 and 10 (right): RMSE against the number of features, meV/atom.

    ``single``: mean over the models of their own RMSE. ``folds``: RMSE of the averaged model of each fold,
    every model cut at that size, shape (n_folds, n_sizes).
    """
    means = fold_means(training)
    single, folds = {}, {}
    for name, rows, energies in _places(evaluated):
        with np.errstate(over="ignore"):
            errors = training.others[:, :, rows] - energies
            single[name] = MEV * np.nanmean(np.sqrt(np.mean(errors**2, axis=2)), axis=0)
            folds[name] = MEV * np.sqrt(np.mean((means[:, :, rows] - energies) ** 2, axis=2))
    return {
        "sizes": training.sizes,
        "train": MEV * training.train_rmse,
        "validation": MEV * training.oob_rmse,
        "test": MEV * training.test_rmse,
        "n_selected": training.n_selected,
        "single": single,
        "folds": folds,
    }


def fold_means(training: TrainingReport) -> np.ndarray:
    """Mean over the models of each fold, shape (n_folds, n_sizes, n_others), eV/atom."""
    n_folds = len(training.folds)
    by_fold = training.others.reshape(n_folds, -1, *training.others.shape[1:])
    return np.nanmean(by_fold, axis=1)


def _places(evaluated: Mapping[str, Evaluated]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name of each set or part, its places among the other structures, and its reference energies."""
    start = 0
    for name in SETS:
        part = evaluated[name]
        rows = start + np.arange(len(part.predicted))
        yield name, rows, part.energies
        if name == "large":
            kinds = np.array(part.info("kind"))
            for kind in LARGE_KINDS:
                yield kind, rows[kinds == kind], part.energies[kinds == kind]
        start += len(rows)
