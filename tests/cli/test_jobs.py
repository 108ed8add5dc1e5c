"""atomscatter jobs without an address: what belongs to a cluster is not run on this machine."""

from service.jobs import JobLedger
from tests.cli.conftest import run
from tests.ports import unused_port


def test_jobs_of_a_cluster_are_not_started_here(tmp_path):
    cluster = f"http://127.0.0.1:{unused_port()}"
    ledger = JobLedger(tmp_path / "jobs.sqlite")
    job, _ = ledger.submit("evaluate", {"dataset": "1" * 16}, place=cluster)
    for words in (("list",), ("show", job.id), ("logs", job.id)):
        done = run("jobs", *words, "--state", tmp_path)
        assert done.exit_code == 0, done.stderr
        assert cluster in done.stderr, "says what it waits for"
        assert ledger.get(job.id) == job
    assert run("jobs", "cancel", job.id, "--state", tmp_path).exit_code == 0
    done = run("jobs", "resume", job.id, "--state", tmp_path)
    assert done.exit_code == 2
    assert f"the cluster at {cluster}; --address has to name" in done.stderr
    assert ledger.get(job.id).state == "cancelled"
    assert ledger.get(job.id).attempts == 0
