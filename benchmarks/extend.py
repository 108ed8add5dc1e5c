"""Cost and result of adding one relaxation path to a trained ensemble.

    python benchmarks/extend.py FEATURES [--stores part00 ...] [--bootstraps 100] [--max-features 1000]

Trains on all paths but one, adds that one (``atomscatter extend``), and trains everything again with the same
draws of paths and random numbers: what a retraining would give. Everything runs in this process, on one core;
times are processor times. Labels are those of an ANN potential (PBE-trained), not DFT.
"""

import argparse
import contextlib
import functools
import time
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
from common import machine, machine_line, table, write_results
from threadpoolctl import threadpool_limits

import workers.train as train_module
from service.feature_store import FeatureStore
from service.training import FitSettings, training_data
from workers.extend import extend, resampling_of
from workers.fit_worker import FitWorker


@dataclass
class PathsOf:
    """The rows of a store that belong to some paths."""

    store: FeatureStore
    keep: np.ndarray
    data_hash: str

    def __post_init__(self):
        row = np.cumsum(self.keep) - 1
        originals = self.store.originals[self.keep]
        self.originals = np.where(originals < 0, -1, row[originals])
        self.features = np.asarray(self.store.features[:])[self.keep]
        self.energies, self.n_atoms = self.store.energies[self.keep], self.store.n_atoms[self.keep]
        self.path_ids = [p for p, k in zip(self.store.path_ids, self.keep, strict=True) if k]
        self.compositions = [c for c, k in zip(self.store.compositions, self.keep, strict=True) if k]
        self.scattering_config = self.store.scattering_config


class GivenDraws(FitWorker):
    """Fits models to draws of paths that are given instead of drawn."""

    def __init__(self, X, problem, draws, is_known):
        super().__init__(X, problem)
        self.draws, self.is_known = draws, is_known

    def _path_weights(self, fold, first, stop, rngs):
        start = fold * self.problem.settings.models_per_fold
        drawn_from = np.count_nonzero((self.problem.path_fold != fold) & self.is_known)
        for rng in rngs:  # the random numbers that the bootstrap of the known paths takes
            rng.choice(drawn_from, size=drawn_from)
        return self.draws[start + first : start + stop]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--stores", nargs="+", help="default: all part* in FEATURES/stores")
    parser.add_argument("--bootstraps", type=int, default=FitSettings.bootstraps)
    parser.add_argument("--max-features", type=int, default=FitSettings.max_features)
    parser.add_argument("--results", type=Path, default=common.RESULTS)
    given = parser.parse_args()
    stores = given.features / "stores"
    names = given.stores or sorted(path.name for path in stores.glob("part*"))
    opened = [FeatureStore.open(stores / name, check=False) for name in names]
    last = opened[0].path_ids[-1]
    known = [part(store, lambda path: path != last, f"known {i}") for i, store in enumerate(opened)]
    new = [part(store, lambda path: path == last, f"new {i}") for i, store in enumerate(opened)]
    new = [store for store in new if store.path_ids]
    fit = FitSettings(bootstraps=given.bootstraps, max_features=given.max_features)

    base, trained_seconds = timed(lambda: train(training_data(known), fit, FitWorker))
    (extended, changed), extended_seconds = timed(lambda: extend(base, known, new))
    data = training_data([*known, *new])
    resampling = resampling_of(base, data, [last])
    is_known = np.array([name != last for name in resampling.names])
    scratch, scratch_seconds = timed(
        lambda: train(data, fit, lambda *a: GivenDraws(*a, resampling.draws, is_known), resampling)
    )
    seconds = trained_seconds, extended_seconds, scratch_seconds
    write(given, names, base, extended, scratch, changed, data, seconds)


def part(store, wanted, name):
    keep = np.array([wanted(path) for path in store.path_ids])
    return PathsOf(store, keep, f"{store.data_hash} {name}")


def timed(run):
    began = time.process_time()
    with threadpool_limits(1):
        result = run()
    return result, time.process_time() - began


def train(data, fit, make_worker, resampling=None):
    """Train in this process; with ``resampling``, its folds take the place of those drawn from the paths."""

    def fit_all(X, problem, _):
        worker = make_worker(X, problem)
        found = [[] for _ in range(fit.folds)]
        for fold, first, stop in train_module._units(problem).values():
            found[fold] += worker.fit(fold, first, stop)
        return found

    @contextlib.contextmanager
    def here(X, *_):
        yield X, functools.partial(fit_all, X)

    kept = train_module._shared, train_module.path_folds
    train_module._shared = here
    if resampling is not None:
        train_module.path_folds = lambda *_: resampling.path_fold
    try:
        return train_module.train_on(data, fit)[0]
    finally:
        train_module._shared, train_module.path_folds = kept


def write(given, stores, base, extended, scratch, changed, data, seconds):
    unchanged = np.setdiff1d(np.arange(base.n_models), changed)
    rows = [
        ["models", base.n_models],
        ["models that draw the new path", len(changed)],
        ["training without it (s)", seconds[0]],
        ["adding it (s)", seconds[1]],
        ["training with it (s)", seconds[2]],
        ["adding / training", seconds[1] / seconds[2]],
        ["unchanged models that training with it gives again", same_features(extended, scratch, unchanged)],
        [
            "changed models whose features training with it gives again",
            same_features(extended, scratch, changed),
        ],
        ["RMSE on held-out paths, before (meV/atom)", 1000 * base.card["errors"]["rmse_mean"]],
        ["RMSE on held-out paths, extended (meV/atom)", 1000 * extended.card["errors"]["rmse_mean"]],
        ["RMSE on held-out paths, trained with it (meV/atom)", 1000 * scratch.card["errors"]["rmse_mean"]],
        ["predictions, extended against trained with it (meV/atom RMS)", difference(extended, scratch, data)],
        ["uncertainty of a prediction (meV/atom, mean)", 1000 * spread(scratch, data)],
    ]
    about = machine()
    markdown = "\n\n".join(
        [
            "# One more relaxation path",
            f"{len(data.features)} structures in {len(set(data.path_ids))} paths ({', '.join(stores)}), "
            f"{data.features.shape[1]} features, at most {given.max_features} in a model. Processor times. "
            "Adding keeps the features of the models that draw the new path and fits their weights again; "
            "training chooses features anew. Labels: ANN potential (PBE-trained), not DFT.",
            table(["", ""], rows),
            machine_line(about),
        ]
    )
    write_results("extend", markdown, {"rows": rows, "machine": about}, given.results)
    print(markdown)


def same_features(a, b, models):
    """Share of the models with the same features in both ensembles."""
    return float(np.mean([np.array_equal(a.weights[m] != 0, b.weights[m] != 0) for m in models]))


def difference(a, b, data):
    apart = a.predict_features(data.features)[0] - b.predict_features(data.features)[0]
    return float(1000 * np.sqrt(np.mean(apart**2)))


def spread(ensemble, data):
    return float(ensemble.predict_features(data.features)[1].mean())


if __name__ == "__main__":
    main()
