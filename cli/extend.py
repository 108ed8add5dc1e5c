"""``atomscatter extend``: new relaxation paths for a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


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
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Fit new relaxation paths into a trained model without training it anew.

    Models that draw a new path keep their features and get new weights; the others stay as they are.
    """
    from atomscatter.ensemble import Ensemble
    from service.evaluation import MEV
    from service.feature_store import FeatureStore
    from service.logs import configure_logging
    from service.report import plus_minus, replace_model, require_model_place
    from workers.extend import extend as run

    configure_logging(options.verbosity(quiet, verbose))
    require_model_place(out)
    ensemble = Ensemble.load(model)
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
