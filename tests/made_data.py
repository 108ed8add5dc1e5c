"""Feature stores in memory with made-up features, and training in this process, without Ray."""

import contextlib
import functools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

import workers.train as train_module
from atomscatter.ensemble import Ensemble
from atomscatter.products import Products
from atomscatter.scattering import Scattering
from service.training import FitSettings, training_data
from workers.fit_worker import FitWorker

# 60 integrals and 10 products
SCATTERING = Scattering(beta=1.0, scales=2, n=1, powers=(1.0, 2.0), products=Products((1.0,), 1))


@dataclass
class MadeStore:
    """What training needs of a feature store."""

    path_ids: list[str]
    compositions: list[str]
    features: np.ndarray
    energies: np.ndarray
    data_hash: str
    scattering_config: dict = field(default_factory=lambda: SCATTERING.config)
    path: str = "made"
    copied: tuple[int, ...] = ()  # the last rows are translated copies of these

    @property
    def n_atoms(self):
        return np.ones(len(self.path_ids))

    @property
    def originals(self):
        return np.array([-1] * (len(self.path_ids) - len(self.copied)) + list(self.copied))


def made_store(names, seed) -> MadeStore:
    """Five structures for each path."""
    rng = np.random.default_rng(seed)
    hidden = np.repeat(rng.normal(size=(len(names), 4)), 5, axis=0)
    hidden += 0.3 * rng.normal(size=hidden.shape)
    mixing = np.random.default_rng(99).normal(size=(4, SCATTERING.n_features))
    features = 3 + hidden @ mixing + 0.4 * rng.normal(size=(len(hidden), SCATTERING.n_features))
    energies = -4 + 0.3 * hidden[:, 0] - 0.1 * hidden[:, 1] + 0.02 * rng.normal(size=len(hidden))
    ids = [name for name in names for _ in range(5)]
    return MadeStore(ids, ["AB"[len(name) % 2] for name in ids], features, energies, f"hash of {names[0]}")


def with_copies(store: MadeStore, rows: tuple[int, ...]) -> MadeStore:
    """The store and translated copies of some rows, whose features differ a little."""
    noise = 0.05 * np.random.default_rng(0).normal(size=(len(rows), store.features.shape[1]))
    every = [*range(len(store.energies)), *rows]
    return replace(
        store,
        path_ids=[store.path_ids[i] for i in every],
        compositions=[store.compositions[i] for i in every],
        features=np.vstack([store.features, store.features[list(rows)] + noise]),
        energies=store.energies[every],
        copied=rows,
    )


def trained_here(store: MadeStore, settings: FitSettings) -> Ensemble:
    """The trained ensemble; starting Ray would take longer than all of this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "_shared", shared_here)
        return train_module.train_on(training_data(store), settings)[0]


@contextlib.contextmanager
def shared_here(X, *_):
    """Instead of ``workers.train._shared``: this process fits all units, one after another."""
    X.flags.writeable = False  # as in Ray's object store
    yield X, functools.partial(_fit_here, X)


def _fit_here(X, problem, _):
    worker = FitWorker(X, problem)
    results = [[] for _ in range(problem.settings.folds)]
    for fold, first, stop in train_module._units(problem).values():
        results[fold] += worker.fit(fold, first, stop)
    return results
