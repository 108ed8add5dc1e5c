"""Reading what the user named, and reporting what is wrong with it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from atomscatter.errors import ConfigError, DataError

if TYPE_CHECKING:
    from atomscatter.scattering import Scattering
    from service.reading import LabelledStructure


@dataclass(frozen=True)
class ReadingOptions:
    """How files are read; see cli.options for the meaning."""

    path_key: str | None = None
    path_per_file: bool = False
    energy_key: str | None = None
    vacuum: float | None = None
    skip_bad: bool = False


def read_inputs(
    paths: Sequence[Path],
    options: ReadingOptions,
    *,
    need_energy: bool,
    species: Iterable[str] | None = None,
    unique: bool = False,
) -> list[LabelledStructure]:
    """Structures of all files; each bad one is a line on standard error.

    Args:
        paths: files and directories.
        options: how to read them.
        need_energy: a structure without an energy is bad.
        species: chemical symbols that are allowed; None allows all.
        unique: for training data: repeated structures and path ids with two compositions are bad.

    Raises:
        typer.Exit: with code 2, when a structure is bad (and ``skip_bad`` is not set) or none is good.
    """
    from service.reading import read_structures

    structures, bad = read_structures(
        paths,
        path_key=options.path_key,
        path_per_file=options.path_per_file,
        energy_key=options.energy_key,
        need_energy=need_energy,
        vacuum=options.vacuum,
        species=None if species is None else tuple(species),
        unique=unique,
    )
    for problem in bad:
        typer.echo(str(problem), err=True)
    if bad and not options.skip_bad:
        typer.echo(
            f"{len(bad)} bad and {len(structures)} good structures; nothing was done "
            "(--skip-bad goes on with the good ones).",
            err=True,
        )
        raise typer.Exit(2)
    if not structures:
        raise DataError("no structure to work on")
    if bad:
        typer.echo(f"Skipped {len(bad)} bad, going on with {len(structures)} structures.", err=True)
    return structures


def scattering_for(structures: Sequence[LabelledStructure], config_file: Path | None) -> Scattering:
    """The transform for a data set: defaults changed by a configuration file, channels for its elements."""
    from atomscatter.scattering import Scattering

    found = sorted({s for structure in structures for s in set(structure.atoms.get_chemical_symbols())})
    if config_file is None:
        return Scattering.for_species(found)
    config = read_config(config_file)
    species = config.pop("species", found)
    try:
        if "channels" not in config:
            reference = Scattering.for_species(species)
            config["channels"] = reference.config["channels"]
        return Scattering.from_config(config)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{config_file}: {error}") from error


def read_config(path: Path) -> dict[str, Any]:
    """A TOML or JSON file with the keys beta, scales, n, powers, channels, grid, species.

    Raises:
        ConfigError: the file cannot be read, or does not hold a table; the message names it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # of JSON, TOML and of text that is not UTF-8
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: a table of settings is expected, not a {type(config).__name__}")
    return config
