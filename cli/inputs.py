"""Reading what the user named, and reporting what is wrong with it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from atomscatter.errors import ConfigError, DataError

if TYPE_CHECKING:
    from atomscatter.scattering import Scattering
    from service.reading import LabelledStructure


_MOST_TOLD = 100  # bad structures


@dataclass(frozen=True)
class ReadingOptions:
    """How files are read; see cli.options for the meaning."""

    path_key: str | None = None
    path_per_file: bool = False
    energy_key: str | None = None
    vacuum: float | None = None
    skip_bad: bool | None = None  # None: the command needs all of them


def read_inputs(
    paths: Sequence[Path],
    options: ReadingOptions,
    *,
    need_energy: bool,
    scattering: Scattering | None = None,
    any_element: bool = False,
    unique: bool = False,
) -> Sequence[LabelledStructure]:
    """Structures of all files; each bad one is a line on standard error.

    Args:
        paths: files and directories.
        options: how to read them.
        need_energy: a structure without an energy is bad.
        scattering: the transform that they are for: bad is what has other elements or is too large for its
            grids. None: all elements and sizes are good.
        any_element: the elements of ``scattering`` do not matter, only its grids do.
        unique: for training data, of which there may be much: repeated structures and path ids with two
            compositions are bad, and the structures are kept in a temporary file.

    Raises:
        ConfigError: the options contradict each other.
        typer.Exit: with code 2, when a structure is bad (and ``skip_bad`` is not set) or none is good.
    """
    if options.path_per_file and options.path_key is not None:
        raise ConfigError("--path-key and --path-per-file exclude each other")
    from service.progress import counter
    from service.reading import BadStructure, iterate_structures
    from service.spool import StructureSpool

    bad: list[BadStructure] = []
    with counter("Reading") as advance:
        found = iterate_structures(
            paths,
            bad,
            path_key=options.path_key,
            path_per_file=options.path_per_file,
            energy_key=options.energy_key,
            need_energy=need_energy,
            vacuum=options.vacuum,
            species=None if scattering is None or any_element else scattering.species,
            check=None if scattering is None else scattering.require_room,
            unique=unique,
            on_progress=advance,
        )
        structures = StructureSpool(found) if unique else list(found)
    # Commands that need all structures have none of the options that would help.
    advice = _advice if options.skip_bad is not None else lambda _: ""
    for problem in bad[:_MOST_TOLD]:
        typer.echo(f"{problem}{advice(problem.reason)}", err=True)
    if len(bad) > _MOST_TOLD:
        typer.echo(f"... and {len(bad) - _MOST_TOLD} more, the last: {bad[-1]}", err=True)
    if bad and not options.skip_bad:
        way_out = "" if options.skip_bad is None else " (--skip-bad goes on with the good ones)"
        typer.echo(
            f"{len(bad)} bad and {len(structures)} good structures; nothing was done{way_out}.", err=True
        )
        raise typer.Exit(2)
    if not structures:
        raise DataError("no structure to work on")
    if bad:
        typer.echo(f"Skipped {len(bad)} bad, going on with {len(structures)} structures.", err=True)
    return structures


def _advice(reason: str) -> str:
    """The option that would help with a bad structure; reading itself knows of no command line."""
    from service.reading import NO_ENERGY, NOT_PERIODIC

    if reason == NOT_PERIODIC:
        return "; --vacuum 10 would place it in a periodic box with 10 Å of vacuum on each side"
    if reason.startswith(NO_ENERGY):
        return "; --energy-key names the info key that holds it"
    return ""


class TransformFile(BaseModel):
    """What a configuration file may set; what it leaves out keeps the default of ``Scattering``."""

    model_config = ConfigDict(extra="forbid")

    beta: float | None = None
    scales: int | None = None
    n: int | None = None
    powers: list[float] | None = None
    grid: dict[str, Any] | None = None
    precision: str | None = None
    origin: str | None = None
    products: bool | dict[str, Any] = True
    species: list[str] | None = None

    _file: Path | None = PrivateAttr(None)  # for messages


def read_config(path: Path | None) -> TransformFile:
    """A TOML or JSON file with the keys beta, scales, n, powers, grid, precision, origin, products,
    species; None: what a file without any key says.

    Raises:
        ConfigError: the file cannot be read, or a key or value in it is wrong; the message names both.
    """
    if path is None:
        return TransformFile()
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        found = TransformFile.model_validate(config)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors()]
        raise ConfigError(f"{path}: {'; '.join(problems)}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # of JSON, TOML and of text that is not UTF-8
        raise ConfigError(f"{path}: {error}") from error
    found._file = path
    return found


def scattering_for(
    elements: Collection[str], config: TransformFile, products: bool | None = None
) -> Scattering:
    """The transform for a data set: defaults changed by a configuration file, channels for its elements.

    Args:
        elements: those of the data set, if the file does not name its species.
        config: see :func:`read_config`.
        products: whether there are products at the atoms; None: as the file says.

    Raises:
        ConfigError: the settings cannot be used.
    """
    from atomscatter.scattering import Scattering

    settings = config.model_dump(exclude_none=True)
    if products is False or (products and settings["products"] is False):
        settings["products"] = products
    species = settings.pop("species", None) or elements
    try:
        return Scattering.from_config(Scattering.for_species(species, products=None).config | settings)
    except ConfigError as error:
        if config._file is None:
            raise
        raise ConfigError(f"{config._file}: {error}") from error


def elements_of(structures: Iterable[LabelledStructure]) -> set[str]:
    """Chemical symbols of all structures."""
    return {symbol for s in structures for symbol in set(s.atoms.get_chemical_symbols())}
