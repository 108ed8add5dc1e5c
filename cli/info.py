"""``atomscatter info``: what a feature store or a model holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from atomscatter.errors import DataError
from cli import options
from cli.models import model_directory


def info(
    path: Annotated[
        str,
        typer.Argument(
            help="Directory of a feature store or a model, URL of a store, or the word embedded: the model "
            "of Li and Si.",
            show_default=False,
        ),
    ],
    as_json: options.AsJson = False,
) -> None:
    """Describe a feature store or a model."""
    from rich.table import Table

    from atomscatter.model_files import CARD_FILE
    from service.result_files import plain
    from service.storage import is_url
    from service.tables import terminal

    directory = model_directory(path)
    if not (is_url(path) or directory.is_dir()):
        raise DataError(f"{path}: no such directory")
    is_model = not is_url(path) and (directory / CARD_FILE).exists()
    values = _of_model(directory) if is_model else _of_store(path)
    if as_json:
        typer.echo(json.dumps(plain(values), allow_nan=False))
        return
    table = Table(title=path, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name.replace("_", " "), value if isinstance(value, str) else json.dumps(plain(value)))
    terminal().print(table)


def _of_model(path: Path) -> dict[str, Any]:
    from atomscatter.ensemble import Ensemble

    ensemble = Ensemble.load(path)
    training = ensemble.card
    return {
        "kind": "model",
        "model": ensemble.model_id,
        "models": ensemble.n_models,
        "features": ensemble.n_features,
        "features per model (mean)": round(float(ensemble.n_selected.mean()), 1),
        "species": list(ensemble.scattering.species),
        "reference energies (eV/atom)": ensemble.reference_energies,
        "data hash": ensemble.data_hash,
        "transform": _transform(ensemble.scattering_config),
        "training": {
            key: training[key] for key in ("settings", "n_structures", "n_paths") if key in training
        },
        "errors on held-out paths (eV/atom)": {
            key: value for key, value in training.get("errors", {}).items() if key.startswith(("rmse", "mae"))
        },
        "environment": training.get("environment"),
    }


def _of_store(path: str) -> dict[str, Any]:
    from service.feature_store import FeatureStore

    store = FeatureStore.open(path, check=False)
    copies = int((store.originals >= 0).sum())
    damaged = store.verify()
    sound = len(store.completed_units()) - len(damaged)
    return {
        "kind": "feature store",
        "structures": len(store) - copies,
        "translated copies": copies,
        "features": store.n_features,
        "relaxation paths": len(set(store.path_ids)),
        "compositions": len(set(store.compositions)),
        "atoms": [int(store.n_atoms.min()), int(store.n_atoms.max())],
        "complete": sound == store.n_units,
        "units done": f"{sound} of {store.n_units}",
        "damaged": damaged,
        "data hash": store.data_hash,
        "transform": _transform(store.scattering_config),
        "transform hash": store.scattering_config_hash,
    }


def _transform(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with channel names only."""
    return config | {"channels": [channel["name"] for channel in config.get("channels", [])]}
