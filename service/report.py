"""Errors of a model as tables, files and a readable model card.

Energies are eV/atom unless a name or docstring says otherwise; standard deviations are those over the test
folds.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from atomscatter.ensemble import Ensemble
from atomscatter.errors import DataError, ModelError
from atomscatter.model_files import CARD_FILE, WEIGHTS_FILE
from service.disk import room_checked
from service.evaluation import MEV, Errors, PropertyErrors

if TYPE_CHECKING:
    from service import plots
    from service.training import TrainingReport

Float = NDArray[np.float64]
Int = NDArray[np.int64]

REPORT_DIRECTORY = "report"


# Tables


def errors_json(e: Errors) -> dict[str, Any]:
    """JSON values; errors in meV/atom."""
    return {
        "set": e.name,
        "n_structures": e.n,
        "rmse_mean": float(e.rmse.mean() * MEV),
        "rmse_std": float(e.rmse.std() * MEV),
        "mae_mean": float(e.mae.mean() * MEV),
        "mae_std": float(e.mae.std() * MEV),
        "rmse_mean_parents_held_out": None
        if e.held_out_rmse is None
        else float(e.held_out_rmse.mean() * MEV),
        "unit": "meV/atom",
        "extrapolating_share": e.extrapolating,
    }


def property_json(e: PropertyErrors) -> dict[str, Any]:
    """JSON values, in the unit of the property."""
    mean, std = _mean_std(e.mae)
    return {
        "property": e.name,
        "n": e.n,
        "mae_mean": mean,
        "mae_std": std,
        "mae_averaged_model": e.averaged,
        "unit": e.unit,
        "failed_fits": e.failed,
    }


def _mean_std(values: Float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.mean()), float(known.std())) if len(known) else (math.nan, math.nan)


def plus_minus(mean: float, std: float, digits: int = 1) -> str:
    """'7.4 ± 0.4'; numbers too large for that in powers of ten."""
    if not math.isfinite(mean):
        return "not finite"
    if abs(mean) >= 1e5:
        return f"{mean:.1e} ± {std:.1e}"
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def error_rows(errors: Iterable[Errors]) -> list[list[str]]:
    """Cells of the error table: set, number, RMSE, MAE, RMSE with parents held out (meV/atom), flagged."""
    rows = []
    for e in errors:
        values = [
            "" if v is None else plus_minus(float(v.mean() * MEV), float(v.std() * MEV))
            for v in (e.rmse, e.mae, e.held_out_rmse)
        ]
        name = f"  {e.name}" if e.part else e.name
        rows.append([name, str(e.n), *values, f"{100 * e.extrapolating:.0f} %"])
    return rows


def property_rows(errors: Iterable[PropertyErrors]) -> list[list[str]]:
    """Cells of the table of properties: name, number, MAE over the folds, MAE of the averaged model."""
    rows = []
    for e in errors:
        digits = 2 if e.unit == "eV" else 1
        mean, std = _mean_std(e.mae)
        spread = plus_minus(mean, std, digits)
        averaged = f"{e.averaged:.{digits}f} {e.unit}" if math.isfinite(e.averaged) else "no value"
        rows.append([e.name, str(e.n), f"{spread} {e.unit}", averaged])
    return rows


ERROR_HEADERS = (
    "set",
    "structures",
    "RMSE\n(meV/atom)",
    "MAE\n(meV/atom)",
    "RMSE, parents held\nout (meV/atom)",
    "flagged as\nextrapolating",
)
PROPERTY_HEADERS = ("property", "number", "MAE, folds", "MAE, averaged model")


def terminal() -> Console:
    """Standard output; wide enough to cut nothing where it is a file or a pipe.

    Text is shown as it is: brackets and colons in the names of files are no markup.
    """
    return Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)


def rich_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for the terminal; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same as markdown."""
    lines = [" | ".join(headers).replace("\n", " "), " | ".join(["---"] + ["---:"] * (len(headers) - 1))]
    lines += [" | ".join(cell.replace("  ", "&nbsp;&nbsp;", 1) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def fold_table(training: TrainingReport) -> Table:
    """Errors of each fold on its test paths, for the terminal."""
    rows = [
        [str(f.fold), str(f.n_paths), str(f.n_structures), f"{f.rmse * MEV:.2f}", f"{f.mae * MEV:.2f}"]
        for f in training.folds
    ]
    totals = [np.array([getattr(f, name) for f in training.folds]) * MEV for name in ("rmse", "mae")]
    rows.append(["mean ± std", "", "", *(plus_minus(float(v.mean()), float(v.std()), 2) for v in totals)])
    headers = ("fold", "test paths", "structures", "RMSE (meV/atom)", "MAE (meV/atom)")
    selected = f"features per model: {training.n_selected.mean():.0f} on average"
    return rich_table(f"Errors on held-out relaxation paths; {selected}", headers, rows)


# Model card


@dataclass(frozen=True)
class CardExtras:
    """What a model card says beyond the model itself."""

    notes: Sequence[str] = ()
    errors: Sequence[Errors] = ()
    properties: Sequence[PropertyErrors] = ()
    labels: str = "as given with the training data"


def card_json(card: Mapping[str, Any], extras: CardExtras) -> dict[str, Any]:
    """The stored card with results, as JSON values."""
    return {
        **card,
        "labels": extras.labels,
        "notes": list(extras.notes),
        "results": {
            "energies": [errors_json(e) for e in extras.errors],
            "properties": [property_json(p) for p in extras.properties],
        },
    }


def card_markdown(card: Mapping[str, Any], extras: CardExtras) -> str:
    """The model card for readers."""
    training = card["training"]
    settings, errors, environment = training["settings"], training["errors"], training["environment"]
    scattering = card["scattering"]
    lines = [
        f"# Model {card['model_id']}",
        "",
        "Energy of a periodic structure: the mean of sparse linear models over wavelet scattering features. "
        "The spread of the models is given as the uncertainty.",
        "",
        "| | |",
        "| --- | --- |",
        f"| training data | {training['n_structures']} structures in {training['n_paths']} paths |",
        f"| labels | {extras.labels} |",
        f"| data hash | `{card['data_hash'][:16]}` |",
        f"| models | {settings['folds']} folds, {_models_per_fold(settings)} each, "
        f"selection {settings['selection']}, orders {settings['orders']}, {_channels(settings)}"
        f"seed {settings['seed']} |",
        f"| features per model ({_size_name(settings)}) | {errors['n_selected_mean']:.0f} ± "
        f"{errors['n_selected_std']:.0f}, at most {settings['max_features']} |",
        f"| transform | beta {scattering['beta']} Angstrom, {scattering['scales']} scales, "
        f"n = {scattering['n']}, powers {', '.join(f'{q:.4g}' for q in scattering['powers'])}, "
        f"{scattering['precision']} precision, {_origin(scattering)}{_products(scattering)} |",
        f"| transform hash | `{card['scattering_hash'][:16]}` |",
        f"| reference energies (eV/atom) | {_references(card.get('reference_energies'))} |",
        f"| error on held-out paths (meV/atom) | RMSE {_mev(errors, 'rmse')}, MAE {_mev(errors, 'mae')} |",
        f"| made | {environment['date']}, {_versions(environment)} |",
        f"| machine | {environment['processor']}, {environment['cores']} cores, "
        f"{environment['memory_gib']} GiB |",
        f"| training time | {environment.get('seconds', float('nan')):.0f} s |",
        "",
    ]
    if extras.errors:
        lines += ["## Errors (mean ± standard deviation over the folds)", ""]
        lines += [markdown_table(ERROR_HEADERS, error_rows(extras.errors))]
    if extras.properties:
        lines += [markdown_table(PROPERTY_HEADERS, property_rows(extras.properties))]
    lines += [f"{note}\n" for note in extras.notes]
    return "\n".join(lines)


def _models_per_fold(settings: Mapping[str, Any]) -> str:
    if settings["selection"] == "bagged":
        return f"{settings['bootstraps']} bootstraps"
    from service.training import NESTED_SPLITS  # with the kernels, which tables do not need

    return f"{NESTED_SPLITS} nested splits"


def _size_name(settings: Mapping[str, Any]) -> str:
    factor = settings.get("size_factor", 1.0)  # which models trained by earlier versions do not have
    return "M*" if factor == 1 else f"M* times {factor:g}"


def _channels(settings: Mapping[str, Any]) -> str:
    seen, every = (settings.get(name) for name in ("channels_seen", "channels"))  # None: an earlier version's
    return "" if seen == every else f"{seen} of {every} channels for each model, "


def _origin(scattering: Mapping[str, Any]) -> str:
    moving = scattering.get("origin", "cell") == "atoms"  # which earlier versions do not have
    return "grids move with the atoms" if moving else "grids stay in the cell"


def _products(scattering: Mapping[str, Any]) -> str:
    products = scattering.get("products")
    if products is None:
        return ""
    widths = ", ".join(f"{width:g}" for width in products["widths"])
    return f", products at the atoms of widths {widths} Angstrom, n = {products['n']}"


def _mev(errors: Mapping[str, Any], name: str) -> str:
    return plus_minus(errors[f"{name}_mean"] * MEV, errors[f"{name}_std"] * MEV, 2)


def _references(references: Mapping[str, float] | None) -> str:
    if not references:
        return "none: formation energies are not given"
    return ", ".join(f"{symbol} {energy:.6g}" for symbol, energy in sorted(references.items()))


def _versions(environment: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in environment["versions"].items())


# Files


def require_model_place(directory: Path) -> None:
    """Refuse, before anything is computed, a directory that a model must not be written to.

    Raises:
        ModelError: it is a file, or holds something that is not a model.
    """
    if not directory.exists():
        return
    names = {entry.name for entry in directory.iterdir()} if directory.is_dir() else {directory.name}
    if names and not (CARD_FILE in names and names <= {CARD_FILE, WEIGHTS_FILE, REPORT_DIRECTORY}):
        raise ModelError(f"{directory} exists and is not a model directory; it is left alone")


def replace_model(ensemble: Ensemble, directory: Path) -> None:
    """Write a model; the report of one that was there goes.

    Raises:
        ModelError: see :func:`require_model_place`.
        StoreError: the disk is full or cannot be written; the model is there as a whole or not at all.
    """
    require_model_place(directory)
    with room_checked(directory):
        if (directory / CARD_FILE).exists():
            shutil.rmtree(directory / REPORT_DIRECTORY, ignore_errors=True)
        ensemble.save(directory)


def save_model(ensemble: Ensemble, training: TrainingReport, directory: Path) -> None:
    """Write a model and, into its "report" directory, learning curves, parity plot and a readable card.

    Raises: as :func:`replace_model`.
    """
    replace_model(ensemble, directory)
    report = directory / REPORT_DIRECTORY
    with room_checked(directory):
        report.mkdir()
        training_plots(training, report)
        card = read_card(directory)
        write_text(report / "card.md", card_markdown(card, CardExtras()))


def training_plots(training: TrainingReport, directory: Path, colours: plots.Colours | None = None) -> None:
    """Learning curves and parity plot of the held-out paths."""
    from service import plots  # Matplotlib takes half a second, and most users of this module draw nothing

    plots.learning_curves(
        plots.LearningCurves(
            training.sizes, training.train_rmse, training.oob_rmse, training.test_rmse, training.n_selected
        ),
        directory / "learning_curves.png",
    )
    plots.parity(training.energies, training.out_of_fold, directory / "parity.png", colours=colours)


def read_card(model_directory: Path) -> dict[str, Any]:
    """The card of a stored model, as JSON values."""
    card: dict[str, Any] = json.loads((model_directory / CARD_FILE).read_text(encoding="utf-8"))
    return card


def write_text(path: Path, text: str) -> None:
    """Write a file that is either complete or not there; to a pipe or device, simply write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON that any parser reads: numbers that are not finite become null."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length; the headers carry the units.

    Raises:
        DataError: columns have different lengths.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise DataError(f"columns of {path.name} have different lengths: {sorted(lengths)}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())


def write_extxyz(
    path: Path, frames: Iterable[Atoms], energies: Iterable[float], infos: Iterable[Mapping[str, Any]]
) -> None:
    """Write structures with total energies (eV) where ASE looks for them, and more values in their info."""
    import ase.io  # only here: it loads half of SciPy
    from ase.calculators.singlepoint import SinglePointCalculator

    labelled = []
    for atoms, energy, info in zip(frames, energies, infos, strict=True):
        copy = atoms.copy()
        copy.info.update(info)
        copy.calc = SinglePointCalculator(copy, energy=energy)
        labelled.append(copy)
    text = io.StringIO()
    ase.io.write(text, labelled, format="extxyz")
    write_text(path, text.getvalue())


def plain(value: Any) -> Any:
    """Values as JSON knows them; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
