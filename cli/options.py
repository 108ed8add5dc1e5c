"""Options that several commands share; each help text says unit and default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atomscatter.errors import ConfigError

DATA_HELP = (
    "Files or directories with structures, in any format that ASE reads (.gz and .xz too). "
    "Positions and cells in Angstrom, energies in eV."
)
Data = Annotated[list[Path], typer.Argument(metavar="DATA", help=DATA_HELP, show_default=False)]
Structures = Annotated[list[Path], typer.Argument(metavar="STRUCTURES", help=DATA_HELP, show_default=False)]
ModelDirectory = Annotated[
    Path,
    typer.Option(
        "--model",
        help="Directory of the model (made by train or demo), or the word embedded.",
        show_default=False,
    ),
]
PathKey = Annotated[
    str | None,
    typer.Option(
        help="Info key that names the relaxation path of a structure. Default: every structure is a path.",
        show_default=False,
    ),
]
PathPerFile = Annotated[
    bool, typer.Option("--path-per-file", help="Each file is one relaxation path. Default: no.")
]
EnergyKey = Annotated[
    str | None,
    typer.Option(
        help="Info key with the total energy of the cell, eV. Default: the energy that ASE reads.",
        show_default=False,
    ),
]
Vacuum = Annotated[
    float | None,
    typer.Option(
        help="Angstrom of vacuum to put around structures that are not periodic in all three directions. "
        "Default: such structures are refused.",
        show_default=False,
        min=0.0,
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Report bad structures and go on with the others. Default: stop."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Number of worker processes. Default: $ATOMSCATTER_WORKERS, else one for each core.",
        show_default=False,
        min=1,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster to use (host:port, auto or ray://host:port). "
        "Default: $ATOMSCATTER_ADDRESS, else a local Ray is started.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no messages, only warnings and errors.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More messages.")]
References = Annotated[
    str | None,
    typer.Option(
        help="Energies of the elements in their reference states, eV/atom, for formation energies, "
        "e.g. 'Li=-1.895,Si=-5.425'. Default: none, formation energies are not given.",
        show_default=False,
    ),
]


def verbosity(quiet: bool, verbose: bool) -> str:
    """Name of the level for :func:`service.logs.configure_logging`."""
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other")
    return "quiet" if quiet else "verbose" if verbose else "normal"


def parse_references(text: str | None) -> dict[str, float] | None:
    """'Li=-1.895,Si=-5.425' -> {"Li": -1.895, "Si": -5.425}, eV/atom.

    Raises:
        ConfigError: an entry is not of this form, names no element, or comes twice.
    """
    if text is None:
        return None
    from math import isfinite

    from atomscatter.channels import atomic_number

    references: dict[str, float] = {}
    for entry in text.split(","):
        symbol, _, number = (part.strip() for part in entry.partition("="))
        try:
            energy = float(number)
        except ValueError:
            energy = float("nan")
        if not isfinite(energy):
            raise ConfigError(f"--references: {entry.strip()!r} is not of the form Element=energy in eV/atom")
        try:
            atomic_number(symbol)
        except ConfigError as error:
            raise ConfigError(f"--references: {error}") from error
        if symbol in references:
            raise ConfigError(f"--references: {symbol} is given twice")
        references[symbol] = energy
    return references
