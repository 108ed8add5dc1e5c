"""The process of one job: ``python -m workers.job STATE JOB-ID [RAY-ADDRESS]``, started by the job runner.

It takes the job from the ledger, works, and notes progress and result there; what it prints is the job's log.
Nothing of a job's parameters reaches a command line.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import structlog

from atomscatter.ensemble import Ensemble
from atomscatter.errors import AtomscatterError
from atomscatter.scattering import Scattering
from service import evaluation
from service.copies import with_translated_copies
from service.feature_store import FeatureStore
from service.jobs import EvaluateParameters, FeaturizeParameters, Job, JobLedger, TrainParameters
from service.logs import configure_logging
from service.progress import Advance, increments, progress
from service.report import plain, save_model
from service.state import StateDirectory
from service.training import FitSettings, training_data
from workers.featurize import featurize
from workers.train import train_on

_SECONDS_BETWEEN_NOTES = 0.5


def main(root: Path, job_id: str, address: str | None) -> int:
    """Run a job that is queued; 0 when it succeeded, 3 when another process has it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    configure_logging("normal")
    state = StateDirectory(root)
    ledger = state.ledger()
    me = psutil.Process()
    if not ledger.claim(job_id, me.pid, me.create_time()):
        return 3
    job = ledger.get(job_id)
    log = structlog.get_logger()
    log.info("job started", job=job.id, type=job.type, attempt=job.attempts)
    try:
        result = _RUN[job.type](job, state, ledger, address)
    except AtomscatterError as error:
        log.error("job failed", reason=str(error))
        ledger.finish(job_id, "failed", error=str(error))
        return 1
    except Exception as error:
        log.error("job failed unexpectedly", exc_info=error)
        ledger.finish(job_id, "failed", error=f"unexpected {type(error).__name__}; the log has more")
        return 1
    ledger.finish(job_id, "succeeded", result=plain(result))
    log.info("job succeeded", **result)
    return 0


def _featurize(job: Job, state: StateDirectory, ledger: JobLedger, address: str | None) -> dict[str, Any]:
    wanted = FeaturizeParameters.model_validate(job.parameters)
    structures = state.datasets().structures(wanted.dataset)
    elements = {symbol for s in structures for symbol in s.atoms.get_chemical_symbols()}
    settings = {"beta": wanted.beta, "scales": wanted.scales}
    scattering = Scattering.for_species(elements, **{k: v for k, v in settings.items() if v is not None})
    rows = with_translated_copies(structures, wanted.copies)
    store = state.store(job.id)
    store.parent.mkdir(parents=True, exist_ok=True)
    with _noted(ledger, job, "Features", len(rows), "structures") as advance:
        featurize(rows, scattering, store, address=address, on_progress=advance)
    return {"store": job.id, "n_structures": len(structures), "n_features": scattering.n_features}


def _train(job: Job, state: StateDirectory, ledger: JobLedger, address: str | None) -> dict[str, Any]:
    wanted = TrainParameters.model_validate(job.parameters)
    settings = FitSettings(
        wanted.folds,
        wanted.bootstraps,
        wanted.max_features,
        wanted.seed,
        wanted.orders,
        wanted.selection,
        wanted.invariance,
    )
    data = training_data([FeatureStore.open(state.store(wanted.store))])
    with _noted(ledger, job, "Training", settings.folds * settings.models_per_fold, "models") as advance:
        ensemble, report = train_on(
            data,
            settings,
            address=address,
            references=wanted.references,
            on_progress=increments(advance),
        )
    scratch = Path(tempfile.mkdtemp(prefix="model-", dir=state.root / "jobs"))
    try:
        save_model(ensemble, report, scratch / "model")
        model_id = state.registry().add(scratch / "model")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    errors = {
        "rmse_mev_per_atom": 1000 * float(np.mean([f.rmse for f in report.folds])),
        "mae_mev_per_atom": 1000 * float(np.mean([f.mae for f in report.folds])),
    }
    return {"model": model_id, **errors}


def _evaluate(job: Job, state: StateDirectory, ledger: JobLedger, _: str | None) -> dict[str, Any]:
    wanted = EvaluateParameters.model_validate(job.parameters)
    registry = state.registry()
    ensemble = Ensemble.load(registry.directory(wanted.model or registry.active))
    structures = state.datasets().structures(wanted.dataset)
    scattering = ensemble.scattering
    features = np.empty((len(structures), scattering.n_features))
    with _noted(ledger, job, "Features", len(structures), "structures") as advance:
        for row, structure in zip(features, structures, strict=True):
            row[:] = scattering.features(structure.atoms)
            advance(1)
    summary = evaluation.summary(evaluation.evaluate(ensemble, structures, features))
    return {**summary, "model": ensemble.model_id}


_RUN = {"featurize": _featurize, "train": _train, "evaluate": _evaluate}


@contextmanager
def _noted(ledger: JobLedger, job: Job, what: str, total: int, unit: str) -> Iterator[Advance]:
    """Progress for the log and, now and then, for the ledger."""
    done, last = 0, 0.0
    ledger.progress(job.id, 0, total, unit)
    with progress(what, total, unit) as advance:

        def both(n: int = 1) -> None:
            nonlocal done, last
            advance(n)
            done += n
            if done >= total or time.monotonic() - last > _SECONDS_BETWEEN_NOTES:
                last = time.monotonic()
                ledger.progress(job.id, done, total, unit)

        yield both


if __name__ == "__main__":
    # In a session of its own, a terminal's Ctrl-C does not reach it: its runner decides.
    os.umask(0o022)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
