import structlog

from service.logs import configure_logging


def test_a_traceback_does_not_write_out_local_variables(capsys):
    configure_logging()
    try:
        secret = "".join(["hid", "den"])
        raise RuntimeError(len(secret))
    except RuntimeError as error:
        structlog.get_logger().error("broken", exc_info=error)
    written = capsys.readouterr().err
    assert "RuntimeError: 6" in written
    assert "hidden" not in written
