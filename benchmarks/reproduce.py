"""The paper's tables and figures, from the reference directory and feature stores.

    python benchmarks/reproduce.py REFERENCE_DIRECTORY FEATURES RUN_DIRECTORY [--variants default paper ...]

FEATURES/stores holds the stores of the relaxation paths, part00 ... (made by benchmarks/full_paths.py and
``atomscatter featurize``), and gets those of the other sets. Models go to RUN_DIRECTORY; numbers, plots and
the page (paper.md) to --results. A variant whose numbers are in RUN_DIRECTORY is not trained again, so that
the command can be repeated, or run for one variant after the other; numbers of other stores, structures,
transforms or settings are refused, which needs the stores to be there. Without variants: plots and page only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
import paper_figures
import paper_plots
from common import transform_line
from error_tables import fold_weights, moves_of_copies
from full_paths import PARTS
from paper_page import DRAWN, VARIANTS, folder_of, page
from paper_results import SETS, results_of

from atomscatter.errors import AtomscatterError
from atomscatter.scattering import Scattering
from service.demo_data import REFERENCE_ENERGIES
from service.evaluation import evaluate
from service.feature_store import FeatureStore
from service.logs import configure_logging
from service.model_directory import save_model
from service.progress import increments, progress
from service.reading import LabelledStructure, read_structures
from service.result_files import write_text
from service.training import FitSettings, TrainingData, joined_hash, training_data
from workers.featurize import featurize
from workers.train import train_on

FILES = {"diffusion": "diffusion.extxyz", "large": "large.extxyz.xz", "bulk": "bulk.extxyz.xz"}


def main() -> None:
    given = arguments()
    configure_logging("normal")
    numbers = {name: given.run / f"{name}.json" for name in VARIANTS}
    if given.variants:
        data = data_of(given)
        recipes = {name: recipe(name, data, given) for name in given.variants}
        there = [name for name, file in numbers.items() if is_there(file, recipes.get(name, data))]
        if missing := {name: recipes[name] for name in given.variants if name not in there}:
            train_variants(given, missing, numbers)
    results = {name: json.loads(file.read_text()) for name, file in numbers.items() if file.exists()}
    folder = given.results / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    for name in results:
        write_text(folder / f"{name}.json", numbers[name].read_text())
    for name in [name for name in DRAWN if name in results]:
        plots = given.results / folder_of(name, folder.name)
        plots.mkdir(exist_ok=True)
        paper_plots.draw(results[name], plots)
    if not given.without_data_figures:
        paper_figures.draw_all(given.reference, folder)
    write_text(given.results / "paper.md", page(results, folder.name))
    print(f"wrote {given.results / 'paper.md'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--variants", nargs="*", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument(
        "--parts", nargs="+", help="stores to train with; default: all part* in FEATURES/stores"
    )
    parser.add_argument("--results", type=Path, default=common.RESULTS)
    parser.add_argument("--max-features", type=int, default=FitSettings.max_features)
    parser.add_argument("--bootstraps", type=int, default=FitSettings.bootstraps)
    parser.add_argument("--workers", type=int)
    parser.add_argument(
        "--without-data-figures", action="store_true", help="leave Figs. 1-4, 11, 12 as they are"
    )
    return parser.parse_args()


def settings_of(variant: str, given: argparse.Namespace) -> FitSettings:
    settings = FitSettings(bootstraps=given.bootstraps, max_features=given.max_features)
    if variant == "default":
        return settings
    paper = replace(settings, products=False, invariance=0.0, channel_share=1.0)
    if variant == "orders-0-1":
        return replace(paper, orders="0-1")
    return replace(paper, selection="full") if variant == "non-randomised" else paper


def parts_of(given: argparse.Namespace) -> list[str]:
    return list(given.parts or sorted(path.name for path in (given.features / "stores").glob("part*")))


def is_there(file: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether the numbers of a variant are there, made as is ``wanted``: by its :func:`recipe`, or, if it
    only goes onto the page, from the same :func:`data_of`."""
    if not file.exists():
        return False
    made = json.loads(file.read_text()).get("of", {})
    if different := [name for name in wanted if made.get(name) != wanted[name]]:
        sys.exit(f"{file} was made with other {', '.join(different)}; take another RUN_DIRECTORY")
    return True


