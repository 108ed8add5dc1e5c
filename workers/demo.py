"""The demo: the embedded sample to features, 500 models, predictions, tables and plots in one run folder.

Models are evaluated as in the paper (Table I): relaxation paths by the fold that did not train on them;
diffusion, large and strained structures by each of the fold models.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from atomscatter.ensemble import Ensemble
from atomscatter.scattering import Scattering
from service.copies import with_translated_copies
from service.demo_data import REFERENCE_ENERGIES, load_sample, thinned
from service.demo_report import DemoResult, write_results, write_timings
from service.evaluation import evaluate, evaluate_held_out
from service.feature_store import FeatureStore
from service.model_directory import require_model_place, save_model
from service.progress import increments, progress
from service.reading import LabelledStructure
from service.training import FitSettings, TrainingReport, training_data
from workers.cluster import connect
from workers.featurize import featurize
from workers.train import train_on

EXTRAPOLATION = ("large", "bulk", "diffusion")  # costly structures first


@dataclass(frozen=True)
class DemoSettings:
    """What the demo runs; tests use less."""

    fit: FitSettings = field(default_factory=FitSettings)
    n_alphas: int | None = None
    """Number of concentrations; None: all 37."""
    transform: dict[str, Any] = field(default_factory=dict)
    """Arguments of Scattering that differ from its defaults."""


def run_demo(directory: Path, settings: DemoSettings, *, workers: int | None = None) -> DemoResult:
    """Run everything and write the run folder; features that are there already are used again.

    Args:
        directory: the run folder.
        settings: how much to run.
        workers: worker processes; None: one for each core.

    Raises:
        ModelError: the folder's "model" is something else.
        StoreError: the folder holds features of another configuration or of other structures.
        WorkerError: workers die again and again.
    """
    require_model_place(directory / "model")
    seconds: dict[str, float] = {}
    with _timed(seconds, "reading"):
        sample = {kind: _load(kind, settings) for kind in ("paths", *EXTRAPOLATION)}
    scattering = Scattering(**settings.transform)
    others = [structure for kind in EXTRAPOLATION for structure in sample[kind]]
    with connect(None, workers) as n_workers:
        with _timed(seconds, "features of the paths"):
            with_copies = with_translated_copies(sample["paths"])
            store = _featurize("paths", with_copies, scattering, directory / "features" / "paths", n_workers)
        with _timed(seconds, "features of the other sets"):
            other_store = _featurize(
                "other sets", others, scattering, directory / "features" / "extrapolation", n_workers
            )
        with _timed(seconds, "training"):
            ensemble, training = _train(store, settings.fit, n_workers)
    with _timed(seconds, "evaluation and files"):
        save_model(ensemble, training, directory / "model")
        features = np.asarray(store.features[: len(sample["paths"])])
        held_out = evaluate_held_out(ensemble, sample["paths"], features, training.fold_of_structure)
        evaluated = {"paths": held_out}
        features, start = np.asarray(other_store.features[:]), 0
        for kind in EXTRAPOLATION:
            stop = start + len(sample[kind])
            evaluated[kind] = evaluate(ensemble, sample[kind], features[start:stop])
            start = stop
        result = write_results(directory, ensemble, training, evaluated)
    write_timings(directory, seconds)
    return replace(result, seconds=seconds)


def _load(kind: str, settings: DemoSettings) -> list[LabelledStructure]:
    structures = load_sample(kind)
    return structures if settings.n_alphas is None else thinned(structures, settings.n_alphas)


def _featurize(
    what: str,
    structures: Sequence[LabelledStructure],
    scattering: Scattering,
    path: Path,
    workers: int | None,
) -> FeatureStore:
    with progress(f"Features, {what}", len(structures)) as advance:
        return featurize(structures, scattering, path, workers=workers, on_progress=advance)


def _train(store: FeatureStore, fit: FitSettings, workers: int | None) -> tuple[Ensemble, TrainingReport]:
    data = training_data(store)
    with progress("Training", fit.folds * fit.models_per_fold, "models") as advance:
        return train_on(
            data, fit, workers=workers, references=REFERENCE_ENERGIES, on_progress=increments(advance)
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
