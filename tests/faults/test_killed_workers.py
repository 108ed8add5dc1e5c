"""kill -9 of worker processes in the middle of writing a chunk."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from service.feature_store import FeatureStore
from tests.faults.marked import STAGES, marks_left
from tests.faults.times import times
from tests.stores import content_hash


class Killer(threading.Thread):
    """Kills workers at places in the writing of a chunk, one after another, while the run goes on."""

    def __init__(self, tickets, stages):
        super().__init__()
        self.tickets = tickets
        self.stages = stages
        self.killed = []  # (stage, unit)
        self.ended = threading.Event()

    def run(self):
        for stage in self.stages:
            (self.tickets / stage).touch()
            while not (waiting := list(self.tickets.glob(f"{stage}@*@*[0-9]"))):
                if self.ended.wait(0.005):
                    return
            _, unit, pid = waiting[0].name.split("@")
            assert "Featurizer.featurize" in Path(f"/proc/{pid}/cmdline").read_text(), "it was at work"
            waiting[0].rename(waiting[0].with_suffix(".killed"))
            os.kill(int(pid), signal.SIGKILL)
            self.killed.append((stage, int(unit)))


@contextlib.contextmanager
def killing(tickets, stages):
    tickets.mkdir()
    killer = Killer(tickets, stages)
    killer.start()
    try:
        yield killer
    finally:
        killer.ended.set()
        killer.join()


@times(4, 20)
@pytest.mark.fault("kill -9 of a worker process while it writes a chunk")
def test_workers_killed_while_they_write_a_chunk(times, local_ray, run, undisturbed, tmp_path, injected):
    stages = [STAGES[i % len(STAGES)] for i in range(times)]
    progress = []
    with (
        marks_left(tmp_path / "marks", tickets=tmp_path / "tickets"),
        killing(tmp_path / "tickets", stages) as killer,
        capture_logs() as logs,
    ):
        began = time.monotonic()
        store = run(tmp_path / "store", progress.append)
        seconds = time.monotonic() - began
    assert [stage for stage, _ in killer.killed] == stages
    assert len({unit for _, unit in killer.killed}) == times
    assert sum(entry["event"] == "a worker died" for entry in logs) == times
    assert sum(progress) == len(store), "no row is counted twice"
    assert np.array_equal(store.features[:], undisturbed.features[:])
    assert content_hash(FeatureStore.open(store.path)) == content_hash(undisturbed)
    injected(times, f"run ended by itself ({seconds:.0f} s), store hash of an undisturbed run")
