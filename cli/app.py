"""The ``atomscatter`` command."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from atomscatter.errors import AtomscatterError, BusyStoreError, StorageError, WorkerError
from atomscatter.version import package_version
from cli import (
    demo,
    evaluate,
    extend,
    featurize,
    info,
    jobs,
    predict,
    properties,
    prune,
    serve,
    submit,
    train,
)

BAD_INPUT = 2
FAILURE = 1
_FAILURES = (BusyStoreError, StorageError, WorkerError)


class _Group(TyperGroup):
    """Turns errors that are meant for users into a line on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AtomscatterError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(FAILURE if isinstance(error, _FAILURES) else BAD_INPUT) from error
        except BrokenPipeError:  # e.g. into head: nothing is wrong
            raise
        except OSError as error:  # e.g. a full disk or a missing permission
            place = f"{error.filename}: " if error.filename else ""
            typer.echo(f"Error: {place}{error.strerror or error}", err=True)
            raise typer.Exit(FAILURE) from error


app = typer.Typer(
    name="atomscatter",
    cls=_Group,
    help="Energies of atomic structures from wavelet scattering features and averaged sparse linear models. "
    "Lengths are in Angstrom, energies in eV.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atomscatter {package_version() or '(not installed)'}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("featurize")(featurize.featurize)
app.command("train")(train.train)
app.command("extend")(extend.extend)
app.command("prune")(prune.prune)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("info")(info.info)
app.command("bulk-modulus")(properties.bulk_modulus)
app.command("barrier")(properties.barrier)
app.command("voltage")(properties.voltage)
app.command("rdf")(properties.rdf)
app.command("serve")(serve.serve)
app.command("api-key")(serve.api_key)
app.add_typer(submit.app, name="submit")
app.add_typer(jobs.app, name="jobs")


def main() -> None:
    """Entry point of the installed command."""
    app()
