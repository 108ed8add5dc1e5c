"""The job ledger: every change is whole, whoever makes it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from ase.data import chemical_symbols
from pydantic import ValidationError

from atomscatter.errors import StoreError
from service.datasets import UnknownIdError
from service.deletion import InUseError
from service.job_parameters import TrainParameters
from service.jobs import MAX_ATTEMPTS, JobLedger, JobStateError, KeyReusedError, QueueFullError

CLUSTER = "http://head:8265"


@pytest.fixture
def ledger(tmp_path):
    return JobLedger(tmp_path / "state" / "jobs.sqlite")


def test_a_job_from_queue_to_end(ledger):
    job, new = ledger.submit("evaluate", {"dataset": "a"})
    assert new
    assert job.state == "queued"
    assert ledger.start(job.id).attempts == 1
    assert ledger.start(job.id) is None, "once only"
    ledger.progress(job.id, 3, 10, "structures")
    ledger.finish(job.id, "succeeded", result={"x": 1})
    ledger.finish(job.id, "failed", error="too late")
    ledger.progress(job.id, 4, 10, "structures")
    found = ledger.get(job.id)
    assert (found.state, found.result, found.error) == ("succeeded", {"x": 1}, None)
    assert (found.done, found.total, found.unit) == (3, 10, "structures")
    assert ledger.cancel(job.id).state == "succeeded"


def test_a_failed_job_is_resumed_with_new_attempts(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a"})
    with pytest.raises(JobStateError, match="is queued"):
        ledger.resume(job.id)
    for _ in range(MAX_ATTEMPTS):
        assert not ledger.get(job.id).is_out_of_attempts
        ledger.start(job.id)
        ledger.requeue(job.id)
    assert ledger.get(job.id).is_out_of_attempts
    ledger.finish(job.id, "failed", error="gone")
    found = ledger.resume(job.id)
    assert (found.state, found.error, found.ended) == ("queued", None, None)
    assert not found.is_out_of_attempts
    assert ledger.start(job.id).attempts == MAX_ATTEMPTS + 1, "each attempt has a number of its own"
    ledger.finish(job.id, "succeeded", result={})
    with pytest.raises(JobStateError, match="is succeeded"):
        ledger.resume(job.id)


def test_a_ledger_of_an_earlier_version_is_taken_over(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a"}, place="local")
    with ledger._transaction() as connection:
        for column in ("attempts_before", "place"):
            connection.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    with ThreadPoolExecutor(8) as pool:  # a server and commands may be the first at the same time
        ledgers = list(pool.map(JobLedger, [ledger.path] * 8))
    for found in ledgers:
        assert found.get(job.id) == job
        assert found.place(job.id) is None
    assert ledger.waiting(CLUSTER) == ledger.waiting("local") == [job], "anybody may start it"


def test_a_job_waits_for_its_place(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a"}, place=CLUSTER)
    assert ledger.waiting("local") == []
    assert ledger.waiting_elsewhere("local") == [CLUSTER]
    assert ledger.waiting(CLUSTER) == [job]
    assert ledger.waiting_elsewhere(CLUSTER) == []
    ledger.start(job.id, CLUSTER)
    ledger.requeue(job.id)
    assert ledger.place(job.id) == CLUSTER, "its process died"
    ledger.cancel(job.id)
    ledger.resume(job.id)
    assert ledger.place(job.id) == CLUSTER
    ledger.cancel(job.id)
    ledger.resume(job.id, place="local")
    assert [found.id for found in ledger.waiting("local")] == [job.id]
    with pytest.raises(UnknownIdError, match="no job nothing"):
        ledger.place("nothing")


def test_jobs_that_wait_are_taken_over(ledger):
    waiting = [ledger.submit("evaluate", {"dataset": "a"}, place=place)[0] for place in (CLUSTER, None)]
    running, _ = ledger.submit("evaluate", {"dataset": "b"}, place=CLUSTER)
    ledger.start(running.id)
    ledger.take_over("local")
    assert ledger.waiting("local") == waiting
    assert [ledger.place(job.id) for job in waiting] == ["local"] * 2
    assert ledger.place(running.id) == CLUSTER
    with ledger._transaction():
        ledger.take_over("local")  # waits for no writer when there is nothing to do: this one would never end


def test_counts_name_every_state(ledger):
    assert set(ledger.counts().values()) == {0}
    first, _ = ledger.submit("evaluate", {"dataset": "a"})
    ledger.submit("evaluate", {"dataset": "b"})
    ledger.start(first.id)
    wanted = {"queued": 1, "running": 1, "cancelling": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert ledger.counts() == wanted


def test_keys(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a"}, "key")
    again, new = ledger.submit("evaluate", {"dataset": "a"}, "key")
    assert again == job
    assert not new
    with pytest.raises(KeyReusedError):
        ledger.submit("evaluate", {"dataset": "b"}, "key")
    assert ledger.submit("evaluate", {"dataset": "a"})[1], "without a key, every request is a job"


def test_a_full_queue_still_knows_the_keys_of_its_jobs(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a"}, "key", max_queued=1)
    with pytest.raises(QueueFullError, match="1 jobs are waiting"):
        ledger.submit("evaluate", {"dataset": "b"}, "other", max_queued=1)
    assert ledger.submit("evaluate", {"dataset": "a"}, "key", max_queued=1) == (job, False)
    assert ledger.all() == [job]


def test_a_full_queue_takes_no_resumed_job(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a"})
    ledger.cancel(job.id)
    other, _ = ledger.submit("evaluate", {"dataset": "b"})
    with pytest.raises(QueueFullError, match="1 jobs are waiting"):
        ledger.resume(job.id, max_queued=1)
    with pytest.raises(JobStateError, match="is queued"):
        ledger.resume(other.id, max_queued=1)
    assert ledger.get(job.id).state == "cancelled"
    ledger.start(other.id)
    assert ledger.resume(job.id, max_queued=1).state == "queued"


def test_readers_do_not_wait_for_a_writer(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a"})
    with ledger._transaction() as connection:
        connection.execute("UPDATE jobs SET state = 'running'")
        # In the way of each other they would wait 30 s, and fail: this thread is the writer.
        assert ledger.get(job.id).state == "queued", "the last whole change"
        assert ledger.all() == ledger.in_state("queued") == [job]
        assert ledger.counts()["queued"] == 1
    assert ledger.get(job.id).state == "running"


def test_defaults_of_the_moment_do_not_tell_requests_apart(ledger):
    asked = {"dataset": "a", "model": None}
    job, _ = ledger.submit("evaluate", asked, "key", defaults={"model": "first"})
    again, new = ledger.submit("evaluate", asked, "key", defaults={"model": "second"})
    assert not new
    assert again.parameters == job.parameters == {"dataset": "a", "model": "first"}


def test_one_key_in_many_threads_is_one_job(ledger):
    barrier = threading.Barrier(16)

    def submit(_):
        barrier.wait()
        return ledger.submit("evaluate", {"dataset": "a"}, "key")

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(submit, range(16)))
    assert len({job.id for job, _ in found}) == 1
    assert sum(new for _, new in found) == 1


def test_requeue_and_cancel(ledger):
    job, _ = ledger.submit("evaluate", {})
    ledger.start(job.id)
    ledger.requeue(job.id)
    assert (ledger.get(job.id).state, ledger.get(job.id).attempts) == ("queued", 1)
    ledger.start(job.id)
    ledger.requeue(job.id, blameless=True)
    assert ledger.get(job.id).attempts == 1, "an attempt that was nobody's fault does not count"
    assert ledger.cancel(job.id).state == "cancelled"
    assert ledger.start(job.id) is None
    other, _ = ledger.submit("evaluate", {})
    ledger.start(other.id)
    assert ledger.cancel(other.id).state == "cancelling"
    assert [j.id for j in ledger.all()] == [other.id, job.id], "the newest first"
    assert [j.id for j in ledger.in_state("cancelling")] == [other.id]


def test_unknown_ids_and_damage(ledger):
    for call in (ledger.get, ledger.cancel):
        with pytest.raises(UnknownIdError, match="no job nothing"):
            call("nothing")
    ledger.path.write_bytes(b"not a database" * 1000)
    for suffix in ("-wal", "-shm"):
        ledger.path.with_name(ledger.path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(StoreError, match=r"jobs\.sqlite"):
        ledger.all()


def test_energies_of_the_elements_are_numbers_of_elements():
    every = dict.fromkeys(chemical_symbols[1:], -1.0)
    assert TrainParameters(store="0" * 16, references=every).references == every
    for references, message in (
        ({"Li": float("nan")}, "finite"),
        ({"Li": float("inf")}, "finite"),
        ({"Xx": -1.0}, "unknown chemical symbol 'Xx'"),
        ({"X": -1.0}, "unknown chemical symbol 'X'"),  # ASE's symbol of no element
        (dict.fromkeys([*every, "Xx"], -1.0), "there are 118 elements"),
    ):
        with pytest.raises(ValidationError, match=message):
            TrainParameters(store="0" * 16, references=references)


def test_what_a_job_needs_until_it_has_ended(ledger):
    job, _ = ledger.submit("evaluate", {"dataset": "a", "model": "b"})
    for step in (lambda: None, lambda: ledger.start(job.id), lambda: ledger.cancel(job.id)):
        step()
        state = ledger.get(job.id).state
        with pytest.raises(InUseError, match=f"data set a is needed by job {job.id}, which is {state}"):
            ledger.require_unused("dataset", "a")
        with pytest.raises(InUseError, match="model b is needed"):
            ledger.require_unused("model", "b")
        ledger.require_unused("dataset", "b")
    assert state == "cancelling"
    ledger.finish(job.id, "cancelled")
    ledger.require_unused("dataset", "a")
    ledger.require_unused("model", "b")
