"""``atomscatter demo``: everything on the embedded sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atomscatter.errors import ConfigError
from cli import options


def demo(
    out: Annotated[
        Path, typer.Option(help="Run folder; the model lands in its 'model'. Features there are used again.")
    ] = Path("atomscatter-demo"),
    files: Annotated[
        Path | None,
        typer.Option(
            help="Only write structures to try other commands on, into this new directory. Default: none.",
            show_default=False,
        ),
    ] = None,
    workers: options.Workers = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Featurize the embedded Li-Si sample, train 500 models, and write tables, predictions and plots.

    Needs no network and no other file; takes minutes.
    """
    from cli.example_files import write_example_files
    from service.demo_report import print_result
    from service.logs import configure_logging
    from service.settings import Settings, read_settings
    from service.tables import terminal
    from workers.demo import DemoSettings, run_demo

    configure_logging(options.verbosity(quiet, verbose))
    if files is not None:
        if files.exists():
            raise ConfigError(f"--files {files}: is there already; name a new directory")
        names = write_example_files(files)
        if not quiet:
            typer.echo(f"Written to {files}: {', '.join(names)}")
        return
    result = run_demo(out, DemoSettings(), workers=workers or read_settings(Settings).workers)
    if not quiet:
        print_result(terminal(), result)
