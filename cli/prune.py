"""``atomscatter prune``: a model with fewer features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.models import Force, load_model, require_new_model


def prune(
    model: options.ModelDirectory,
    store: Annotated[
        list[str],
        typer.Option(
            help="Directory or URL of the feature store that the model was trained on; several as in train.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory to write the pruned model to.", show_default=False)],
    features: Annotated[
        int | None,
        typer.Option(
            help="Largest number of features to keep. Default: see --max-rise.", min=1, show_default=False
        ),
    ] = None,
    max_rise: Annotated[
        float,
        typer.Option(help="Largest rise of the RMSE on held-out paths, as a share (0.02: 2 %).", min=0),
    ] = 0.02,
    force: Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Keep the features that the averaged model needs most, for faster predictions.

    The kept features' weights are fitted to what the model predicts from all of them; uncertainties are kept.
    Held-out paths have a part in what is kept: errors of structures unlike them, as of few paths, rise more.
    """
    from service.evaluation import MEV
    from service.feature_store import FeatureStore
    from service.logs import configure_logging
    from service.model_directory import replace_model
    from service.pruning import Pruning
    from service.training import training_data

    configure_logging(options.verbosity(quiet, verbose))
    require_new_model("--out", out, force)
    ensemble = load_model(model)
    pruning = Pruning(ensemble, training_data([FeatureStore.open(path) for path in store]))
    size = pruning.smallest(features=features, max_rise=max_rise)
    pruned = pruning.model(size)
    replace_model(pruned, out)
    if not quiet:
        before, after = pruning.whole[0].mean() * MEV, size.rmse.mean() * MEV
        kept = f"{len(size.columns)} of {pruned.card['pruned']['features_before']} features"
        change = f"{before:.2f} -> {after:.2f} meV/atom ({100 * size.rise:+.1f} %)"
        typer.echo(f"{kept}; RMSE on held-out paths {change}; model {pruned.model_id} in {out}")
