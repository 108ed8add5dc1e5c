"""Tables for the terminal and for markdown, errors of a model among them.

Energies are eV/atom unless a name or docstring says otherwise; standard deviations are those over the test
folds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from atomscatter.arrays import FloatArray
from service.evaluation import MEV, Errors, PropertyErrors

if TYPE_CHECKING:
    from service.training import TrainingReport


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


def _mean_std(values: FloatArray) -> tuple[float, float]:
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
