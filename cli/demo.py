"""``atomscatter demo``: everything on the embedded sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def demo(
    out: Annotated[
        Path, typer.Option(help="Run folder; the model lands in its 'model'. Features there are used again.")
    ] = Path("atomscatter-demo"),
    workers: options.Workers = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Featurize the embedded Li-Si sample, train 500 models, and write tables, predictions and plots.

    Needs no network and no other file; takes minutes.
    """
    from service.demo_report import print_result
    from service.logs import configure_logging
    from service.report import terminal
    from service.settings import Settings, read_settings
    from workers.demo import DemoSettings, run_demo

    configure_logging(options.verbosity(quiet, verbose))
    result = run_demo(out, DemoSettings(), workers=workers or read_settings(Settings).workers)
    if not quiet:
        print_result(terminal(), result)
