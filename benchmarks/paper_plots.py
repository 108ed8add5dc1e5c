"""Plots of the paper's Figs. 5-10 from the numbers of benchmarks/paper_results.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from paper_figures import save_small, shrink

from service import plots
from service.demo_data import LABELS
from service.evaluation import Moduli
from service.plots import BLUE, GREEN, GREY, SKY, VERMILION

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
    migration_paths(results["migration_paths"], directory / "migration_paths.png")
    values = results["moduli"]
    plots.energy_volume(
        [
            plots.EnergyVolume(s["alpha"], *(numbers(s[name]) for name in ("volume", "reference", "folds")))
            for s in results["energy_volume"]
        ],
        Moduli(*(numbers(values[name]) for name in ("alpha", "reference", "folds", "model"))),
        directory / "bulk_moduli.png",
    )
    for name in ("learning_curves", "bulk_moduli"):
        shrink(directory / f"{name}.png")


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


def migration_paths(paths: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Fig. 7: energies along the paths; absolute, from the first image, and by number of features."""
    figure = Figure(figsize=(2.4 * len(paths), 8), layout="constrained")
    axes = figure.subplots(3, len(paths), squeeze=False, sharex="col")
    for column, (i, path) in zip(axes.T, enumerate(paths), strict=True):
        reference, folds, model = (numbers(path[name]) for name in ("reference", "folds", "model"))
        images = np.arange(len(reference))
        for row, start in ((0, np.zeros(2)), (1, np.array([reference[0], model[0]]))):
            shifted = folds - (folds[:, :1] if row else 0)
            column[row].plot(images, reference - start[0], "o-", color=BLUE, ms=4, label="reference")
            column[row].errorbar(
                images,
                model - start[1],
                shifted.std(axis=0),
                fmt="s--",
                color=VERMILION,
                ms=4,
                capsize=2,
                label="model",
            )
        column[2].plot(images, reference - reference[0], "o-", color=BLUE, ms=4, label="reference")
        column[2].plot(images, model - model[0], "s--", color=VERMILION, ms=4, label="model")
        for (size, energies), colour in zip(path["cut"].items(), (SKY, GREEN, PURPLE), strict=True):
            values = numbers(energies)
            column[2].plot(images, values - values[0], ".:", color=colour, label=f"M = {size}")
        column[0].ticklabel_format(useOffset=False)
        column[0].set_title(f"path {i + 1}, Li$_{{{path['alpha']:.1f}}}$Si", fontsize=10)
        column[2].set_xlabel("image")
        column[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("total energy (eV)")
    axes[1, 0].set_ylabel("energy above first image (eV)")
    axes[2, 0].set_ylabel("energy above first image (eV)")
    figure.legend(*axes[2, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(
        f"Migration paths of lithium; reference: {LABELS}; bars: standard deviation over the folds; "
        "M: every model cut at so many features",
        fontsize=11,
    )
    save_small(figure, file)
