"""The process of one job: ``python -m workers.job STATE JOB-ID``, started by the job runner.

It reads its request, works, and writes progress and result as its status (``service.job_files``); what it
prints is the job's log. Nothing of a job's parameters reaches a command line.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from atomscatter.ensemble import Ensemble
from atomscatter.errors import AtomscatterError, BusyStoreError
from atomscatter.scattering import Scattering
from service import evaluation
from service.copies import with_translated_copies
from service.feature_store import FeatureStore
from service.job_files import JobFiles, JobRequest, JobStatus
from service.job_parameters import EvaluateParameters, FeaturizeParameters, TrainParameters
from service.logs import configure_logging
from service.model_directory import save_model
from service.path_steps import with_steps
from service.progress import Advance, increments, progress
from service.result_files import plain
from service.state import StateDirectory
from service.training import FitSettings, training_data
from workers.evaluate import features_by_workers
from workers.featurize import featurize
from workers.train import train_on

_SECONDS_BETWEEN_NOTES = 0.5
_SECONDS_FOR_ROOM = 300.0  # for the last note on a full disk
_SECONDS_FOR_A_WRITER = 120.0  # for the process of an earlier attempt, which a lost cluster left behind
_SECONDS_BETWEEN_TRIES = 2.0


def main(root: Path, job_id: str) -> int:
    """Run a job; 0 when it succeeded."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state = StateDirectory(root)
    files = state.job_files()
    request = files.request(job_id)
    if request.on_cluster:
        _print_into(files.log(job_id))
    configure_logging("normal")
    return _Run(request, state, files).run()


class _Run:
    """One attempt of a job."""

    def __init__(self, request: JobRequest, state: StateDirectory, files: JobFiles) -> None:
        self._request = request
        self._state = state
        self._files = files
        self._address = "auto" if request.on_cluster else None
        self._status = JobStatus(request.attempt)

    def run(self) -> int:
        """Work; the last status says how it ended."""
        log = structlog.get_logger()
        request = self._request
        log.info("job started", job=request.id, type=request.type, attempt=request.attempt)
        self._note_if_possible()
        work = {"featurize": self._featurize, "train": self._train, "evaluate": self._evaluate}
        try:
            request.require_own_version()
            result = work[request.type]()
        except AtomscatterError as error:
            log.error("job failed", reason=str(error))
            self._note_at_last(state="failed", error=self._state.without_place(str(error)))
            return 1
        except Exception as error:
            log.error("job failed unexpectedly", exc_info=error)
            self._note_at_last(state="failed", error=f"unexpected {type(error).__name__}; the log has more")
            return 1
        self._note_at_last(state="succeeded", result=plain(result))
        log.info("job succeeded", **result)
        return 0

    def _note(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)
        self._files.write_status(self._request.id, self._status)

    def _note_if_possible(self, **changes: Any) -> None:
        """How far it is: no reason to fail when the disk is full."""
        with contextlib.suppress(OSError):
            self._note(**changes)

    def _note_at_last(self, **changes: Any) -> None:
        """How it ended. While the disk is full the work of hours waits for room. Raises OSError at last."""
        deadline = time.monotonic() + _SECONDS_FOR_ROOM
        while True:
            try:
                return self._note(**changes)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise
                structlog.get_logger().error("the end of the job cannot be noted", reason=str(error))
                time.sleep(_SECONDS_BETWEEN_TRIES)

    @contextmanager
    def _noted(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        """Progress for the log and, now and then, for the status."""
        done, last = 0, time.monotonic()
        self._note_if_possible(done=0, total=total, unit=unit)
        with progress(what, total, unit) as advance:

            def both(n: int = 1) -> None:
                nonlocal done, last
                advance(n)
                done += n
                if done >= total or time.monotonic() - last > _SECONDS_BETWEEN_NOTES:
                    last = time.monotonic()
                    self._note_if_possible(done=done)

            yield both

    def _featurize(self) -> dict[str, Any]:
        wanted = FeaturizeParameters.model_validate(self._request.parameters)
        structures = with_steps(self._state.datasets().structures(wanted.dataset), wanted.steps)
        elements = {symbol for s in structures for symbol in s.atoms.get_chemical_symbols()}
        settings = {"beta": wanted.beta, "scales": wanted.scales, "precision": wanted.precision}
        given = {k: v for k, v in settings.items() if v is not None}
        scattering = Scattering.for_species(elements, **given, products=wanted.products)
        rows = with_translated_copies(structures, wanted.copies)
        store = self._state.store(self._request.id)
        store.parent.mkdir(parents=True, exist_ok=True)
        self._wait_for_writer(store)
        with self._noted("Features", len(rows), "structures") as advance:
            featurize(rows, scattering, store, address=self._address, on_progress=advance)
        return {
            "store": self._request.id,
            "n_structures": len(structures),
            "n_features": scattering.n_features,
        }

    def _wait_for_writer(self, store: Path) -> None:
        """Return when no process writes to the store, or after a while."""
        deadline = time.monotonic() + _SECONDS_FOR_A_WRITER
        while FeatureStore.is_at(store) and time.monotonic() < deadline:
            try:
                with FeatureStore.open(store, check=False).writing():
                    return
            except BusyStoreError as error:
                structlog.get_logger().warning("waits for an earlier attempt", reason=str(error))
                time.sleep(_SECONDS_BETWEEN_TRIES)

    def _train(self) -> dict[str, Any]:
        wanted = TrainParameters.model_validate(self._request.parameters)
        settings = FitSettings(**wanted.model_dump(exclude={"store", "references"}))
        data = training_data([FeatureStore.open(self._state.store(wanted.store))])
        with self._noted("Training", settings.folds * settings.models_per_fold, "models") as advance:
            ensemble, report = train_on(
                data,
                settings,
                address=self._address,
                references=wanted.references,
                on_progress=increments(advance),
            )
        scratch = Path(tempfile.mkdtemp(prefix="model-", dir=self._state.root / "jobs"))
        try:
            save_model(ensemble, report, scratch / "model")
            model_id = self._state.registry().add(scratch / "model")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        errors = {
            "rmse_mev_per_atom": evaluation.MEV * float(np.mean([f.rmse for f in report.folds])),
            "mae_mev_per_atom": evaluation.MEV * float(np.mean([f.mae for f in report.folds])),
        }
        return {"model": model_id, **errors}

    def _evaluate(self) -> dict[str, Any]:
        wanted = EvaluateParameters.model_validate(self._request.parameters)
        registry = self._state.registry()
        ensemble = Ensemble.load(registry.directory(wanted.model or registry.active))
        structures = self._state.datasets().structures(wanted.dataset)
        with self._noted("Features", len(structures), "structures") as advance:
            if self._address is None:  # beside the server: at once, which a local Ray is not
                blocks = evaluation.needed_features(ensemble, structures, advance)
            else:
                place = self._state.store(f"{self._request.id}-{ensemble.model_id}")
                self._wait_for_writer(place)
                blocks = features_by_workers(structures, ensemble, place, self._address, advance)
            evaluated = evaluation.evaluate_blocks(ensemble, structures, blocks)
        return {**evaluation.summary(evaluated), "model": ensemble.model_id}


def _print_into(file: Path) -> None:
    """Append what this process and its children print to a file; Ray would keep it on one of its nodes."""
    sys.stdout.flush()
    sys.stderr.flush()
    with file.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
