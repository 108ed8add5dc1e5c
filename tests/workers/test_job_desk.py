"""Which jobs a command without a server starts, and which a server."""

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import pytest
from ase.build import bulk
from structlog.testing import capture_logs

from api.state import Service
from atomscatter.errors import ConfigError
from service.demo_data import load_sample
from service.result_files import write_extxyz
from service.settings import ServeSettings
from service.state import StateDirectory
from tests.ports import unused_port
from workers.job_desk import JobDesk
from workers.job_places import LOCAL
from workers.job_runner import JobRunner

NO_DATA = {"dataset": "1" * 16}


@pytest.fixture
def state(tmp_path):
    return StateDirectory(tmp_path / "state")


@pytest.fixture
def cluster():
    """Address of a cluster that is away."""
    return f"http://127.0.0.1:{unused_port()}"


@contextlib.contextmanager
def desk_of(state, address=None):
    with contextlib.closing(JobDesk(state, address)) as desk:
        yield desk


@contextlib.contextmanager
def serving(state, address=None):
    """The runner of a server."""
    runner = JobRunner(state, address)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop()


def until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def was_started(state, job_id):
    return state.ledger().get(job_id).attempts > 0


def submitted(state, address, tmp_path):
    """A job that was submitted for a cluster."""
    sample, data = load_sample("paths")[:2], tmp_path / "data.extxyz"
    write_extxyz(data, [s.atoms for s in sample], [s.energy for s in sample], [{} for _ in sample])
    with desk_of(state, address) as desk:
        return desk.submit("featurize", {"dataset": desk.add_dataset(data, None, None)})


def test_a_model_is_not_evaluated_on_elements_that_it_does_not_know(state, tmp_path):
    data = tmp_path / "data.extxyz"
    write_extxyz(data, [bulk("Si"), bulk("NaCl", "rocksalt", a=5.6)], [-10.0, -8.0], [{}, {}])
    with desk_of(state) as desk:
        dataset = desk.add_dataset(data, None, None)
        for model in (None, state.registry().active):
            with pytest.raises(ConfigError, match=rf"{dataset} contains Cl, Na; known elements .* Li, Si"):
                desk.submit("evaluate", {"dataset": dataset, "model": model})
        assert desk.jobs(1) == []


def test_references_that_lack_an_element_are_refused_as_a_training_is_submitted(state, tmp_path):
    store = submitted(state, None, tmp_path)
    with contextlib.closing(state.ledger()) as ledger:
        ledger.start(store.id)
        ledger.finish(store.id, "succeeded")
    with desk_of(state) as desk:
        with pytest.raises(ConfigError, match=r"the references .* lack Si"):
            desk.submit("train", {"store": store.id, "references": {"Li": -1.9}})
        (state.root / "datasets" / store.parameters["dataset"]).rename(tmp_path / "gone")
        job = desk.submit("train", {"store": store.id, "references": {"Li": -1.9}})
        assert job.state == "queued", "it needs only the store, which knows its elements"


def test_a_command_that_passes_by_starts_no_job_of_a_cluster(state, cluster, tmp_path):
    job = submitted(state, cluster, tmp_path)
    with desk_of(state) as desk, capture_logs() as told:
        assert desk.job(job.id).state == "queued"
        assert desk.jobs(1)[0].state == "queued"
    assert [line["places"] for line in told if line["event"] == "jobs wait for another place"] == [[cluster]]
    assert not was_started(state, job.id)
    with desk_of(state, f"http://127.0.0.1:{unused_port()}") as desk:
        assert desk.job(job.id).state == "queued", "not at another cluster either"
    assert not was_started(state, job.id)


def test_a_job_of_no_place_is_started_by_anybody(state):
    job, _ = state.ledger().submit("evaluate", NO_DATA)
    with desk_of(state) as desk:
        until(lambda: desk.job(job.id).has_ended)
    assert was_started(state, job.id)
    assert state.ledger().place(job.id) == LOCAL


