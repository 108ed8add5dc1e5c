"""500 models: the same bytes on any number of workers, and after workers were killed."""

import contextlib
import hashlib
import threading

import psutil
import pytest
from structlog.testing import capture_logs

from service.training import FitSettings
from tests.faults.data import training_data
from tests.faults.times import times
from workers.cluster import connect
from workers.train import train_on

SETTINGS = FitSettings(folds=5, bootstraps=100, max_features=60, seed=3)


@pytest.fixture(scope="module")
def four_cpus():
    with connect(workers=4):
        yield


def sha256_of_a_model(folder, workers, on_progress=None):
    ensemble, _ = train_on(training_data(), SETTINGS, workers=workers, on_progress=on_progress)
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


class Killer(threading.Thread):
    """Kills workers that are fitting, one after another, always the oldest and after some progress: a unit
    that loses its worker three times is given up."""

    def __init__(self, times):
        super().__init__()
        self.times = times
        self.units_done = 0
        self.killed = []
        self.ended = threading.Event()

    def run(self):
        while len(self.killed) < self.times and not self.ended.wait(0.001):
            if self.units_done >= 4 * len(self.killed) + 2:
                self.kill_one()

    def kill_one(self):
        for process in sorted(psutil.Process().children(recursive=True), key=_age):
            with contextlib.suppress(psutil.NoSuchProcess):
                # Ray names a process by the method that it runs at this moment.
                if process.name().startswith("ray::FitWorker.fit") and process.pid not in self.killed:
                    process.kill()
                    self.killed.append(process.pid)
                    return


def _age(process):
    """Sorts the oldest first; by its number it need not be."""
    try:
        return process.create_time()
    except psutil.NoSuchProcess:
        return float("inf")


@times(2, 10)
@pytest.mark.fault("kill -9 of a worker process that fits some of 500 models")
def test_after_kills(times, expected, tmp_path, injected):
    """Two in each training: with more, the last units would all be such that lost a worker before."""
    for number in range(times // 2):
        assert sha256_after_kills(tmp_path / str(number), 2) == expected
    injected(times, f"identical SHA-256 of weights.npz in {times // 2} trainings")


def sha256_after_kills(folder, n_kills):
    killer = Killer(n_kills)

    def advance(_):
        killer.units_done += 1

    killer.start()
    try:
        with capture_logs() as logs:
            found = sha256_of_a_model(folder, 2, advance)
    finally:
        killer.ended.set()
        killer.join()
    assert len(killer.killed) == n_kills
    assert sum(entry["event"] == "a worker died" for entry in logs) == n_kills
    return found
