"""The paper's tables and plots from full feature stores.

    python benchmarks/paper_tables.py REFERENCE_DIRECTORY FEATURES OUTPUT [--parts 0 2 1 3] [--selection full]
        [--orders 0-1] [--invariance 200] [--max-features 1000] [--bootstraps 100]

FEATURES holds part0.extxyz ... (made by benchmarks/full_paths.py) and stores/part0 ... (made by
``atomscatter featurize``); features of the other sets are added. OUTPUT becomes a run folder like the demo's:
table.md, plots/, predictions/, model/. Trains with every part named.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import common
import numpy as np

from atomscatter.scattering import Scattering
from service.demo_data import REFERENCE_ENERGIES
from service.demo_report import write_results, write_timings
from service.evaluation import evaluate, evaluate_held_out
from service.feature_store import FeatureStore
from service.logs import configure_logging
from service.progress import increments, progress
from service.reading import read_structures
from service.report import save_model
from service.training import FitSettings, training_data
from workers.featurize import featurize
from workers.train import train_on

EXTRAPOLATION = {"diffusion": "diffusion.extxyz", "large": "large.extxyz.xz", "bulk": "bulk.extxyz.xz"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--parts", type=int, nargs="+", default=[0, 2, 1, 3])
    parser.add_argument("--selection", default="bagged")
    parser.add_argument("--orders", default="0-2")
    parser.add_argument("--invariance", type=float, default=FitSettings.invariance)
    parser.add_argument("--max-features", type=int, default=1000)
    parser.add_argument("--bootstraps", type=int, default=100)
    given = parser.parse_args()
    configure_logging("normal")
    fit = FitSettings(
        bootstraps=given.bootstraps,
        max_features=given.max_features,
        orders=given.orders,
        selection=given.selection,
        invariance=given.invariance,
    )
    seconds = {}

    began = time.perf_counter()
    stores = [FeatureStore.open(given.features / "stores" / f"part{k}", check=False) for k in given.parts]
    structures, features = [], []
    for part, store in zip(given.parts, stores, strict=True):
        found = read(given.features / f"part{part}.extxyz", unique=True)
        structures += found
        features.append(np.asarray(store.features[: len(found)]))
    data = training_data(stores)
    others = {kind: read(given.reference / file) for kind, file in EXTRAPOLATION.items()}
    scattering = Scattering.from_config(stores[0].scattering_config)
    seconds["reading"] = time.perf_counter() - began

    began = time.perf_counter()
    other_stores = {}
    for kind, found in others.items():
        with progress(f"Features, {kind}", len(found)) as advance:
            place = given.features / "stores" / kind
            other_stores[kind] = featurize(found, scattering, place, on_progress=advance)
    seconds["features of the other sets"] = time.perf_counter() - began

    began = time.perf_counter()
    with progress("Training", fit.folds * fit.models_per_fold, "models") as advance:
        ensemble, training = train_on(
            data, fit, references=REFERENCE_ENERGIES, on_progress=increments(advance)
        )
    seconds["training"] = time.perf_counter() - began
    del data

    began = time.perf_counter()
    given.output.mkdir(parents=True, exist_ok=True)
    save_model(ensemble, training, given.output / "model")
    evaluated = {
        "paths": evaluate_held_out(ensemble, structures, np.vstack(features), training.fold_of_structure)
    }
    for kind, store in other_stores.items():
        evaluated[kind] = evaluate(ensemble, others[kind], np.asarray(store.features[:]))
    write_results(given.output, ensemble, training, evaluated)
    seconds["evaluation and files"] = time.perf_counter() - began
    write_timings(given.output, seconds)
    print(common.machine_line(common.machine("ray", "zarr")))
    print((given.output / "table.md").read_text())


def read(path: Path, *, unique: bool = False):
    """Structures with their paths; for training without repeated ones, as featurize reads them."""
    good, _ = read_structures([path], path_key="path_id", need_energy=True, unique=unique)
    return good


if __name__ == "__main__":
    main()