def test_a_job_of_a_cluster_is_resumed_at_a_cluster(state, cluster, tmp_path):
    job = submitted(state, cluster, tmp_path)
    other = f"http://127.0.0.1:{unused_port()}"
    with desk_of(state) as desk:
        desk.cancel(job.id)
        with pytest.raises(ConfigError, match=f"cluster at {cluster}; --address"):
            desk.resume(job.id)
        assert desk.job(job.id).state == "cancelled"
    with desk_of(state, other) as desk:
        assert desk.resume(job.id).state == "queued"
    assert state.ledger().place(job.id) == other
    assert not was_started(state, job.id)


def test_no_job_is_resumed_at_the_place_of_another_process(state, cluster):
    ledger = state.ledger()
    job, _ = ledger.submit("evaluate", NO_DATA, place=LOCAL)
    ledger.cancel(job.id)
    lock = state.runner_lock(cluster)
    assert lock.acquire()
    with desk_of(state) as desk, pytest.raises(ConfigError, match=f"at {cluster}, not at local"):
        desk.resume(job.id)
    assert ledger.get(job.id).state == "cancelled"


def test_a_server_takes_over_the_jobs_of_an_address_that_it_had(state, cluster):
    job, _ = state.ledger().submit("evaluate", NO_DATA, place=cluster)
    with serving(state):
        until(lambda: was_started(state, job.id))
    assert state.ledger().place(job.id) == LOCAL


def test_jobs_that_a_server_has_accepted_are_jobs_of_its_place(state, cluster):
    job, _ = state.ledger().submit("evaluate", NO_DATA)
    with serving(state, cluster):
        until(lambda: state.ledger().place(job.id) == cluster)
    with desk_of(state) as desk:
        assert desk.job(job.id).state == "queued"
    assert not was_started(state, job.id)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_submissions_leave_no_files_open(state):
    before = open_files()
    with desk_of(state) as desk:
        source, _ = desk._ledger.submit("evaluate", NO_DATA, place="elsewhere")
        during = open_files()
        for _ in range(5):
            with pytest.raises(ConfigError, match="it made no store"):
                desk.submit("train", {"store": source.id})
        assert open_files() == during
    assert open_files() == before


def test_a_job_is_of_the_model_that_was_active_when_it_was_submitted(state, tmp_path):
    data = tmp_path / "data.extxyz"
    write_extxyz(data, [bulk("Si")], [-10.0], [{}])
    active = state.registry().active
    with desk_of(state) as desk:
        job = desk.submit("evaluate", {"dataset": desk.add_dataset(data, None, None)})
    assert job.parameters["model"] == active


def test_only_a_job_that_nobody_can_be_asked_about_is_written_off(state, cluster):
    ledger = state.ledger()
    job = ledger.start(ledger.submit("evaluate", NO_DATA)[0].id)
    with desk_of(state) as desk:
        with pytest.raises(ConfigError, match=f"--lost: local can be asked about job {job.id}, .* running"):
            desk.write_off(job.id)
        assert ledger.get(job.id) == job
        state.job_files().write_request(job, on_cluster=True, place=cluster)
        assert desk.write_off(job.id).state == "cancelled"


def test_a_server_does_not_open_the_ledger_that_another_machine_uses(state, monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(socket, "gethostname", lambda: "another-machine")
        lock = state.runner_lock(LOCAL)
    assert lock.acquire()
    service = Service(ServeSettings(state=state.root))
    with pytest.raises(ConfigError, match=r"are looked after by process \d+ on another-machine"):
        asyncio.run(service.start())
    assert not (state.root / "jobs.sqlite").exists()
    lock.release()


def test_trouble_is_told_once_and_no_jobs_are_said_to_be_started(state):
    lock = state.root / "jobs" / "runner.lock"
    lock.mkdir(parents=True)
    runner = JobRunner(state)
    with capture_logs() as told:
        for _ in range(2):
            assert not runner._looked()
        assert [line["log_level"] for line in told] == ["error"]
        runner.start()
        assert not runner.alive
        lock.rmdir()
        until(lambda: runner.alive)
        runner.stop()
    assert told[-1]["event"] == "jobs are looked after again"
