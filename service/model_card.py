"""The model card: what is stored with a model, and that for readers, with results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomscatter.model_files import CARD_FILE
from service.evaluation import MEV, Errors, PropertyErrors
from service.tables import (
    ERROR_HEADERS,
    PROPERTY_HEADERS,
    error_rows,
    errors_json,
    markdown_table,
    plus_minus,
    property_json,
    property_rows,
)


def read_card(model_directory: Path) -> dict[str, Any]:
    """The card of a stored model, as JSON values."""
    card: dict[str, Any] = json.loads((model_directory / CARD_FILE).read_text(encoding="utf-8"))
    return card


@dataclass(frozen=True)
class CardExtras:
    """What a model card says beyond the model itself."""

    notes: Sequence[str] = ()
    errors: Sequence[Errors] = ()
    properties: Sequence[PropertyErrors] = ()
    labels: str = "as given with the training data"


def card_json(card: Mapping[str, Any], extras: CardExtras) -> dict[str, Any]:
    """The stored card with results, as JSON values."""
    return {
        **card,
        "labels": extras.labels,
        "notes": list(extras.notes),
        "results": {
            "energies": [errors_json(e) for e in extras.errors],
            "properties": [property_json(p) for p in extras.properties],
        },
    }


def card_markdown(card: Mapping[str, Any], extras: CardExtras) -> str:
    """The model card for readers."""
    training = card["training"]
    settings, errors, environment = training["settings"], training["errors"], training["environment"]
    scattering = card["scattering"]
    lines = [
        f"# Model {card['model_id']}",
        "",
        "Energy of a periodic structure: the mean of sparse linear models over wavelet scattering features. "
        "The spread of the models is given as the uncertainty.",
        "",
        "| | |",
        "| --- | --- |",
        f"| training data | {training['n_structures']} structures in {training['n_paths']} paths |",
        f"| labels | {extras.labels} |",
        f"| data hash | `{card['data_hash'][:16]}` |",
        f"| models | {settings['folds']} folds, {_models_per_fold(settings)} each, "
        f"selection {settings['selection']}, orders {settings['orders']}, {_channels(settings)}"
        f"seed {settings['seed']} |",
        f"| features per model ({_size_name(settings)}) | {errors['n_selected_mean']:.0f} ± "
        f"{errors['n_selected_std']:.0f}, at most {settings['max_features']} |",
        f"| transform | beta {scattering['beta']} Angstrom, {scattering['scales']} scales, "
        f"n = {scattering['n']}, powers {', '.join(f'{q:.4g}' for q in scattering['powers'])}, "
        f"{scattering['precision']} precision, {_origin(scattering)}{_products(scattering)} |",
        f"| transform hash | `{card['scattering_hash'][:16]}` |",
        f"| reference energies (eV/atom) | {_references(card.get('reference_energies'))} |",
        f"| error on held-out paths (meV/atom) | RMSE {_mev(errors, 'rmse')}, MAE {_mev(errors, 'mae')} |",
        f"| made | {environment['date']}, {_versions(environment)} |",
        f"| machine | {environment['processor']}, {environment['cores']} cores, "
        f"{environment['memory_gib']} GiB |",
        f"| training time | {environment['seconds']:.0f} s |",
        "",
    ]
    if extras.errors:
        lines += ["## Errors (mean ± standard deviation over the folds)", ""]
        lines += [markdown_table(ERROR_HEADERS, error_rows(extras.errors))]
    if extras.properties:
        lines += [markdown_table(PROPERTY_HEADERS, property_rows(extras.properties))]
    lines += [f"{note}\n" for note in extras.notes]
    return "\n".join(lines)


def _models_per_fold(settings: Mapping[str, Any]) -> str:
    if settings["selection"] == "bagged":
        return f"{settings['bootstraps']} bootstraps"
    from service.training import NESTED_SPLITS  # with the kernels, which tables do not need

    return f"{NESTED_SPLITS} nested splits"


def _size_name(settings: Mapping[str, Any]) -> str:
    factor = settings["size_factor"]
    return "M*" if factor == 1 else f"M* times {factor:g}"


def _channels(settings: Mapping[str, Any]) -> str:
    seen, every = settings["channels_seen"], settings["channels"]
    return "" if seen == every else f"{seen} of {every} channels for each model, "


def _origin(scattering: Mapping[str, Any]) -> str:
    return "grids move with the atoms" if scattering["origin"] == "atoms" else "grids stay in the cell"


def _products(scattering: Mapping[str, Any]) -> str:
    products = scattering.get("products")
    if products is None:
        return ""
    widths = ", ".join(f"{width:g}" for width in products["widths"])
    return f", products at the atoms of widths {widths} Angstrom, n = {products['n']}"


def _mev(errors: Mapping[str, Any], name: str) -> str:
    return plus_minus(errors[f"{name}_mean"] * MEV, errors[f"{name}_std"] * MEV, 2)


def _references(references: Mapping[str, float] | None) -> str:
    if not references:
        return "none: formation energies are not given"
    return ", ".join(f"{symbol} {energy:.6g}" for symbol, energy in sorted(references.items()))


def _versions(environment: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
