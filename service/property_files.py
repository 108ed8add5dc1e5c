"""Properties as CSV files and plots: one table of columns for each, which both are made from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from atomscatter.arrays import FloatArray
from service.plots import BLUE, GREEN, SKY, VERMILION, save
from service.properties import BulkModulus, MigrationBarrier, Voltages
from service.result_files import write_csv

LINE_COLOURS = (BLUE, VERMILION, GREEN, SKY)
LINE_STYLES = ("-", "--", ":", "-.")  # one after the other, when the colours are used up


@dataclass(frozen=True)
class Columns:
    """A table whose first column is the abscissa; ``lines`` are the columns that are drawn over it."""

    titles: tuple[str, ...]
    values: FloatArray  # (n_rows, n_columns)
    lines: tuple[int, ...]
    spread: int | None = None  # column with the spread of the first line
    steps: bool = False  # constant from one abscissa to the next
    counted: bool = False  # whether the abscissa is a number of something
    n_extrapolating: int = 0

    def text_rows(self) -> list[list[str]]:
        """For a table on a terminal."""
        first = "{:.0f}" if self.counted else "{:.4f}"
        return [[first.format(x), *(f"{v:.4f}" for v in row)] for x, *row in self.values]


def energy_volume(result: BulkModulus) -> Columns:
    """E(V) of a strain series."""
    rows = [[v, p.energy, p.uncertainty] for v, p in zip(result.volumes, result.curve, strict=True)]
    return Columns(
        ("volume (A^3)", "energy (eV)", "uncertainty (eV/atom)"),
        np.array(rows),
        lines=(1,),
        n_extrapolating=sum(p.extrapolating for p in result.curve),
    )


def migration_profile(result: MigrationBarrier) -> Columns:
    """Energies along a path."""
    rows = [
        [i, relative, p.energy, p.uncertainty]
        for i, (relative, p) in enumerate(zip(result.relative_energies, result.profile, strict=True))
    ]
    return Columns(
        ("image", "relative energy (eV)", "energy (eV)", "uncertainty (eV/atom)"),
        np.array(rows),
        lines=(1,),
        counted=True,
        n_extrapolating=sum(p.extrapolating for p in result.profile),
    )


def voltage_steps(result: Voltages) -> Columns:
    """Steps of constant voltage; each row holds from its x to that of the next, the last to ``x_end``."""
    rows = zip(result.x[:-1], result.x[1:], result.voltage, result.voltage_spread, strict=True)
    ion = result.ion
    return Columns(
        (f"x from ({ion} per host atom)", "x to", "voltage (V)", "spread over the folds (V)"),
        np.array(list(rows)),
        lines=(2,),
        spread=3,
        steps=True,
        n_extrapolating=sum(result.extrapolating),
    )


def radial_functions(r: FloatArray, functions: Mapping[tuple[str, str], FloatArray]) -> Columns:
    """g(r) of each pair."""
    titles = ("r (Angstrom)", *(f"g {a}-{b} (dimensionless)" for a, b in functions))
    return Columns(titles, np.column_stack([r, *functions.values()]), lines=tuple(range(1, len(titles))))


def write(columns: Columns, directory: Path, name: str) -> None:
    """Write NAME.csv and NAME.png into a directory, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    table = {
        t: [f"{v:.8g}" for v in column] for t, column in zip(columns.titles, columns.values.T, strict=True)
    }
    write_csv(directory / f"{name}.csv", table)
    save(_figure(columns), directory / f"{name}.png")


def _figure(columns: Columns) -> Figure:
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    x = columns.values[:, 0]
    looks = itertools.cycle(itertools.product(LINE_STYLES, LINE_COLOURS))
    for (style, colour), line in zip(looks, columns.lines, strict=False):
        y = columns.values[:, line]
        if columns.steps:
            edges = np.append(x, columns.values[-1, 1])
            axes.stairs(y, edges, color=colour, baseline=None, linewidth=2)
            if columns.spread is not None:
                s = columns.values[:, columns.spread]
                axes.stairs(y + s, edges, baseline=y - s, fill=True, color=SKY, alpha=0.4)
        else:
            marker = "o" if len(x) < 30 else None
            axes.plot(x, y, marker=marker, color=colour, linestyle=style, label=columns.titles[line])
    axes.set_xlabel(columns.titles[0])
    one = len(columns.lines) == 1
    axes.set_ylabel(columns.titles[columns.lines[0]] if one else "g(r) (dimensionless)")
    if not one:
        axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure
