"""The page with the paper's tables and plots, from the numbers of benchmarks/paper_results.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.demo_data import LABELS_NOTE, PARENTS_NOTE
from service.tables import markdown_table, plus_minus

VARIANTS = {
    "default": "The package's default",
    "paper": "Table I: features of the paper's kind, and its fit",
    "orders-0-1": "Table III: the same, features of order 0 and 1 only",
    "non-randomised": "Table IV: the same, not randomised (nested cross-validation, all features each step)",
}
MAIN = "default"
"""The variant that the tables of barriers and the first plots are of."""
DRAWN = (MAIN, "paper")
"""Variants with plots."""
_FULL = {
    "relaxation paths": ("7.44 ± 0.49", "5.52 ± 0.34"),
    "diffusion": ("12.3 ± 0.50", "11.7 ± 0.51"),
    "large states": ("9.54 ± 0.25", "6.81 ± 0.23"),
    "bulk modulus": ("12.8 ± 1.36", "8.92 ± 0.68"),
}
PAPER = {
    **dict.fromkeys(("default", "paper"), _FULL),
    "orders-0-1": {
        "relaxation paths": ("8.04 ± 0.59", "5.99 ± 0.39"),
        "diffusion": ("11.8 ± 0.48", "9.51 ± 0.95"),
        "large states": ("14.0 ± 0.68", "10.2 ± 0.42"),
        "bulk modulus": ("39.5 ± 4.82", "25.1 ± 2.92"),
    },
    "non-randomised": {
        "relaxation paths": ("7.50 ± 0.39", "5.64 ± 0.28"),
        "diffusion": ("11.6 ± 1.01", "11.0 ± 1.03"),
        "large states": ("9.78 ± 1.98", "6.60 ± 0.81"),
        "bulk modulus": ("16.6 ± 4.91", "11.5 ± 3.55"),
    },
}
PAPER_SIZES = {
    **dict.fromkeys(("default", "paper"), "121 ± 64"),
    "orders-0-1": "108 ± 38",
    "non-randomised": "153 ± 82",
}
LARGE_PARTS = ("scratch", "2x1x1", "2x2x2")


def page(results: Mapping[str, Mapping[str, Any]], plots: str) -> str:
    """Markdown.

    Args:
        results: numbers of each variant of VARIANTS that was run.
        plots: folder of the plots, relative to the page.
    """
    parts = [
        "# The paper's tables and figures",
        "Made by `python benchmarks/reproduce.py REFERENCE_DIRECTORY FEATURES RUN_DIRECTORY`.",
        LABELS_NOTE,
        PARENTS_NOTE,
        "The paper's own numbers stand beside for orientation: they are errors on other structures and DFT "
        "labels. Features of the paper's kind: its five channels, n = 3, l and powers, with three scales "
        "from β = 0.5 Å on, 1,640 features; with its own five scales and β = 0.9 Å there are 3,740, whose "
        "errors, with twenty steps of each path, are in peers.md.",
        *(_variant(name, results[name]) for name in VARIANTS if name in results),
    ]
    if MAIN in results:
        parts += [_barriers(results), _moduli(results), _strain(results)]
        parts += [_model_figures(folder_of(name, plots), name) for name in DRAWN if name in results]
    parts.append(_data_figures(plots))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def folder_of(variant: str, plots: str) -> str:
    """Where the plots of a variant are."""
    return plots if variant == MAIN else f"{plots}/{variant}"


def _spread(values: Sequence[Any], digits: int) -> str:
    known = np.array([v for v in values if v is not None], dtype=float)
    if not len(known):
        return "no value"
    return plus_minus(float(known.mean()), float(known.std()), digits)


def _variant(name: str, result: Mapping[str, Any]) -> str:
    rows = []
    for row in result["errors"]:
        paper = PAPER[name].get(row["set"], ("", ""))
        shown = f"  {row['set']}" if row["set"] in LARGE_PARTS else row["set"]
        rows.append(
            [
                shown,
                str(row["n"]),
                _spread(row["rmse"], 2),
                _spread(row["mae"], 2),
                "" if row["held_out_rmse"] is None else _spread(row["held_out_rmse"], 2),
                "" if row["flagged"] is None else f"{100 * row['flagged']:.0f} %",
                *paper,
            ]
        )
    headers = (
        "set",
        "structures",
        "RMSE (meV/atom)",
        "MAE (meV/atom)",
        "RMSE, parents held out (meV/atom)",
        "flagged as extrapolating",
        "paper: RMSE",
        "paper: MAE",
    )
    chosen = result["n_selected"]
    return "\n".join(
        [
            f"## {VARIANTS[name]}",
            "",
            markdown_table(headers, rows),
            f"{result['n_models']} models, {result['n_structures']} structures in {result['n_paths']} "
            f"relaxation paths. Features per model, M*: {plus_minus(chosen['mean'], chosen['std'], 0)} "
            f"(paper: {PAPER_SIZES[name]}). {result['settings']} "
            f"Training: {result['training_seconds']:.0f} s. "
            f"{_moves(result)}"
            "± is the standard deviation over the test folds, of the number of features over the models. "
            f"{result['machine']}.",
        ]
    )


def _moves(result: Mapping[str, Any]) -> str:
    if "moves" not in result:
        return ""
    rms, largest = (1000 * result["moves"][name] for name in ("rms", "largest"))
    return (
        f"Moving the grids by random vectors moves energies of held-out structures by {rms:.2f} meV/atom "
        f"(root mean square; {largest:.2f} at most). "
    )


def _barriers(results: Mapping[str, Mapping[str, Any]]) -> str:
    full = results[MAIN]["barriers"]
    rows = [
        [
            f"{i + 1} (α = {full['alpha'][i]:.1f})",
            f"{full['reference'][i]:.3f}",
            f"{full['model'][i]:.3f}",
            _spread(full["folds"][i], 3),
            "" if full["held_out"][i] is None else f"{full['held_out'][i]:.3f}",
            f"{full['profile'][i]:.2f}",
        ]
        for i in range(len(full["reference"]))
    ]
    mae = f"{full['mae']:.3f} eV (averaged model), {_spread(full['fold_mae'], 3)} eV (folds)"
    headers = (
        "path",
        "reference (eV)",
        "averaged model (eV)",
        "folds (eV)",
        "parent held out (eV)",
        "correlation of the profiles",
    )
    of_others = [
        [
            name,
            *(f"{barrier:.3f}" for barrier in result["barriers"]["model"]),
            f"{result['barriers']['mae']:.3f}",
            _spread(result["barriers"]["fold_mae"], 3),
        ]
        for name, result in results.items()
    ]
    numbers = [str(i + 1) for i in range(len(rows))]
    return "\n".join(
        [
            "## Table II: migration barriers",
            "",
            markdown_table(headers, rows),
            "Barrier: highest minus lowest energy of the images. A profile of the wrong shape can have the "
            "right barrier: the last column compares the images' energies, reference and averaged model. "
            f"MAE {mae}; paper: 0.20 eV.",
            "",
            "All variants, averaged model, eV:",
            "",
            markdown_table(("variant", *numbers, "MAE", "MAE, folds"), of_others),
        ]
    )


def _moduli(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, result in results.items():
        values = result["moduli"]
        held_out = ["", ""]
        if values.get("held_out_mae_gpa") is not None:
            held_out = [f"{values['held_out_mae_gpa']:.1f}", f"{values['held_out_mae_percent']:.1f}"]
        averaged = [
            f"{values[k]:.1f}" if values[k] is not None else "no value" for k in ("mae_gpa", "mae_percent")
        ]
        rows.append(
            [
                name,
                *averaged,
                _spread(values["fold_mae_gpa"], 1),
                _spread(values["fold_mae_percent"], 1),
                *held_out,
                str(values["without"]),
            ]
        )
    headers = (
        "variant",
        "MAE, averaged model (GPa)",
        "(%)",
        "MAE, folds (GPa)",
        "(%)",
        "MAE, parents held out (GPa)",
        "(%)",
        "without a minimum (of 37, averaged model)",
    )
    return "\n".join(
        [
            "## Bulk modulus",
            "",
            markdown_table(headers, rows),
            "Birch-Murnaghan within 5 % of side-length strain of the minimum, for reference and models; "
            "paper: 3.3 GPa, parabola within 4 %.",
        ]
    )


def _strain(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The even part of the energy of strain: of a quadratic one, 1 : 4 : 9 : 16 at equal steps."""

    def even_part(curves: Sequence[np.ndarray]) -> list[str]:
        middle = len(curves[0]) // 2
        steps = range(1, middle + 1)
        parts = np.array([[(e[middle - k] + e[middle + k]) / 2 - e[middle] for k in steps] for e in curves])
        mean = 1000 * parts.mean(axis=0)
        return [f"{value:.0f} ({value / mean[0]:.1f})" for value in mean]

    curves = results[MAIN]["energy_volume"]
    n_steps = len(curves[0]["volume"]) // 2
    rows = [["reference", *even_part([np.array(c["reference"]) for c in curves])]]
    for name, result in results.items():
        folds = [np.mean(c["folds"], axis=0) for c in result["energy_volume"]]
        rows.append([name, *even_part(folds)])
    strains = [f"{k} of {n_steps} steps" for k in range(1, n_steps + 1)]
    return "\n".join(
        [
            "## Energy of strain",
            "",
            markdown_table(("", *strains), rows),
            "(E(+s) + E(-s)) / 2 - E(0), meV/atom, mean over the lithium contents, side lengths strained by "
            "s up to 9 % in equal steps; in brackets, relative to the first step. A quadratic energy would "
            "have 1, 4, 9 and 16; one that grows less lies in a sharp well at the relaxed structure.",
        ]
    )


