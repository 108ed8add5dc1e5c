"""``atomscatter bulk-modulus``, ``barrier``, ``voltage`` and ``rdf``: properties from predicted energies.

The numbers are those of the routes below /v1/properties: both call :mod:`service.properties`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomscatter.errors import ConfigError, DataError
from cli import options
from cli.inputs import ReadingOptions, read_inputs
from cli.models import Model, load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from atomscatter.ensemble import Ensemble, Prediction
    from service.property_files import Columns

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object; eV, Angstrom, GPa, V.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", help="Directory for the data (CSV) and the plot (PNG). Default: none.", show_default=False
    ),
]


def bulk_modulus(
    structures: options.Structures,
    model: Model = None,
    strain: Annotated[
        float, typer.Option(help="Largest side-length strain of a single structure.", min=0.001, max=0.3)
    ] = 0.05,
    steps: Annotated[
        int,
        typer.Option(
            help="Strained structures of a single one; an odd number includes the unstrained one.",
            min=5,
            max=101,
        ),
    ] = 11,
    as_json: AsJson = False,
    output: Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Bulk modulus (GPa) by Birch-Murnaghan: one structure is strained; several are a strain series.

    Fitted are the points within 5 % of side-length strain of the lowest energy, at least five.
    """
    import numpy as np

    from atomscatter.strain import strained
    from service import properties
    from service.property_files import energy_volume

    _require_folder(output)
    ensemble, found = _inputs(structures, model, quiet, verbose)
    series = strained(found[0], np.linspace(-strain, strain, steps)) if len(found) == 1 else found
    result = properties.bulk_modulus(series, _predict(ensemble, series))
    if result.bulk_modulus is None:
        summary = f"No bulk modulus: {result.reason}."
    else:
        spread = "" if result.bulk_modulus_spread is None else f" ± {result.bulk_modulus_spread:.1f}"
        summary = f"Bulk modulus {result.bulk_modulus:.1f}{spread} GPa at {result.volume:.1f} A^3"
    _report(summary, asdict(result), energy_volume(result), "bulk_modulus", as_json, output)


