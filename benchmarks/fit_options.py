"""What else could be done with the same features: changes of the fit, each alone, on the rows of Table I.

    python benchmarks/fit_options.py REFERENCE_DIRECTORY FEATURES [--parts part00 ...] [--bootstraps 100]

FEATURES/parts and FEATURES/stores hold the relaxation paths (benchmarks/full_paths.py) and their features, as
for benchmarks/reproduce.py; for fit_options_ends.md the only part, part00, is alisi-sample.extxyz, featurized
with --copies 0.4. The paper's fit is the baseline ("invariance 0"), fit_changes.py has the others. The page
is written again after each row; rows of earlier runs on the same structures stay.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
from common import machine, machine_line, table, transform_line, write_results
from error_tables import error_table, errors, held_out_table, moves_of_copies, property_table
from fit_changes import (
    MAX_GROUPS,
    Outcome,
    Study,
    at_most,
    by_groups,
    counting_ends,
    median,
    of_chosen,
    out_of_bag_weights,
    paper,
    ridge_of_all,
    rows_of,
    with_ridge,
    with_settings,
    without_near_duplicates,
)
from full_paths import files_of_store
from peer_fits import Sets
from reproduce import other_sets

from service import defaults
from service.demo_data import LABELS_NOTE, PARENTS_NOTE
from service.feature_store import FeatureStore
from service.reading import read_structures
from service.training import FitSettings, training_data

LEADING = {"fit": "fit", "features": "size"}
ENDS = (3, 1), (8, 1), (1, 8), (8, 8)  # how often the first and the last structure of a path count
NEAR = 0.001, 0.01  # eV/atom between structures of a path that are kept, for "without near-duplicates"

OPTIONS: dict[str, Callable[[Study], Outcome]] = {
    "invariance 0": paper,
    "invariance 10": with_settings(invariance=10.0),
    "invariance 50": with_settings(),
    "invariance 100": with_settings(invariance=100.0),
    "invariance 400": with_settings(invariance=400.0),
    "invariance 50, size factor 1.5": with_settings(size_factor=1.5),
    "invariance 50, 40 % of the channels": with_settings(channel_share=0.4),
    "invariance 50, half of the channels": with_settings(channel_share=0.5),
    "invariance 50, 60 % of the channels": with_settings(channel_share=0.6),
    "invariance 50, half of the channels, size factor 1.5": with_settings(channel_share=0.5, size_factor=1.5),
    "median of the models": median,
    "models weighted by out-of-bag error": out_of_bag_weights,
    "least squares on columns of a tenth of the models": of_chosen(0.1, ridge=False),
    "ridge on columns of a tenth of the models": of_chosen(0.1, ridge=True),
    "ridge on all columns": ridge_of_all,
    "mean of the paper's and ridge on all columns": with_ridge,
    **{f"without near-duplicates, {1000 * near:g} meV/atom": without_near_duplicates(near) for near in NEAR},
    "groups of four powers": by_groups,
    **{f"the default, {steps} steps of each path": at_most(steps) for steps in (20, 8)},
    **{
        f"the default, {steps} steps of each path, all channels": at_most(steps, channel_share=1.0)
        for steps in (20, 8)
    },
    **{f"the default, ends count {a} and {b} times": counting_ends(a, b) for a, b in ENDS},
}


def read_study(given: argparse.Namespace) -> Study:
    stores = given.features / "stores"
    parts = given.parts or sorted(path.name for path in stores.glob("part*"))
    if not parts:
        raise SystemExit(f"{stores} holds no store part00 ...")
    data = training_data([FeatureStore.open(stores / part, check=False) for part in parts])
    files = [given.features / "parts" / file for part in parts for file in files_of_store(part)]
    paths, bad = read_structures(files, path_key="path_id", need_energy=True)
    if bad or not np.allclose([s.energy / len(s.atoms) for s in paths], data.energies, rtol=0, atol=1e-9):
        raise SystemExit(f"the files {files} are not what the stores were made of")
    # The stores take turns with the steps of a path, and options look at their order.
    by_step = np.argsort([s.atoms.info["step"] for s in paths], kind="stable")
    data, paths = rows_of(data, by_step), [paths[row] for row in by_step]
    others, features = other_sets(given.reference, stores, data.scattering_config)
    settings = FitSettings(
        bootstraps=given.bootstraps, max_features=given.max_features, invariance=0.0, channel_share=1.0
    )
    sets = Sets.deal({"paths": paths, **others}, settings.folds, settings.seed)
    return Study(data, sets, {"paths": data.features, **features}, settings)


def page(name: str, rows, about, study: Study) -> str:
    config, settings = study.data.scattering_config, study.settings
    products = config.get("products")
    products_note = "of five" if products is None else "of five, and products as a sixth"
    moved = [[row["fit"], *(1000 * m for m in row["moves"].values())] for row in rows if "moves" in row]
    return f"""# Changes of the fit, each alone: {name}