def _model_figures(plots: str, variant: str) -> str:
    named = (
        ("learning_curves", "Fig. 5: learning curves of the relaxation paths"),
        ("learning_curves_extrapolation", "Figs. 6, 8 and 10 (right): learning curves of the other sets"),
        ("migration_paths", "Fig. 7: energies along migration paths"),
        (
            "bulk_moduli",
            "Figs. 9 and 10 (left): energy against volume; bulk modulus against lithium content",
        ),
    )
    return _figures(plots, named, f"Figures. {VARIANTS[variant]}")


def _data_figures(plots: str) -> str:
    return _figures(
        plots,
        (
            ("energies", "Fig. 1: formation energies of the training structures"),
            ("wavelets", "Fig. 2: wavelets and hydrogen's orbitals"),
            ("fields_order1", "Fig. 3: first-order fields (the default has scales 0, 1, 2)"),
            ("fields_order2", "Fig. 4: second-order fields (the default has scales 0, 1, 2)"),
            ("voltage", "Fig. 11: average voltage from the relaxed structures (equation C1)"),
            ("radial_functions", "Fig. 12: radial distribution functions of the relaxed structures"),
        ),
        "Figures of the data and the transform",
    )


def _figures(plots: str, figures: Sequence[tuple[str, str]], title: str) -> str:
    lines = [f"## {title}"]
    for name, caption in figures:
        lines += ["", f"{caption}:", "", f"![{caption}]({plots}/{name}.png)"]
    return "\n".join(lines)
