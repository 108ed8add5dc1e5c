"""Plots of the paper's Figs. 5-10 from the numbers of benchmarks/paper_results.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from paper_figures import save_small, shrink

from service import plots
from service.demo_data import LABELS
from service.evaluation import Moduli
from service.plots import BLUE, GREEN, GREY, VERMILION

PURPLE = "#CC79A7"  # the next of Okabe and Ito's colours


def draw(results: Mapping[str, Any], directory: Path) -> None:
    """All plots of one variant."""
    curves = results["curves"]
    plots.learning_curves(
        plots.LearningCurves(
            numbers(curves["sizes"]),
            *(numbers(curves[name]) / 1000 for name in ("train", "validation", "test")),
            n_selected=numbers(curves["n_selected"]),
        ),
        directory / "learning_curves.png",
    )
    extrapolation_curves(curves, directory / "learning_curves_extrapolation.png")
    paths = [migration_path(i, path) for i, path in enumerate(results["migration_paths"], start=1)]
    plots.migration_paths(paths, directory / "migration_paths.png", reference=LABELS)
    values = results["moduli"]
    plots.energy_volume(
        [
            plots.EnergyVolume(s["alpha"], *(numbers(s[name]) for name in ("volume", "reference", "folds")))
            for s in results["energy_volume"]
        ],
        Moduli(*(numbers(values[name]) for name in ("alpha", "reference", "folds", "model"))),
        directory / "bulk_moduli.png",
        reference=LABELS,
    )
    for name in ("learning_curves", "bulk_moduli", "migration_paths"):
        shrink(directory / f"{name}.png")


def migration_path(number: int, values: Mapping[str, Any]) -> plots.MigrationPath:
    return plots.MigrationPath(
        f"path {number}, Li$_{{{values['alpha']:.1f}}}$Si",
        numbers(values["reference"]),
        numbers(values["folds"]),
        {int(size): numbers(energies) for size, energies in values["cut"].items()},
    )


def numbers(values: Sequence[Any]) -> np.ndarray:
    """An array; null, which JSON has for what is not finite, becomes NaN."""
    return np.array(values, dtype=float)


def extrapolation_curves(curves: Mapping[str, Any], file: Path) -> None:
    """Figs. 6, 8 and 10 (right): RMSE against the number of features, for each set that is not trained on."""
    sizes, folds, single = numbers(curves["sizes"]), curves["folds"], curves["single"]
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    for axes, name, title in (
        (panels[0, 0], "diffusion", "Diffusion (Fig. 6)"),
        (panels[0, 1], "large", "Large states (Fig. 8, left)"),
        (panels[1, 1], "bulk", "Strained structures (Fig. 10, right)"),
    ):
        axes.loglog(sizes, numbers(curves["test"]), "--", color=GREY, label="held-out paths, single models")
        axes.loglog(sizes, numbers(single[name]), "-.", color=GREEN, label=f"{name}, single models")
        _over_folds(axes, sizes, numbers(folds[name]), BLUE, f"{name}, averaged model of a fold")
        axes.set_title(title, loc="left")
    kinds = panels[1, 0]
    for name, colour in (("scratch", VERMILION), ("2x1x1", BLUE), ("2x2x2", PURPLE)):
        _over_folds(kinds, sizes, numbers(folds[name]), colour, f"{name}, averaged model of a fold")
    kinds.set_title("Large states by kind (Fig. 8, right)", loc="left")
    for axes in panels.flat:
        _log_axes(axes)
        axes.set_xlabel("number of features M")
        axes.set_ylabel("RMSE (meV/atom)")
        axes.legend(frameon=False, fontsize=9)
    mean = float(np.mean(curves["n_selected"]))
    for axes in panels.flat:
        axes.axvline(mean, color=GREY, lw=0.8)
    figure.suptitle(
        f"Vertical line: mean M* = {mean:.0f}; bars: standard deviation over the folds", fontsize=10
    )
    save_small(figure, file)


def _over_folds(axes: Axes, sizes: np.ndarray, rmse: np.ndarray, colour: str, label: str) -> None:
    axes.errorbar(
        sizes, rmse.mean(axis=0), rmse.std(axis=0), color=colour, ecolor=colour, elinewidth=0.7, label=label
    )


def _log_axes(axes: Axes) -> None:
    """Plain numbers at the ticks, and no more than six decades of errors: what lies above is absurd."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 1e6 * low))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color=GREY, alpha=0.25)
