"""``atomscatter train``: a feature store to an averaged model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.models import Force, require_new_model
from service import defaults


class Orders(StrEnum):
    """Which scattering orders may be selected."""

    UP_TO_SECOND = "0-2"
    UP_TO_FIRST = "0-1"


class Selection(StrEnum):
    """How features are selected."""

    BAGGED = "bagged"
    FULL = "full"


_ORDERS = Orders(defaults.ORDERS)
_SELECTION = Selection(defaults.SELECTION)


def train(
    store: Annotated[
        list[str],
        typer.Option(
            help="Directory or URL of a feature store made by featurize; give several to join stores.",
            show_default=False,
        ),
    ],
    model: Annotated[Path, typer.Option(help="Directory to write the model to.", show_default=False)],
    folds: Annotated[int, typer.Option(help="Test folds of relaxation paths.", min=2)] = defaults.FOLDS,
    bootstraps: Annotated[int, typer.Option(help="Models per fold.", min=1)] = defaults.BOOTSTRAPS,
    max_features: Annotated[
        int, typer.Option(help="Largest number of features of a model, bias included.", min=1)
    ] = defaults.MAX_FEATURES,
    seed: Annotated[int, typer.Option(help="Root of all random numbers.", min=0)] = defaults.SEED,
    orders: Annotated[Orders, typer.Option(help="Scattering orders to select from.")] = _ORDERS,
    selection: Annotated[
        Selection,
        typer.Option(
            help="bagged: bootstrapped paths and random candidates at each step; "
            "full: all candidates, nested 4-fold cross-validation (appendix C of the paper)."
        ),
    ] = _SELECTION,
    invariance: Annotated[
        float,
        typer.Option(
            help="Weight of the conditions, learned from the store's translated copies, that energies do not "
            "depend on where atoms lie on the grids. 0: the paper's fit.",
            min=0,
        ),
    ] = defaults.INVARIANCE,
    size_factor: Annotated[
        float,
        typer.Option(
            help="Features of a model, as a multiple of the number with the smallest out-of-bag error; at "
            "most --max-features. 1: the paper's fit.",
        ),
    ] = defaults.SIZE_FACTOR,
    channel_share: Annotated[
        float,
        typer.Option(
            help="Share of the channels (species, valence, core, kinetic, products at the atoms) that each "
            "model sees, drawn anew for each; order 0 is seen by all, and with --selection full everything. "
            "1: the paper's fit.",
        ),
    ] = defaults.CHANNEL_SHARE,
    products: Annotated[
        bool,
        typer.Option(
            "--products/--no-products",
            help="Whether products at the atoms may be selected, if the stores have them.",
        ),
    ] = defaults.PRODUCTS,
    references: options.References = None,
    force: Force = False,
    workers: options.Workers = None,
    address: options.Address = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train bootstrapped sparse linear models and average them.

    Writes the model; learning curves, parity plot and a readable card go into its "report" directory.
    What the options of the fit gain and cost is in docs/accuracy.md.
    """
    from service.feature_store import FeatureStore
    from service.logs import configure_logging
    from service.model_directory import save_model
    from service.progress import increments, progress
    from service.settings import Settings, read_settings
    from service.tables import fold_table, terminal
    from service.training import FitSettings, training_data
    from workers.train import train_on

    configure_logging(options.verbosity(quiet, verbose))
    settings = read_settings(Settings)
    energies = options.parse_references(references)
    fit = FitSettings(
        folds=folds,
        bootstraps=bootstraps,
        max_features=max_features,
        seed=seed,
        orders=orders.value,
        selection=selection.value,
        invariance=invariance,
        size_factor=size_factor,
        channel_share=channel_share,
        products=products,
    )
    require_new_model("--model", model, force)
    data = training_data([FeatureStore.open(path) for path in store])
    with progress("Training", fit.folds * fit.models_per_fold, "models") as advance:
        ensemble, report = train_on(
            data,
            fit,
            workers=workers or settings.workers,
            address=address or settings.address,
            references=energies,
            on_progress=increments(advance),
        )
    save_model(ensemble, report, model)
    if not quiet:
        console = terminal()
        console.print(fold_table(report))
        console.print(f"model {ensemble.model_id} in {model}")
