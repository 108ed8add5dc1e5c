"""``atomscatter featurize``: structures to a feature store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.inputs import ReadingOptions, elements_of, read_config, read_inputs, scattering_for
from service import defaults


def featurize(
    data: options.Data,
    store: Annotated[
        str,
        typer.Option(
            help="Directory or URL (s3://bucket/path) of the feature store; a partial one is completed.",
            show_default=False,
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML or JSON file with settings of the transform: beta (Angstrom), scales, n, powers, "
            "grid, precision, origin, products, species. Default: those of atomscatter.Scattering, with the "
            "elements of the data.",
            show_default=False,
        ),
    ] = None,
    products: Annotated[
        bool | None,
        typer.Option(
            "--products/--no-products",
            help="Whether to compute products at the atoms, too; their number grows with the third power of "
            "the number of elements (180 with two, 2,475 with five). Default: as --config says, or they are.",
            show_default=False,
        ),
    ] = None,
    path_key: options.PathKey = None,
    path_per_file: options.PathPerFile = False,
    energy_key: options.EnergyKey = None,
    without_energies: Annotated[
        bool,
        typer.Option("--without-energies", help="Accept structures without energies. Default: refused."),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of each relaxation path at most so many structures, evenly spaced in the order in which "
            "they are read, first and last among them (of one: the last). Default: all.",
            show_default=False,
        ),
    ] = None,
    copies: Annotated[
        float,
        typer.Option(
            help="Share of the structures (0 to 1) that are featurized again, translated over grids that "
            "stay: from these copies, training learns which features the error of the grids disturbs."
        ),
    ] = defaults.COPIES,
    chunk_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Structures of one unit of work: what is computed again after an interruption. Default: "
            "work for about 0.1 s or more, and for large data 1/64 of them or 256.",
            show_default=False,
        ),
    ] = None,
    vacuum: options.Vacuum = None,
    skip_bad: options.SkipBad = False,
    workers: options.Workers = None,
    address: options.Address = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compute the scattering features of structures and keep them in a store.

    Repeated with the same data, only what is missing is computed.
    """
    from service.copies import with_translated_copies
    from service.logs import configure_logging
    from service.path_steps import with_steps
    from service.progress import progress
    from service.settings import Settings, read_settings
    from workers.featurize import featurize as run

    configure_logging(options.verbosity(quiet, verbose))
    settings = read_settings(Settings)
    reading = ReadingOptions(path_key, path_per_file, energy_key, vacuum, skip_bad)
    transform = read_config(config)
    found = read_inputs(
        data,
        reading,
        need_energy=not without_energies,
        scattering=scattering_for(["H"], transform, products=False),  # its grids, which no element changes
        any_element=transform.species is None,
        unique=True,
    )
    structures = with_steps(found, steps)
    scattering = scattering_for(elements_of(structures), transform, products)
    rows = with_translated_copies(structures, copies)
    with progress("Features", len(rows)) as advance:
        run(
            rows,
            scattering,
            store,
            workers=workers or settings.workers,
            address=address or settings.address,
            chunk_rows=chunk_rows,
            on_progress=advance,
        )
    if not quiet:
        extra = f" and {len(rows) - len(structures)} translated copies" if len(rows) > len(structures) else ""
        part = f" of {len(found)}" if len(structures) < len(found) else ""
        typer.echo(f"{len(structures)}{part} structures{extra} x {scattering.n_features} features in {store}")
