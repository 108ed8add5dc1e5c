"""``atomscatter extend``: new relaxation paths for a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.models import Force, load_model, require_new_model


def extend(
    model: options.ModelDirectory,
    store: Annotated[
        list[str],
        typer.Option(
            help="Directory or URL of the feature store that the model was trained on; several in the same "
            "order as in train.",
            show_default=False,
        ),
    ],
    new: Annotated[
        list[str],
        typer.Option(help="Directory or URL of a feature store with new paths.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Directory to write the extended model to.", show_default=False)],
    force: Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Fit new relaxation paths into a trained model without training it anew.

    Models that draw a new path keep their features and get new weights; the others stay as they are.
    """
    from service.evaluation import MEV
    from service.feature_store import FeatureStore
    from service.logs import configure_logging
    from service.model_directory import replace_model
    from service.tables import plus_minus
    from workers.extend import extend as run

    configure_logging(options.verbosity(quiet, verbose))
    require_new_model("--out", out, force)
    ensemble = load_model(model)
    known, further = ([FeatureStore.open(path) for path in paths] for paths in (store, new))
    extended, changed = run(ensemble, known, further)
    replace_model(extended, out)
    if not quiet:
        errors = extended.card["errors"]
        rmse = plus_minus(errors["rmse_mean"] * MEV, errors["rmse_std"] * MEV, 2)
        typer.echo(
            f"{len(changed)} of {extended.n_models} models changed; RMSE on held-out paths {rmse} meV/atom; "
            f"model {extended.model_id} in {out}"
        )
