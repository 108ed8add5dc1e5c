"""submit and jobs without a cluster: a local Ray for each job, and what cannot be used."""

import contextlib
import json
import socket
import time

from service.jobs import JobLedger
from service.state import StateDirectory
from tests.cli.conftest import run
from tests.ports import unused_port
from workers.job_desk import JobDesk


def test_there_is_nothing_to_look_at(tmp_path):
    for words in (("list",), ("show", "x"), ("logs", "x"), ("cancel", "x"), ("resume", "x")):
        done = run("jobs", *words, "--state", tmp_path / "none")
        assert done.exit_code == 2
        assert "has no jobs" in done.stderr
    assert not (tmp_path / "none").exists()


def test_unknown_ids(tmp_path):
    JobLedger(tmp_path / "jobs.sqlite")
    for words in (("show",), ("logs",), ("cancel",), ("cancel", "--lost"), ("resume",)):
        done = run("jobs", *words, "0" * 16, "--state", tmp_path)
        assert done.exit_code == 2
        assert "no job 0000" in done.stderr
    for words, message in {
        ("evaluate", "--dataset", "1" * 16): "no data set 1111",
        ("train", "--store", "1" * 16): "no job 1111",
        ("featurize", "--dataset", "../../etc"): "--dataset: String should match",
        ("featurize",): "--dataset is missing",
        ("featurize", "--dataset", "1" * 16, "--precision", "half"): "--precision: Input should be 'single'",
        ("train", "--store", "1" * 16, "--size-factor", "0"): "--size-factor: Input should be greater than 0",
        ("train", "--store", "1" * 16, "--channel-share", "2"): "--channel-share: Input should be less",
    }.items():
        done = run("submit", *words, "--state", tmp_path)
        assert done.exit_code == 2
        assert message in done.stderr
    assert JobLedger(tmp_path / "jobs.sqlite").all() == []


def test_options_that_exclude_each_other(tmp_path):
    data = tmp_path / "a.extxyz"
    data.write_text("")
    for words in ((data, "--dataset", "1" * 16), ("--dataset", "1" * 16, "--path-key", "path_id")):
        assert run("submit", "featurize", *words, "--state", tmp_path / "state").exit_code == 2
    assert not (tmp_path / "state").exists()


def test_bad_structures_are_named(tmp_path):
    data = tmp_path / "a.extxyz"
    data.write_text('2\nLattice="5 0 0 0 5 0 0 0 5" energy=1\nSi 0 0 0\nSi 0 0 0.1\n')
    done = run("submit", "featurize", data, "--state", tmp_path / "state")
    assert done.exit_code == 2
    assert f"{data}, structure 0: " in done.stderr
    assert JobLedger(tmp_path / "state" / "jobs.sqlite").all() == []


def test_addresses_that_are_none(tmp_path):
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for address, code, message in (
            ("head:6379", 2, "--address is like http://head:8265"),
            (f"http://127.0.0.1:{closed.getsockname()[1]}", 1, "Connection refused"),
            (f"http://127.0.0.1:{silent.getsockname()[1]}", 1, "timed out"),
            ("http://[::1", 1, "nothing answers"),
        ):
            began = time.monotonic()
            done = run(
                "submit", "evaluate", "--dataset", "1" * 16, "--address", address, "--state", tmp_path / "s"
            )
            assert time.monotonic() - began < 60, "seconds, not minutes"
            assert done.exit_code == code, done.stderr
            assert message in done.stderr
            assert not (tmp_path / "s").exists()


def job_on(address, state):
    """A job that runs on a cluster, by the ledger."""
    ledger = state.ledger()
    job = ledger.start(ledger.submit("evaluate", {"dataset": "1" * 16})[0].id)
    state.job_files().write_request(job, on_cluster=True, place=address)
    return ledger, job


def test_a_job_that_is_followed_fails_when_its_cluster_stays_away(tmp_path):
    state, address = StateDirectory(tmp_path), f"http://127.0.0.1:{unused_port()}"
    ledger, job = job_on(address, state)
    with contextlib.closing(JobDesk(state, None)) as desk:
        assert desk.job(job.id).state == "running", "a moment without an answer is no end"
    with contextlib.closing(JobDesk(state, None, patience=0.1)) as desk:
        deadline = time.monotonic() + 60
        while not desk.job(job.id).has_ended and time.monotonic() < deadline:
            time.sleep(0.2)
    failed = ledger.get(job.id)
    assert failed.state == "failed"
    assert failed.error.startswith("its cluster could not be used for 0 s; the log says why. Resume the job")
    assert ledger.resume(job.id).state == "queued"


def test_another_process_looks_after_the_jobs(tmp_path, monkeypatch):
    state = StateDirectory(tmp_path)
    lock = state.runner_lock("http://elsewhere:8265")
    assert lock.acquire()
    job, _ = JobLedger(tmp_path / "jobs.sqlite").submit("evaluate", {"dataset": "1" * 16})
    shown = run("jobs", "show", job.id, "--state", tmp_path)
    assert shown.exit_code == 0, shown.stderr
    assert "state: queued" in shown.stdout
    refused = run("submit", "evaluate", "--dataset", "1" * 16, "--state", tmp_path)
    assert refused.exit_code == 2
    assert "at http://elsewhere:8265, not at local" in refused.stderr
    monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")
    done = run("jobs", "list", "--state", tmp_path)
    assert done.exit_code == 2
    assert "its jobs are looked after by process" in done.stderr
    lock.release()
    assert run("jobs", "cancel", job.id, "--state", tmp_path).exit_code == 0
    assert JobLedger(tmp_path / "jobs.sqlite").get(job.id).state == "cancelled"


def test_a_cluster_that_is_gone_for_good(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        ledger, job = job_on(address, StateDirectory(tmp_path))
        listed = run("jobs", "list", "--json", "--state", tmp_path)
        assert listed.exit_code == 0, listed.stderr
        assert json.loads(listed.stdout)[0]["state"] == "running"
        assert "as they were last seen" in listed.stderr
        assert address in listed.stderr
        done = run("jobs", "cancel", job.id, "--lost", "--state", tmp_path)
        assert done.exit_code == 0, done.stderr
    assert "written off" in done.stderr
    assert ledger.get(job.id).state == "cancelled"
