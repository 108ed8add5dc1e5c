"""``atomscatter serve`` and ``atomscatter api-key``: the web service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import options


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the model to serve. Default: the active one, at first the embedded model.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Directory of models, data sets and jobs. Default: atomscatter-state.", show_default=False
        ),
    ] = None,
    workers: options.Workers = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Jobs API of a Ray cluster, http://host:8265, whose nodes share the state directory. "
            "Default: each job starts a local Ray.",
            show_default=False,
        ),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Serve predictions over HTTP, and a page at /; further settings: ATOMSCATTER_... or atomscatter.toml."""
    from api.server import run
    from atomscatter.ensemble import Ensemble
    from service.logs import configure_logging
    from service.settings import ServeSettings, read_settings

    settings = read_settings(ServeSettings, model=model, state=state, workers=workers, jobs_address=address)
    as_json = not sys.stderr.isatty() if settings.log_json is None else settings.log_json
    configure_logging(options.verbosity(quiet, verbose), as_json=as_json)
    # What is wrong with the model is said now, before anything starts.
    if settings.model is not None:
        _ = Ensemble.load(settings.model).scattering
    else:
        _require_active_model(settings.state)
    run(settings, host, port)


def _require_active_model(state: Path) -> None:
    """Raise ModelError that says what to do when the active model is damaged or of another format."""
    from atomscatter.errors import ModelError
    from service.registry import UnusableModelError
    from service.state import StateDirectory

    registry = StateDirectory(state).registry()
    try:
        registry.load(registry.active)
    except UnusableModelError as error:
        name = f"the active model {error.model_id}"
        raise ModelError(f"{name} cannot be used (--model DIR serves another one): {error.reason}") from error


def api_key(
    name: Annotated[str, typer.Argument(help="A word that says whose key it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="predict or jobs; may be repeated. Default: predict.")
    ] = None,
) -> None:
    """Make an API key: the key itself on standard error, the line for the file of keys on standard output."""
    from service.api_keys import new_key

    key, line = new_key(name, scope or ["predict"])
    typer.echo(f"Key (shown only now): {key}", err=True)
    typer.echo(line)
