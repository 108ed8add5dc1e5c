"""Files that the process of a job and its runner share."""

import pytest

from service.job_files import JobFiles


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