def barrier(
    structures: options.Structures,
    model: Model = None,
    last: Annotated[
        int | None,
        typer.Option(
            help="Take the last so many structures: of a NEB's trajectory, the last band. Default: all.",
            min=2,
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    output: Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Migration barrier (eV): highest minus lowest energy of the ordered images of one path, as of a NEB.

    The forward barrier is highest minus first, the backward barrier highest minus last.
    The files of a directory are images in the order of their names, 2 before 10.
    Of each folder of a VASP calculation, CONTCAR is read, or POSCAR where there is none.
    """
    from service import properties
    from service.property_files import migration_profile

    _require_folder(output)
    ensemble, images = _inputs(structures, model, quiet, verbose, of_a_path=True)
    if last is not None:
        if last > len(images):
            raise ConfigError(f"--last {last}: there are {len(images)} structures")
        images = images[-last:]
    if length := properties.band_length(images):  # said before hundreds of images are predicted
        raise DataError(f"{properties.several_bands(length, len(images))} (--last {length})")
    result = properties.migration_barrier(images, _predict(ensemble, images))
    summary = (
        f"Migration barrier {result.barrier:.3f} ± {result.barrier_spread:.3f} eV (highest minus lowest)\n"
        f"Forward {result.forward_barrier:.3f} ± {result.forward_barrier_spread:.3f} eV (minus first), "
        f"backward {result.backward_barrier:.3f} ± {result.backward_barrier_spread:.3f} eV (minus last)"
    )
    if result.warning:
        summary += f"\nWarning: {result.warning}."
    _report(summary, asdict(result), migration_profile(result), "barrier", as_json, output)


def voltage(
    structures: options.Structures,
    model: Model = None,
    ion: Annotated[str, typer.Option(help="Chemical symbol of the working ion.")] = "Li",
    as_json: AsJson = False,
    output: Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Voltage (V against the metal) along the lower convex hull over the content of the working ion."""
    from atomscatter.channels import atomic_number
    from service import properties
    from service.property_files import voltage_steps

    _require_folder(output)
    atomic_number(ion)
    ensemble, found = _inputs(structures, model, quiet, verbose)
    result = properties.voltages(found, _predict(ensemble, found), ion)
    steps = result.voltage
    summary = (
        f"{steps[0]:.3f} V"
        if len(steps) == 1
        else f"{len(steps)} steps from {steps[0]:.3f} to {steps[-1]:.3f} V"
    )
    _report(summary, asdict(result), voltage_steps(result), "voltage", as_json, output)


def rdf(
    structures: options.Structures,
    cutoff: Annotated[float, typer.Option(help="Largest distance, Angstrom.", min=0.5, max=30)] = 8.0,
    width: Annotated[float, typer.Option(help="Width of a bin, Angstrom.", min=0.01, max=1)] = 0.1,
    as_json: AsJson = False,
    output: Output = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Radial distribution functions of each pair of elements of one structure; needs no model."""
    from atomscatter.radial import radial_distribution
    from service.logs import configure_logging
    from service.property_files import radial_functions

    _require_folder(output)
    configure_logging(options.verbosity(quiet, verbose))
    found = read_inputs(structures, ReadingOptions(), need_energy=False)
    if len(found) != 1:
        raise ConfigError(f"rdf takes one structure, not {len(found)}")
    r, functions = radial_distribution(found[0].atoms, cutoff=cutoff, width=width)
    pairs = [{"elements": list(pair), "g": g.tolist()} for pair, g in functions.items()]
    peaks = ", ".join(f"{a}-{b} {r[int(g.argmax())]:.2f}" for (a, b), g in functions.items())
    summary = f"Highest peaks at (Angstrom): {peaks}"
    _report(
        summary, {"r": r.tolist(), "pairs": pairs}, radial_functions(r, functions), "rdf", as_json, output
    )


def _require_folder(output: Path | None) -> None:
    """Refuse what looks like the name of a file."""
    if output is not None and (output.is_file() or output.suffix.lower() in (".csv", ".json", ".png")):
        raise ConfigError(f"--output {output}: is the directory for a CSV file and a plot, not a file")


def _inputs(
    paths: Sequence[Path], model: Path | None, quiet: bool, verbose: bool, of_a_path: bool = False
) -> tuple[Ensemble, list[Atoms]]:
    from service.logs import configure_logging
    from service.reading import images_of

    configure_logging(options.verbosity(quiet, verbose))
    ensemble = load_model(model)
    files = images_of(paths) if of_a_path else paths
    found = read_inputs(files, ReadingOptions(), need_energy=False, scattering=ensemble.scattering)
    return ensemble, [s.atoms for s in found]


def _predict(ensemble: Ensemble, structures: Sequence[Atoms]) -> list[Prediction]:
    from service.progress import progress
    from service.reading import naming

    predictions = []
    with progress("Predicting", len(structures)) as advance:
        for index, atoms in enumerate(structures):
            with naming(f"structure {index} of the series"):  # a strained one: files were checked before
                predictions.append(ensemble.predict(atoms))
            advance()
    return predictions


def _report(
    summary: str, values: dict[str, Any], columns: Columns, name: str, as_json: bool, output: Path | None
) -> None:
    from service.property_files import write
    from service.result_files import plain
    from service.tables import rich_table, terminal

    if output is not None:
        write(columns, output, name)
    if as_json:
        typer.echo(json.dumps(plain(values), allow_nan=False))
        return
    headers = [title.replace(" (", "\n(") for title in columns.titles]
    terminal().print(rich_table(name.replace("_", " "), headers, columns.text_rows()))
    typer.echo(summary)
    if n := columns.n_extrapolating:
        typer.echo(f"Structures unlike the training data: {n}; errors may exceed the spread.")
    if output is not None:
        typer.echo(f"Written to {output}: {name}.csv, {name}.png")
