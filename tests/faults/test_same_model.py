"""500 models: the same bytes on any number of workers, and after workers were killed."""

import contextlib
import hashlib
import os
import signal

import numpy as np
import pytest
from structlog.testing import capture_logs

import workers.train as train_module
from service.training import FitSettings
from tests.faults.data import training_data
from tests.faults.times import times
from workers.cluster import connect
from workers.fit_worker import FitWorker
from workers.train import train_on

SETTINGS = FitSettings(folds=5, bootstraps=100, max_features=60, seed=3)


@pytest.fixture(scope="module")
def four_cpus():
    with connect(workers=4):
        yield


def sha256_of_a_model(folder, workers):
    ensemble, _ = train_on(training_data(), SETTINGS, workers=workers)
    assert ensemble.n_models == 500
    ensemble.save(folder)
    return hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(four_cpus, tmp_path_factory):
    return sha256_of_a_model(tmp_path_factory.mktemp("model") / "one", 1)


@pytest.mark.parametrize(
    "numbers",
    [pytest.param((4,), id="short"), pytest.param((2, 4), id="full", marks=pytest.mark.chaos)],
)
@pytest.mark.fault("500 models on 1, 2 and 4 workers")
def test_on_any_number_of_workers(numbers, expected, tmp_path, injected):
    for workers in numbers:
        assert sha256_of_a_model(tmp_path / str(workers), workers) == expected
    injected(1 + len(numbers), f"identical SHA-256 of weights.npz ({expected[:12]}...)")


def dying(tickets):
    """Workers of which one is killed in the middle of each unit that there is a ticket for."""

    # Defined in a function, so that Ray ships the class itself.
    class DyingFitWorker(FitWorker):
        def fit(self, fold, first, stop):
            fitted = super().fit(fold, first, (first + stop) // 2)
            with contextlib.suppress(FileNotFoundError):
                (tickets / f"{fold} {first}").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            return fitted + super().fit(fold, (first + stop) // 2, stop)

    return DyingFitWorker


@times(2, 10)
@pytest.mark.fault("kill -9 of a worker process that fits some of 500 models")
def test_after_kills(times, expected, tmp_path, monkeypatch, injected):
    """Two in each training: with more, the last units would all be such that lost a worker before."""
    rng = np.random.default_rng(times)
    monkeypatch.setattr(train_module, "FitWorker", dying(tmp_path))
    for number in range(times // 2):
        for fold in rng.permutation(SETTINGS.folds)[:2]:
            (tmp_path / f"{fold} {10 * rng.integers(10)}").touch()
        with capture_logs() as logs:
            assert sha256_of_a_model(tmp_path / f"model {number}", 2) == expected
        assert sum(entry["event"] == "a worker died" for entry in logs) == 2
    injected(times, f"identical SHA-256 of weights.npz in {times // 2} trainings")