Rows made last: {machine_line(about)}
A row is made by the command at the end with its name after `--options`; the other rows of the same data stay.

{len(study.data.energies)} structures of {len(study.sets.fold_of_path)} relaxation paths,
{transform_line(config)}, {study.data.features.shape[1]} features;
{settings.folds} x {settings.bootstraps} models, at most {settings.max_features} features ({4 * MAX_GROUPS} in
groups).
Mean ± standard deviation over the folds. {PARENTS_NOTE} {LABELS_NOTE}

Invariance 0, without products at the atoms: the paper's fit. Invariance {FitSettings.invariance:g}, half of
the channels, with products: the package's default.
Ridge: penalty by cross validation over whole paths within each training set (peer_fits.py). Columns "of a
tenth of the models": those that this share of the models of a fold, fitted by the paper's recipe, has chosen;
for ridge on them, the folds that set its penalty took part in that choice.
Without near-duplicates: of each path, only structures whose energy differs by so much from that of the last
one kept, and the last of all, so that the slow end of a path weighs as its energies spread; errors are over
all structures. Groups: the columns of
one invariant that differ in the power q only enter together. Of channels: each model sees columns of so many
({products_note}), drawn anew for each, and order 0 of all. Size factor: features of a model as a
multiple of the number that is best for it alone.
The default: the package's, invariance {FitSettings.invariance:g} and a channel share of
{FitSettings.channel_share:g}, trained on so many steps of each path, evenly spaced, first and last included,
and {defaults.COPIES:g} times as many conditions of invariance; errors are over all structures. Ends: of each
path, the first structure counts so often in the fit, and the last.

RMSE, meV/atom

{error_table(rows, "rmse", LEADING)}

MAE, meV/atom

{error_table(rows, "mae", LEADING)}

RMSE with parents held out, meV/atom

{held_out_table(rows, LEADING)}

Properties

{property_table(rows, LEADING)}

Grids moved by random vectors, structures of held-out paths: changes of the energy, meV/atom

{table(["fit", "rms", "largest"], moved)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--parts", nargs="+", help="default: all part* in FEATURES/stores")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), metavar="NAME")
    parser.add_argument("--bootstraps", type=int, default=FitSettings.bootstraps)
    parser.add_argument("--max-features", type=int, default=FitSettings.max_features)
    parser.add_argument("--results", type=Path, default=common.RESULTS)
    parser.add_argument("--name", default="fit_options", help="of the page")
    given = parser.parse_args()
    study = read_study(given)
    stored = given.results / f"{given.name}.json"
    same = {
        "data_hash": study.data.data_hash,
        "scattering": study.data.scattering_config,
        "models": given.bootstraps,
        "max_features": given.max_features,
    }
    kept = json.loads(stored.read_text()) if stored.exists() else {}
    rows = {row["fit"]: row for row in kept.get("rows", ())} if kept.get("of") == same else {}
    for name in given.options:
        began = time.perf_counter()
        outcome = OPTIONS[name](study)
        rows[name] = {"fit": name, "size": outcome.size, **errors(study.sets, outcome.predicted)}
        if outcome.weights is not None:
            rows[name]["moves"] = moves_of_copies(outcome.weights, study.data, study.sets.fold_of_path)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        about = machine("ray", "numba")
        shown = [rows[option] for option in OPTIONS if option in rows]
        data = {"machine": about, "of": same, "rows": shown}
        write_results(given.name, page(given.name, shown, about, study), data, given.results)


if __name__ == "__main__":
    main()
