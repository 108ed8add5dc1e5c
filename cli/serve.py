"""``atomscatter serve`` and ``atomscatter api-key``: the web service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from service.settings import ServeSettings


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the model to serve, or the word embedded. Default: the active one, at first "
            "the embedded model.",
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
    from cli.models import model_directory
    from service.logs import configure_logging
    from service.settings import ServeSettings, read_settings

    settings = read_settings(ServeSettings, model=model, state=state, workers=workers, jobs_address=address)
    as_json = not sys.stderr.isatty() if settings.log_json is None else settings.log_json
    configure_logging(options.verbosity(quiet, verbose), as_json=as_json)
    # What is wrong with the model or the state directory is said now, before anything starts.
    if settings.model is not None:
        directory = model_directory(settings.model)
        settings = settings.model_copy(update={"model": directory})
        _ = Ensemble.load(directory).scattering
    else:
        _require_active_model(settings.state)
    _require_usable_state(settings)
    _tell_who_may_ask(host, settings)
    run(settings, host, port)


def _require_active_model(state: Path) -> None:
    """Raise ModelError that says what to do when the active model is gone, damaged or of another format."""
    from atomscatter.errors import ModelError
    from service.registry import UnusableModelError
    from service.state import StateDirectory

    registry = StateDirectory(state).registry()
    try:
        registry.load(registry.active)
    except UnusableModelError as error:
        name = f"the active model {error.model_id}"
        way_out = "--model DIR serves another one, --model embedded the embedded one"
        raise ModelError(f"{name} cannot be used ({way_out}): {error.reason}") from error


def _require_usable_state(settings: ServeSettings) -> None:
    """Raise ConfigError or StoreError when the state directory cannot be written, its ledger is damaged, or
    another machine uses it."""
    from atomscatter.errors import ConfigError
    from service.state import StateDirectory
    from workers.job_runner import JobRunner

    runner = JobRunner(StateDirectory(settings.state), settings.jobs_address)
    try:
        runner.open().close()
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise ConfigError(f"the state directory cannot be used: {reason}") from error
    finally:
        runner.leave()


def _tell_who_may_ask(host: str, settings: ServeSettings) -> None:
    import structlog

    if settings.api_keys is None and not _is_loopback(host):
        structlog.get_logger().warning(
            "everybody who reaches this address may predict and start jobs: no API keys are set", host=host
        )


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


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
