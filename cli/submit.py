"""``atomscatter submit``: featurize, train and evaluate as jobs, on a cluster or through a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.followed import EXIT_CODES, follow, next_look, report
from cli.job_access import JobsAddress, State, access
from service import defaults

HELP = (
    "Start a job, the same as POST /v1/jobs does, and watch it: a bar on a terminal, log lines elsewhere, "
    "on standard error; standard output has the job's id. Ctrl-C detaches, and the job goes on. "
    "Exit code: 0 succeeded, 1 failed, 3 cancelled, 130 detached by Ctrl-C."
)


@dataclass(frozen=True)
class Where:
    """Options that say where the jobs are."""

    address: str | None
    state: Path | None


@dataclass(frozen=True)
class Showing:
    """Options that say what is shown, and how long."""

    detach: bool
    as_json: bool
    quiet: bool


@dataclass(frozen=True)
class Upload:
    """Options that name the data set: a file that is sent, or one that is known."""

    data: Path | None
    dataset: str | None
    path_key: str | None
    energy_key: str | None

    def stand_in(self) -> str | None:
        """The id, or something like it until the file is sent. Raises BadParameter."""
        if self.data is None:
            if self.path_key or self.energy_key:
                raise typer.BadParameter("--path-key and --energy-key are for DATA; a data set has its own")
            return self.dataset
        if self.dataset is not None:
            raise typer.BadParameter("DATA and --dataset exclude each other")
        return "0" * 16


def _optional(text: str) -> Any:
    return typer.Option(help=text, show_default=False)


File = Annotated[
    Path | None,
    typer.Option(
        help="Job file (.yaml, .toml or .json) with type and parameters, as the body of POST /v1/jobs; "
        "options on the command line win.",
        show_default=False,
    ),
]
DataFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DATA]",
        help="Extended XYZ with energies (eV) to upload; or name a known data set with --dataset.",
        show_default=False,
        exists=True,
        dir_okay=False,
    ),
]
Dataset = Annotated[str | None, typer.Option(help="Id of a data set.", show_default=False)]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the job as JSON when it has ended.")]


app = typer.Typer(help=HELP, no_args_is_help=True)


@app.command()
def featurize(
    data: DataFile = None,
    dataset: Dataset = None,
    path_key: options.PathKey = None,
    energy_key: options.EnergyKey = None,
    beta: Annotated[float | None, _optional("Width of the wavelets, Angstrom (0.2 to 2).")] = None,
    scales: Annotated[int | None, _optional("Number of scales (1 to 8).")] = None,
    precision: Annotated[str | None, _optional("Of the fields: single (default) or double.")] = None,
    products: Annotated[
        bool | None,
        typer.Option(
            "--products/--no-products",
            help="Whether to compute products at the atoms, too. Default: they are computed.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        _optional("Of each relaxation path at most so many structures, evenly spaced in their order."),
    ] = None,
    copies: Annotated[
        float | None,
        _optional(
            "Share of structures, 0 to 1, featurized again elsewhere on the grids. "
            f"Default: {defaults.COPIES:g}."
        ),
    ] = None,
    file: File = None,
    address: JobsAddress = None,
    state: State = None,
    detach: Detach = False,
    as_json: AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Compute features of a data set; the id of the job is that of the store, for train."""
    given = {"beta": beta, "scales": scales, "precision": precision, "products": products}
    given |= {"steps": steps, "copies": copies}
    upload = Upload(data, dataset, path_key, energy_key)
    _run("featurize", given, file, Where(address, state), Showing(detach, as_json, quiet), upload)


@app.command()
def train(
    store: Annotated[str | None, _optional("Id of the featurize job.")] = None,
    folds: Annotated[
        int | None, _optional(f"Test folds of relaxation paths. Default: {defaults.FOLDS}.")
    ] = None,
    bootstraps: Annotated[int | None, _optional(f"Models per fold. Default: {defaults.BOOTSTRAPS}.")] = None,
    max_features: Annotated[
        int | None, _optional(f"Largest number of features of a model. Default: {defaults.MAX_FEATURES}.")
    ] = None,
    seed: Annotated[int | None, _optional(f"Root of all random numbers. Default: {defaults.SEED}.")] = None,
    orders: Annotated[str | None, _optional("Scattering orders: 0-2 (default) or 0-1.")] = None,
    selection: Annotated[str | None, _optional("bagged (default) or full.")] = None,
    invariance: Annotated[
        float | None,
        _optional(f"Weight of conditions against the error of the grids. Default: {defaults.INVARIANCE:g}."),
    ] = None,
    size_factor: Annotated[
        float | None,
        _optional(
            f"Size of the models as a multiple of the best for one alone. Default: {defaults.SIZE_FACTOR:g}."
        ),
    ] = None,
    channel_share: Annotated[
        float | None,
        _optional(f"Share of the channels that each bagged model sees. Default: {defaults.CHANNEL_SHARE:g}."),
    ] = None,
    products: Annotated[
        bool | None,
        typer.Option(
            "--products/--no-products",
            help="Whether products at the atoms may be selected. Default: they may.",
            show_default=False,
        ),
    ] = None,
    references: options.References = None,
    file: File = None,
    address: JobsAddress = None,
    state: State = None,
    detach: Detach = False,
    as_json: AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model from a store; it goes into the registry."""
    given = {
        "store": store,
        "folds": folds,
        "bootstraps": bootstraps,
        "max_features": max_features,
        "seed": seed,
        "orders": orders,
        "selection": selection,
        "invariance": invariance,
        "size_factor": size_factor,
        "channel_share": channel_share,
        "products": products,
        "references": options.parse_references(references),
    }
    _run("train", given, file, Where(address, state), Showing(detach, as_json, quiet))


@app.command()
def evaluate(
    data: DataFile = None,
    dataset: Dataset = None,
    energy_key: options.EnergyKey = None,
    model: Annotated[str | None, _optional("Id of the model. Default: the active one.")] = None,
    file: File = None,
    address: JobsAddress = None,
    state: State = None,
    detach: Detach = False,
    as_json: AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare a model with the energies of a data set."""
    upload = Upload(data, dataset, None, energy_key)
    _run("evaluate", {"model": model}, file, Where(address, state), Showing(detach, as_json, quiet), upload)


def _run(
    kind: str,
    given: dict[str, Any],
    file: Path | None,
    where: Where,
    showing: Showing,
    upload: Upload | None = None,
) -> None:
    from cli.job_file import job_parameters

    if upload is not None:
        given["dataset"] = upload.stand_in()
    parameters = job_parameters(kind, file, given)  # what is wrong is said before anything is sent
    with access(where.address, where.state, new=True) as found:
        if upload is not None and upload.data is not None:
            parameters["dataset"] = found.jobs.add_dataset(upload.data, upload.path_key, upload.energy_key)
        job = found.jobs.submit(kind, parameters)
        if not showing.as_json:
            typer.echo(job.id)
        # Without a server, a look starts it.
        job = next_look(found, job.id) if showing.detach else follow(found, job, quiet=showing.quiet)
    report(job, as_json=showing.as_json, quiet=showing.quiet)
    if not showing.detach:
        raise typer.Exit(EXIT_CODES[job.state])
