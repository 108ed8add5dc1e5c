"""A full disk under store, ledger and model: a clear error, nothing lost, and the same command goes on."""

import contextlib
import dataclasses
import io
import shutil
import time

import httpx
import numpy as np
import pytest

import workers.train as train_module
from atomscatter.ensemble import Ensemble
from atomscatter.errors import StoreError
from atomscatter.scattering import Scattering
from service.datasets import DatasetReading, DatasetStore, describe
from service.default_model import embedded_model
from service.feature_store import FeatureStore
from service.jobs import JobLedger
from service.ledger import Unit
from service.model_directory import save_model
from service.registry import ModelRegistry
from service.training import FitSettings
from tests.api.conftest import assert_problem, serving
from tests.api.test_jobs import chunk_times, ended, job_process
from tests.faults.at_work import featurizing
from tests.faults.data import training_data
from tests.faults.driver import SETTINGS
from tests.faults.times import times
from tests.made_data import shared_here
from tests.stores import content_hash

PAGE = 4096


def pages(path):
    """What the files of a directory take on a tmpfs, bytes."""
    return sum(PAGE * -(-file.stat().st_size // PAGE) for file in path.rglob("*") if file.is_file())


@times(1, 3)
@pytest.mark.fault("full disk under the store")
def test_full_under_the_store(times, local_ray, run, undisturbed, small_disk, injected):
    need = pages(undisturbed.path)
    for fraction in (0.7, 0.5, 0.9)[:times]:
        path = small_disk(f"{int(fraction * need) // 1024}k") / f"store {fraction}"
        with pytest.raises(StoreError, match=r"store.*no space left \(0\.\d MiB free"):
            run(path)
        store = FeatureStore.open(path, check=False)
        done = sorted(store.completed_units())
        assert 0 < len(done) < store.n_units, "the disk was full in the middle of the work"
        assert store.verify() == []
        rows = [row for unit in done for row in store.unit_rows(unit)]
        assert np.array_equal(store.features[:][rows], undisturbed.features[:][rows])
        small_disk("64m")
        progress = []
        run(path, progress.append)
        assert progress[0] == len(rows)
        assert list(path.rglob("*.partial")) == []
        assert content_hash(FeatureStore.open(path)) == content_hash(undisturbed)
        remove_all_in(path.parent)
    injected(
        times, "error names store and free space, rows readable, resumes to the hash of an undisturbed run"
    )


def remove_all_in(disk):
    for entry in disk.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@pytest.mark.parametrize("name", ["store", "."])
def test_a_disk_too_small_for_an_empty_store(run, local_ray, small_disk, name):
    disk = small_disk("24k")
    with pytest.raises(StoreError, match="no space left"):
        run(disk / name)
    assert not FeatureStore.is_at(disk / name)
    assert name == "." or list(disk.iterdir()) == []
    small_disk("8m")
    run(disk / name)
    assert FeatureStore.is_at(disk / name)


@times(1, 3)
@pytest.mark.fault("full disk under the ledger")
def test_full_under_the_ledgers(times, structures, small_disk, injected):
    for i in range(times):
        small = f"{256 * (i + 1)}k"
        disk = small_disk(small)
        fill_ledger_of_units(disk / f"store {i}", structures, lambda: small_disk("8m"))
        remove_all_in(disk)
        small_disk(small)
        fill_ledger_of_jobs(disk / f"jobs {i}.sqlite", lambda: small_disk("8m"))
        remove_all_in(disk)
    injected(times, "error names the ledger, all that was noted stays readable, goes on when there is room")


def fill_ledger_of_units(path, structures, make_room):
    store = FeatureStore.create(path, structures, Scattering(**SETTINGS))
    recorded = []

    def record_until_full(ledger):
        for number in range(100_000):
            ledger.record(Unit(number, "1" * 64, "2" * 64, "3" * 64))
            recorded.append(number)

    with store.writing() as ledger:
        with pytest.raises(StoreError, match=rf"{path.name}.*: no space left"):
            record_until_full(ledger)
        assert sorted(store.completed_units()) == recorded
    assert recorded
    make_room()
    with store.writing() as ledger:
        assert sorted(ledger.units()) == recorded
        ledger.record(Unit(len(recorded), "1" * 64, "2" * 64, "3" * 64))
    assert len(FeatureStore.open(path, check=False).completed_units()) == len(recorded) + 1


def fill_ledger_of_jobs(path, make_room):
    ledger = JobLedger(path)
    accepted = []

    def submit_until_full():
        for number in range(100_000):
            accepted.append(ledger.submit("featurize", {"dataset": f"{number:016x}"})[0].id)

    with pytest.raises(StoreError, match=rf"{path.name}: no space left"):
        submit_until_full()
    make_room()
    assert accepted
    assert [job.id for job in reversed(ledger.all(100_000))] == accepted
    assert ledger.start(accepted[0]).state == "running"


@times(0, 3)
@pytest.mark.fault("full disk under a job and its server")
def test_full_under_a_job(times, larger_file, small_disk, injected):
    state = small_disk("64m") / "state"
    hashes = set()
    with featurizing(state, larger_file) as (client, start):
        for _ in range(times):
            job, store = start()
            fails_and_is_resumed(client, job, store, state.parent)
            hashes.add(content_hash(FeatureStore.open(store)))
    assert len(hashes) == 1
    injected(
        times,
        "server goes on, job fails with a clear error once that can be noted, resumed it computes the rest, "
        "same store hash",
    )


def test_a_job_that_is_killed_and_then_has_no_room(larger_file, small_disk):
    """Two faults of the table, one after the other: a server and a job for each would take long."""
    state = small_disk("64m") / "state"
    with featurizing(state, larger_file) as (client, start):
        job, store = start()
        job_process(state, job).kill()
        before = chunk_times(store)
        assert 0 < len(before) < FeatureStore.open(store, check=False).n_units, "it was at work"
        wait_until(lambda: "attempt=2" in client.get(f"/v1/jobs/{job}/log").text)
        there = len(chunk_times(store))
        wait_until(lambda: len(chunk_times(store)) > there)
        fails_and_is_resumed(client, job, store, state.parent)
        assert before.items() <= chunk_times(store).items(), "nothing was computed again"


def fails_and_is_resumed(client, job, store, disk):
    """Fill the disk under a job that is at work, and make room again."""
    filler = fill(disk)
    before = wait_until_it_stands_still(store)
    assert 0 < len(before) < FeatureStore.open(store, check=False).n_units, "it was at work"
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "running", "nobody could write more"
    filler.unlink()
    found = ended(client, job)
    assert found["state"] == "failed"
    assert "no space left" in found["error"]
    assert client.post(f"/v1/jobs/{job}/resume").status_code == 202
    assert ended(client, job)["state"] == "succeeded"
    assert before.items() <= chunk_times(store).items(), "nothing was computed again"


def fill(disk):
    """Take all that is free; the file that took it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    return filler


def wait_until(holds, seconds=300):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_until_it_stands_still(store, seconds=120):
    """What is complete once nothing has been added for some seconds."""
    deadline = time.monotonic() + seconds
    seen, since = {}, time.monotonic()
    while time.monotonic() - since < 6:
        assert time.monotonic() < deadline
        if (now := chunk_times(store)) != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.2)
    return seen


@times(1, 3)
@pytest.mark.fault("full disk under the model")
def test_full_under_the_model(times, small_disk, tmp_path, monkeypatch, injected):
    monkeypatch.setattr(train_module, "_shared", shared_here)
    settings = FitSettings(folds=2, bootstraps=20, max_features=10, invariance=0.0)
    ensemble, report = train_module.train_on(training_data(), settings)
    save_model(ensemble, report, tmp_path / "model")
    need = pages(tmp_path / "model")
    expected = (tmp_path / "model" / "weights.npz").read_bytes()
    for i, fraction in enumerate((0.5, 0.05, 0.9)[:times]):
        disk = small_disk("64m")
        old = disk / "old"
        save_model(ensemble, report, old)
        taken = pages(disk)
        small_disk(f"{int(taken + fraction * need) // 1024}k")
        new = disk / f"new {i}"
        with pytest.raises(StoreError, match=rf"new {i}.*no space left"):
            save_model(ensemble, report, new)
        assert Ensemble.load(old).model_id == ensemble.model_id
        if new.exists():
            assert Ensemble.load(new).model_id == ensemble.model_id, "whole or not there"
        assert [file for file in disk.iterdir() if file.name.startswith(".")] == []
        small_disk("64m")
        save_model(ensemble, report, new)
        assert (new / "weights.npz").read_bytes() == expected
        assert (new / "report" / "card.md").exists()
    injected(times, "error names the model, other models stay readable, same command writes it")


def test_full_under_a_data_set(larger_file, small_disk):
    store, reading = DatasetStore(small_disk("8m") / "datasets"), DatasetReading()
    with store.received(io.BytesIO(larger_file.read_bytes())) as path:
        found = describe("a.extxyz", path, reading)
        filler = fill(store.root.parent)
        with pytest.raises(StoreError, match=r"datasets/[0-9a-f]{16}: no space left \(0\.\d MiB free"):
            store.add(path, reading, found)
    assert list(store.root.iterdir()) == []
    filler.unlink()
    with store.received(io.BytesIO(larger_file.read_bytes())) as path:
        assert len(store.structures(store.add(path, reading, found).id)) == found.n_structures


@pytest.fixture
def other_model(tmp_path):
    """A model that is not the embedded one, with a report, as training leaves it."""
    other = dataclasses.replace(Ensemble.load(embedded_model()), data_hash="another")
    other.save(tmp_path / "other")
    (tmp_path / "other" / "report").mkdir()
    (tmp_path / "other" / "report" / "parity.png").write_bytes(bytes(5 * PAGE))
    return tmp_path / "other"


@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_full_under_a_model_that_is_added(other_model, small_disk, fraction):
    size = int(fraction * pages(other_model)) // 1024
    registry = ModelRegistry(small_disk(f"{size}k") / "models")
    with pytest.raises(StoreError, match=r"models/[0-9a-f]{16}: no space left \(\d\.\d MiB free"):
        registry.add(other_model)
    assert list(registry.root.iterdir()) == []
    small_disk("8m")
    assert registry.load(registry.add(other_model)).data_hash == "another"


def test_full_under_the_note_of_the_active_model(other_model, small_disk):
    """No model answers that a restart would not bring back."""
    state = small_disk("64m") / "state"
    model_id = ModelRegistry(state / "models").add(other_model)
    with serving(state) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
        before = client.get("/v1/models").json()
        filler = fill(state.parent)
        answer = client.post(f"/v1/models/{model_id}/activate")
        assert "models/active: no space left" in assert_problem(answer, 503)["detail"]
        assert str(state) not in answer.text
        assert client.get("/v1/models").json() == before
        assert list((state / "models").glob(".active-*")) == []
        filler.unlink()
        assert client.post(f"/v1/models/{model_id}/activate").json()["active"] == model_id
    assert ModelRegistry(state / "models").active == model_id