def recipe(variant: str, data: Mapping[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """What the numbers of a variant depend on; ``data`` as :func:`data_of` gives it."""
    return {**data, "fit": asdict(settings_of(variant, given))}


def data_of(given: argparse.Namespace) -> dict[str, Any]:
    """What the numbers of all variants depend on: stores, the hashes of transform and structures in their
    metadata, and those of the files of the other sets. Reads no features."""
    folder, parts = given.features / "stores", parts_of(given)
    if not parts:
        sys.exit(f"{folder} holds no store part00 ...")
    try:
        stores = [FeatureStore.open(folder / part, check=False) for part in parts]
        others = {kind: sha256_of(given.reference / file) for kind, file in FILES.items()}
    except (AtomscatterError, OSError) as error:
        sys.exit(str(error))
    transforms = {store.scattering_config_hash for store in stores}
    return {
        "stores": parts,
        "transform": "+".join(sorted(transforms)),
        "structures": joined_hash(stores),
        "test sets": others,
    }


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def train_variants(
    given: argparse.Namespace, recipes: Mapping[str, Mapping[str, Any]], files: Mapping[str, Path]
) -> None:
    """Train each variant of ``recipes``, save its model, and write its numbers to its file."""
    stores = given.features / "stores"
    parts = parts_of(given)
    data = training_data([FeatureStore.open(stores / part, check=False) for part in parts])
    others, features = other_sets(given.reference, stores, data.scattering_config, given.workers)
    for variant, of in recipes.items():
        fit = settings_of(variant, given)
        with progress(f"Training, {variant}", fit.folds * fit.models_per_fold, "models") as advance:
            ensemble, training = train_on(
                data,
                fit,
                workers=given.workers,
                references=REFERENCE_ENERGIES,
                curve_features=np.vstack([features[kind] for kind in SETS]),
                on_progress=increments(advance),
            )
        save_model(ensemble, training, given.run / variant)
        evaluated = {kind: evaluate(ensemble, others[kind], features[kind]) for kind in SETS}
        values = results_of(training, data.path_ids, evaluated)
        if data.differences is not None:
            folds = dict(zip(data.path_ids, training.fold_of_structure.tolist(), strict=True))
            values["moves"] = moves_of_copies(fold_weights(ensemble), data, folds)
        about = {
            "model": ensemble.model_id,
            "of": of,
            "settings": described(data, fit, parts),
            "machine": common.machine_line(common.machine("ray", "zarr")),
        }
        write_numbers(files[variant], about | values)


def other_sets(
    reference: Path, stores: Path, config: Mapping[str, Any], workers: int | None = None
) -> tuple[dict[str, list[LabelledStructure]], dict[str, np.ndarray]]:
    """Structures and features of the sets that are not trained on."""
    scattering = Scattering.from_config(config)
    structures, features = {}, {}
    for kind in SETS:
        structures[kind], bad = read_structures(
            [reference / FILES[kind]], path_key="path_id", need_energy=True
        )
        if bad:
            sys.exit(str(bad[0]))
        with progress(f"Features, {kind}", len(structures[kind])) as advance:
            store = featurize(
                structures[kind], scattering, stores / kind, workers=workers, on_progress=advance
            )
        features[kind] = np.asarray(store.features[:])
    return structures, features


def described(data: TrainingData, fit: FitSettings, parts: Sequence[str]) -> str:
    """What was trained on, transform and fit."""
    config, n = data.scattering_config, len(data.energies)
    copies = f"{len(data.difference_paths)} translated copies" if fit.invariance > 0 else "no copies"
    stores = f"{', '.join(parts)} (of {PARTS} parts that hold all structures)"
    if len(parts) == PARTS:
        stores = f"all {PARTS} parts"
    return (
        f"Stores: {stores}: {n} structures, {copies}. "
        f"Transform: {transform_line(config, products=fit.products)}, {config['precision']} precision, "
        f"origin {config.get('origin', 'cell')}; "
        f"{len(fit.columns(data))} features to choose from, "
        f"at most {fit.max_features} features per model, invariance {fit.invariance:g}, "
        f"channel share {fit.channel_share:g}."
    )


def write_numbers(file: Path, values: Mapping[str, Any]) -> None:
    """JSON with one line for each entry; seven significant digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.7g}")
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list) else value

    lines = [f"{json.dumps(k)}: {json.dumps(rounded(v), allow_nan=False)}" for k, v in values.items()]
    write_text(file, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
