"""Faults injected into featurization at work; each test asserts that the fault took place."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from atomscatter.errors import StoreError
from atomscatter.scattering import Scattering
from service.feature_store import FeatureStore, chunk_name
from service.ledger import Ledger, Unit
from service.reading import read_structures
from workers.cluster import connect
from workers.featurize import featurize

SETTINGS = {"beta": 1.0, "scales": 2}
CHUNK_ROWS = 4

DRIVER = f"""
import sys
from pathlib import Path
from atomscatter.scattering import Scattering
from service.reading import read_structures
from workers.featurize import featurize

good, bad = read_structures([Path(sys.argv[1])], need_energy=True)
assert not bad
featurize(good, Scattering(**{SETTINGS}), sys.argv[2], workers=2, chunk_rows={CHUNK_ROWS},
          on_progress=lambda n: print(n, flush=True))
"""


@pytest.fixture(scope="module")
def structures(data_file):
    good, bad = read_structures([data_file], need_energy=True)
    assert bad == []
    return good


@pytest.fixture(scope="module")
def local_ray():
    with connect(workers=2):
        yield


@pytest.fixture(scope="module")
def undisturbed(structures, local_ray, tmp_path_factory):
    """Content hash of a store that nothing happened to."""
    return run(structures, tmp_path_factory.mktemp("undisturbed") / "store").content_hash()


def run(structures, path, on_progress=None):
    return featurize(
        structures, Scattering(**SETTINGS), path, workers=2, chunk_rows=CHUNK_ROWS, on_progress=on_progress
    )


def kill_a_working_process(but_not):
    """Kill a worker that is computing a unit right now; its process id, or None if none is at this moment."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith("ray::Featurizer.featurize") and process.pid not in but_not:
                process.kill()
                return process.pid
    return None


def test_killed_workers_are_replaced_and_the_bytes_are_the_same(structures, undisturbed, tmp_path):
    killed = []
    calls = []
    ended = threading.Event()

    def kill_one_after_another():
        # In a thread: the run goes on meanwhile, so that there always is a worker at work sooner or later.
        while not ended.wait(0.002) and len(killed) < 5:
            if len(calls) >= 2 * (len(killed) + 1) and (pid := kill_a_working_process(killed)) is not None:
                killed.append(pid)

    killer = threading.Thread(target=kill_one_after_another)
    killer.start()
    try:
        with capture_logs() as logs:
            store = run(structures, tmp_path / "store", calls.append)
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 5
    assert sum(entry["event"] == "a worker died" for entry in logs) == 5
    assert sum(calls) == len(structures)
    assert FeatureStore.open(store.path).content_hash() == undisturbed


def test_a_killed_driver_is_resumed_where_it_was(structures, undisturbed, data_file, tmp_path):
    path = tmp_path / "store"
    command = [sys.executable, "-c", DRIVER, str(data_file), str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    n_kills = 0
    done: dict[int, int] = {}  # unit -> time of its chunk's file
    for wanted in (5, 4, 3, None):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert int(process.stdout.readline()) == len(done) * CHUNK_ROWS, "not all that was complete was kept"
        computed = 0
        while (wanted is None or computed < wanted) and process.stdout.readline():
            computed += 1
        if wanted is not None:
            process.send_signal(signal.SIGKILL)
            n_kills += 1
        assert process.wait(60) == (0 if wanted is None else -signal.SIGKILL)

        store = FeatureStore.open(path, check=False)
        assert store.is_complete == (wanted is None)
        now = {unit: (path / chunk_name(unit)).stat().st_mtime_ns for unit in store.completed_units()}
        assert len(now) >= len(done) + computed
        assert {unit: now[unit] for unit in done} == done, "a complete unit was computed again"
        done = now
    assert n_kills == 3
    assert FeatureStore.open(path).content_hash() == undisturbed


def flip(file, rng):
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)


def truncate(file, rng):
    os.truncate(file, int(rng.integers(file.stat().st_size)))


def delete(file, rng):
    file.unlink()


def test_damaged_chunks_are_named_and_computed_again(structures, undisturbed, tmp_path):
    path = tmp_path / "store"
    store = run(structures, path)
    rng = np.random.default_rng(3)
    for damage in (flip, truncate, delete):
        units = sorted(int(u) for u in rng.choice(store.n_units, size=10, replace=False))
        for unit in units:
            damage(path / chunk_name(unit), rng)
        names = [chunk_name(unit) for unit in units]
        assert store.verify() == names
        with pytest.raises(StoreError, match="damaged: " + ", ".join(names)):
            FeatureStore.open(path)
        progress = []
        with capture_logs() as logs:
            run(structures, path, progress.append)
        assert [entry["chunks"] for entry in logs if "chunks" in entry] == [names]
        assert progress[0] == len(structures) - 10 * CHUNK_ROWS
        assert FeatureStore.open(path).content_hash() == undisturbed


def test_a_full_disk_is_a_clear_error_and_the_run_can_go_on(structures, undisturbed, small_disk):
    path = small_disk("450k") / "store"
    with pytest.raises(StoreError, match=r"store.*no space left \(0\.\d MiB free"):
        run(structures, path)
    store = FeatureStore.open(path, check=False)
    n_done = len(store.completed_units())
    assert 0 < n_done < store.n_units
    assert store.verify() == []

    small_disk("16m")
    progress = []
    run(structures, path, progress.append)
    assert progress[0] == n_done * CHUNK_ROWS
    assert list(path.rglob("*.partial")) == []
    assert FeatureStore.open(path).content_hash() == undisturbed


def test_a_disk_too_small_for_an_empty_store_is_left_empty(structures, small_disk):
    disk = small_disk("24k")
    with pytest.raises(StoreError, match="no space left"):
        run(structures, disk / "store")
    assert list(disk.iterdir()) == []


def test_a_disk_that_is_full_for_the_ledger_is_a_clear_error_too(small_disk):
    disk = small_disk("256k")
    path = disk / "ledger.sqlite"
    Ledger.create(path, {})
    recorded = []

    def record_until_full(ledger):
        for number in range(10_000):
            ledger.record(Unit(number, "1" * 64, "2" * 64, "3" * 64))
            recorded.append(number)

    with Ledger.open(path, write=True) as ledger:
        with pytest.raises(StoreError, match=r"ledger\.sqlite: no space left"):
            record_until_full(ledger)
        with Ledger.open(path) as reader:
            assert sorted(reader.units()) == recorded
    assert recorded
    small_disk("1m")
    with Ledger.open(path, write=True) as ledger:
        assert sorted(ledger.units()) == recorded
        ledger.record(Unit(99_999, "1" * 64, "2" * 64, "3" * 64))
