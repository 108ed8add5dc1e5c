"""The process of a job, run here."""

from dataclasses import replace

from service.state import StateDirectory
from workers.job import _Run


def test_a_job_of_another_version_fails_and_says_so(tmp_path):
    state = StateDirectory(tmp_path)
    ledger, files = state.ledger(), state.job_files()
    job = ledger.start(ledger.submit("evaluate", {"dataset": "1" * 16})[0].id)
    files.write_request(job, on_cluster=False, place="local")
    assert _Run(replace(files.request(job.id), version="77.0"), state, files).run() == 1
    status = files.status(job.id, job.attempts)
    assert status.state == "failed"
    assert f"job {job.id} is from atomscatter 77.0" in status.error
