"""Files that the process of a job and its runner share."""

import json

import pytest

from atomscatter.errors import ConfigError
from service.job_files import JobFiles, JobStatus
from service.jobs import JobLedger


@pytest.fixture
def files(tmp_path):
    return JobFiles(tmp_path)


def test_parts_of_a_log(files):
    assert files.log_part("a") == files.log_part("a", 5) == b"", "nothing was printed yet"
    files.append_log("a", "0123456789")
    assert files.log_part("a") == b"0123456789"
    assert files.log_part("a", size=3) == b"789"
    assert files.log_part("a", 4, size=3) == b"456"
    assert files.log_part("a", 9) == b"9"
    for offset in (10, 11, 2**62, 2**63 - 1):  # the largest that the API lets pass
        assert files.log_part("a", offset) == b""


def rewritten(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def job(tmp_path):
    ledger = JobLedger(tmp_path / "jobs.sqlite")
    job = ledger.start(ledger.submit("featurize", {})[0].id)
    ledger.close()
    return job


def test_what_only_another_version_knows_is_passed_over(files, job):
    files.write_request(job, on_cluster=False, place="local")
    files.write_status(job.id, status := JobStatus(job.attempts, done=3))
    request = files.request(job.id)
    rewritten(files.root / f"{job.id}.request.json", later=1)
    rewritten(files.root / f"{job.id}.status.json", later=1)
    assert files.request(job.id) == request
    assert files.status(job.id, job.attempts) == status


def test_a_request_of_another_version_is_refused(files, job):
    files.write_request(job, on_cluster=False, place="local")
    files.request(job.id).require_own_version()
    rewritten(files.root / f"{job.id}.request.json", version="77.0")
    with pytest.raises(ConfigError, match=f"job {job.id} is from atomscatter 77.0, and the node .* has "):
        files.request(job.id).require_own_version()
