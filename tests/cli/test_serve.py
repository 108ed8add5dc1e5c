"""What atomscatter serve refuses before anything is started: one line, and exit code 2."""

import socket

import pytest
from structlog.testing import capture_logs

from cli.serve import _tell_who_may_ask
from service.settings import ServeSettings
from service.state import StateDirectory
from tests.cli.conftest import run


def refusal(*arguments):
    """The line."""
    done = run("serve", "--port", 0, *arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line


def test_an_active_model_that_is_gone(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "active").write_text("f" * 16)
    line = refusal("--state", tmp_path)
    assert line.startswith(f"Error: the active model {'f' * 16} cannot be used (--model DIR serves another")
    (tmp_path / "jobs.sqlite").mkdir()
    assert "jobs.sqlite" in refusal("--state", tmp_path, "--model", "embedded"), "which is a way out"


def test_a_state_directory_that_cannot_be_written():
    assert refusal("--state", "/proc/state").startswith("Error: the state directory cannot be used: /proc/")


def test_a_damaged_ledger(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"not a database" * 1000)
    line = refusal("--state", tmp_path)
    assert line.startswith(f"Error: {tmp_path}/jobs.sqlite: the ledger cannot be used")


def test_a_state_directory_of_another_machine(tmp_path, monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(socket, "gethostname", lambda: "another-machine")
        lock = StateDirectory(tmp_path).runner_lock("local")
    assert lock.acquire()
    assert "are looked after by process" in refusal("--state", tmp_path)
    assert not (tmp_path / "jobs.sqlite").exists()
    lock.release()


@pytest.mark.parametrize(
    ("host", "keys", "warnings"),
    [
        ("127.0.0.1", None, 0),
        ("localhost", None, 0),
        ("::1", None, 0),
        ("0.0.0.0", "keys", 0),
        ("0.0.0.0", None, 1),
        ("::", None, 1),
        ("node7", None, 1),
    ],
)
def test_who_may_ask_is_told(host, keys, warnings):
    with capture_logs() as told:
        _tell_who_may_ask(host, ServeSettings(api_keys=keys))
    assert [line["log_level"] for line in told] == ["warning"] * warnings
