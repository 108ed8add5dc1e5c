"""Figures like those of the paper, as PNG files.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers; continuous scales use viridis.
Figures are made without pyplot: nothing is global, and no display is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from atomscatter.arrays import FloatArray, IntArray
from service.evaluation import MEV, Moduli
from service.spacing import evenly

BLUE, SKY, GREEN, VERMILION, GREY = "#0072B2", "#56B4E9", "#009E73", "#D55E00", "#7f7f7f"
DPI = 150
_CURVES_SHOWN = 13  # more overlap


@dataclass(frozen=True)
class LearningCurves:
    """RMSE against number of features; errors in eV/atom, all of shape (n_sizes,) but the last."""

    sizes: IntArray
    train: FloatArray
    validation: FloatArray
    test: FloatArray
    n_selected: IntArray  # (n_models,): features of each model


@dataclass(frozen=True)
class Colours:
    """A value for each point, shown by colour."""

    values: FloatArray
    label: str


@dataclass(frozen=True)
class EnergyVolume:
    """E(V) of one structure under strain."""

    alpha: float
    volume: FloatArray  # A^3/atom, (n_strains,)
    reference: FloatArray  # eV/atom, (n_strains,)
    folds: FloatArray  # eV/atom, (n_folds, n_strains)


@dataclass(frozen=True)
class MigrationPath:
    """Energies along one migration path."""

    title: str
    reference: FloatArray  # eV, total, (n_images,)
    folds: FloatArray  # eV, total, (n_folds, n_images)
    # By models of M features: eV, total, (n_images,)
    cut: Mapping[int, FloatArray] = field(default_factory=dict)


def learning_curves(curves: LearningCurves, path: Path) -> None:
    """Training, validation and test error against the number of features (the paper's Fig. 5)."""
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for values, name, colour, style, width in (
        (curves.train, "training", VERMILION, "--", 2.0),
        (curves.test, "test (held-out paths)", SKY, "-", 5.0),  # wide: validation often lies upon it
        (curves.validation, "validation (out-of-bag paths)", GREEN, "-.", 2.0),
    ):
        axes.loglog(curves.sizes, values * MEV, style, color=colour, lw=width, label=name)
    low, high = np.percentile(curves.n_selected, [10, 90])
    mean = float(curves.n_selected.mean())
    axes.axvspan(low, high, color=GREY, alpha=0.18, lw=0, label="chosen size, 10th to 90th percentile")
    axes.axvline(mean, color=GREY, lw=1.5, label=f"chosen size, mean {mean:.0f}")
    axes.set_xlabel("number of features M")
    axes.set_ylabel("RMSE (meV/atom)")
    axes.set_title(f"Learning curves, mean over {len(curves.n_selected)} models", loc="left")
    axes.legend(frameon=False)
    _plain_log(axes)
    save(figure, path)


def parity(
    reference: FloatArray, predicted: FloatArray, path: Path, *, colours: Colours | None = None
) -> None:
    """Predicted against reference energies of held-out structures, eV/atom, with the errors' histogram."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    points = left.scatter(
        reference,
        predicted,
        s=10,
        c=BLUE if colours is None else colours.values,
        cmap=None if colours is None else "viridis",
        alpha=0.7,
        lw=0,
    )
    if colours is not None:
        figure.colorbar(points, ax=left, label=colours.label)
    ends = [min(reference.min(), predicted.min()), max(reference.max(), predicted.max())]
    left.plot(ends, ends, color="black", lw=0.8)
    left.set_xlabel("reference energy (eV/atom)")
    left.set_ylabel("predicted energy (eV/atom)")
    left.set_title(f"{len(reference)} structures of held-out paths", loc="left")
    errors = (predicted - reference) * MEV
    rmse, mae = np.sqrt(np.mean(errors**2)), np.mean(np.abs(errors))
    right.hist(errors, bins=60, color=BLUE)
    right.axvline(0, color="black", lw=0.8)
    right.set_xlabel("predicted - reference (meV/atom)")
    right.set_ylabel("structures")
    right.set_title(f"RMSE {rmse:.1f}, MAE {mae:.1f} meV/atom", loc="left")
    save(figure, path)


def energy_volume(
    curves: Sequence[EnergyVolume],
    moduli: Moduli,
    path: Path,
    *,
    reference: str = "reference",
) -> None:
    """Energy-volume curves, shifted apart, and bulk moduli (the paper's Figs. 9 and 10). ``reference`` names
    the source of the labels."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    shown = [curves[i] for i in evenly(len(curves), _CURVES_SHOWN)]
    _shifted_curves(left, shown, reference)
    _moduli(right, moduli, reference)
    some = f"{len(shown)} of {len(curves)}" if len(shown) < len(curves) else f"{len(curves)}"
    left.set_title(f"Strained Li$_α$Si, {some} contents, α at the right end", loc="left")
    save(figure, path)


def migration_paths(paths: Sequence[MigrationPath], path: Path, *, reference: str = "reference") -> None:
    """Energies along migration paths, absolute and from the first image (the paper's Fig. 7); in a third row,
    where known, those of models cut at some numbers of features. ``reference`` names the source of the
    labels."""
    n_rows = 3 if any(item.cut for item in paths) else 2
    figure = Figure(figsize=(2.5 * len(paths), 2.8 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, len(paths), squeeze=False, sharex="col")
    for column, item in zip(axes.T, paths, strict=True):
        for row, panel in enumerate(column):
            _migration_path(panel, item, reference, shifted=row > 0, cut=row == 2)
        column[0].set_title(item.title, fontsize=10)
        column[-1].set_xlabel("image")
        column[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("total energy (eV)")
    for row in axes[1:]:
        row[0].set_ylabel("energy above first image (eV)")
    handles, labels = axes[-1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("Migration paths of lithium; error bars: standard deviation over the folds", fontsize=11)
    save(figure, path)


def _migration_path(axes: Axes, item: MigrationPath, reference: str, *, shifted: bool, cut: bool) -> None:
    """One panel: reference and model, with error bars or with the models of few features."""
    images = np.arange(len(item.reference))

    def above(energies: FloatArray) -> FloatArray:
        return np.asarray(energies - energies[..., :1]) if shifted else energies

    axes.plot(images, above(item.reference), "o-", color=BLUE, ms=4, label=reference)
    mean, folds = above(item.folds.mean(axis=0)), above(item.folds)
    spread = None if cut else folds.std(axis=0)
    axes.errorbar(images, mean, spread, fmt="s--", color=VERMILION, ms=4, capsize=2, label="model")
    if cut:
        for (size, energies), colour in zip(item.cut.items(), (SKY, GREEN, GREY), strict=False):
            axes.plot(images, above(energies), ".:", color=colour, label=f"M = {size}")
    if shifted:
        axes.axhline(0, color=GREY, lw=0.6, zorder=0)
    axes.ticklabel_format(useOffset=False)


def _shifted_curves(axes: Axes, curves: Sequence[EnergyVolume], reference: str) -> None:
    depth = max((float(np.ptp(c.reference)) for c in curves), default=1.0)
    step = 0.45 * depth
    for i, curve in enumerate(curves):
        base = -i * step - curve.reference.min()
        axes.plot(
            curve.volume,
            curve.reference + base,
            "-",
            color=BLUE,
            lw=1.4,
            label=reference if i == 0 else None,
        )
        axes.errorbar(
            curve.volume,
            curve.folds.mean(axis=0) + base,
            curve.folds.std(axis=0),
            fmt="s",
            color=VERMILION,
            ms=3,
            capsize=2,
            label="model, ± over folds" if i == 0 else None,
        )
        axes.annotate(
            f"{curve.alpha:.2f}",
            (curve.volume[-1], curve.reference[-1] + base),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    # A model may leave the scale far behind under strong strain; the reference decides what is shown.
    axes.set_ylim(-(len(curves) - 1) * step - 0.35 * depth, 1.35 * depth)
    axes.margins(x=0.12)
    axes.set_xlabel("volume (Å³/atom)")
    axes.set_ylabel("energy, curves shifted (eV/atom)")
    axes.legend(frameon=False)


def _moduli(axes: Axes, moduli: Moduli, reference: str) -> None:
    axes.plot(moduli.alpha, moduli.reference, "o-", color=BLUE, ms=5, label=reference)
    known = np.isfinite(moduli.folds)
    enough = known.any(axis=0)
    folds = np.ma.masked_invalid(moduli.folds[:, enough])
    axes.errorbar(
        moduli.alpha[enough],
        folds.mean(axis=0),
        folds.std(axis=0),
        fmt="s",
        color=VERMILION,
        ms=5,
        capsize=3,
        label="model, mean and standard deviation over folds",
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("lithium content α")
    axes.set_ylabel("bulk modulus (GPa)")
    axes.set_title("Bulk moduli, Birch-Murnaghan within 5 % strain of the minimum", loc="left", fontsize=10)
    axes.legend(frameon=False)


def _plain_log(axes: Axes) -> None:
    """Ticks of a logarithmic axis as plain numbers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda *_: "")
    axes.grid(which="major", color=GREY, alpha=0.25)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the directory is made."""
    FigureCanvasAgg(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, format="png")
