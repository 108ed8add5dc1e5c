import json
from datetime import UTC, datetime

import pytest
import structlog

from service.logs import configure_logging


def test_json_lines_have_the_date_in_utc(capsys):
    configure_logging("normal", as_json=True)
    with structlog.contextvars.bound_contextvars(request_id="mine"):
        structlog.get_logger().info("request", status=200)
    structlog.get_logger().debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(entry.pop("timestamp"))).total_seconds()) < 3600
    assert entry == {"event": "request", "level": "info", "request_id": "mine", "status": 200}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_does_not_write_out_local_variables(capsys, as_json):
    configure_logging(as_json=as_json)
    try:
        secret = "".join(["hid", "den"])
        raise RuntimeError(len(secret))
    except RuntimeError as error:
        structlog.get_logger().error("broken", exc_info=error)
    written = capsys.readouterr().err
    assert "RuntimeError: 6" in written
    assert "hidden" not in written


def test_lines_in_a_file_have_the_date_in_utc(capsys):
    configure_logging()
    structlog.get_logger().info("job started")
    time, *_ = capsys.readouterr().err.split()
    assert abs((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()) < 3600
