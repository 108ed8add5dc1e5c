"""Progress on a terminal, in a log, and not at all."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import progress as module
from service.logs import configure_logging
from service.progress import counter, increments, progress

ROOT = Path(__file__).parents[2]


def test_log_lines_name_step_count_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    configure_logging()
    with progress("Featurizing", 3) as advance:
        advance()
        advance()
        advance()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3, "the last is not said twice"
    assert "Featurizing" in lines[0]
    assert "done=1" in lines[0]
    assert "total=3" in lines[0]
    assert re.search(r"rate=\S+/s", lines[0])
    assert "left=unknown" in lines[0], "workers may have had to start"
    assert re.search(r"left='\d+ s'", lines[1])
    assert "done=3" in lines[-1]
    assert "left='0 s'" in lines[-1]


def test_what_an_earlier_run_did_does_not_enter_the_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    configure_logging()
    with progress("Features", 100) as advance:
        advance(90)  # there before
        now[0] = 10.0
        advance(1)
        line = capsys.readouterr().err.splitlines()[-1]
    assert "rate=0.1/s" in line
    assert "left='90 s'" in line


def test_time_is_left_also_where_a_run_says_that_none_was_done_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    configure_logging()
    with progress("Features", 100) as advance:
        advance(0)  # as featurize begins
        for n in (10, 20):
            now[0] += 10.0
            advance(n)
        first, second = capsys.readouterr().err.splitlines()
    assert "left=unknown" in first
    assert "rate=2/s" in second
    assert "left='35 s'" in second


def test_few_lines_when_units_are_quick(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    with progress("Training", 1000, "models") as advance:
        for _ in range(1000):
            advance()
    assert len(capsys.readouterr().err.splitlines()) < 5


def test_nothing_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("quiet")
    with progress("Training", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_a_failed_step_does_not_claim_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()

    def broken_step() -> None:
        with progress("Training", 2) as advance:
            advance()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken_step()
    assert "done=2" not in capsys.readouterr().err


def test_increments_turn_counts_into_steps() -> None:
    steps: list[int] = []
    report = increments(lambda n=1: steps.append(n))
    for so_far in (1, 4, 4, 10):
        report(so_far)
    assert steps == [1, 3, 0, 6]


def test_a_step_of_unknown_length_is_counted_when_it_takes_its_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    configure_logging()
    for seconds, counts in ((0.9, []), (1.5, [3]), (6.0, [2, 3])):
        with counter("Reading") as advance:
            advance(1)
            now[0] += seconds
            advance(1)
            advance(1)
        lines = capsys.readouterr().err.splitlines()
        assert [int(re.search(r"done=(\d+)", line)[1]) for line in lines] == counts  # type: ignore[index]
        assert all("Reading" in line and "structures" in line and "rate=" in line for line in lines)
    configure_logging("quiet")
    with counter("Reading") as advance:
        now[0] += 60.0
        advance(1)
    assert capsys.readouterr() == ("", "")


def on_terminal(code: str) -> str:
    """What a process shows on a terminal."""
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=terminal, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait(timeout=60) == 0
    return shown.decode()


def test_a_bar_with_rate_on_a_terminal() -> None:
    text = on_terminal(
        "import time\nfrom service.logs import configure_logging\nfrom service.progress import progress\n"
        "configure_logging()\n"
        "with progress('Featurizing', 4) as advance:\n"
        "    for _ in range(4):\n        time.sleep(0.05)\n        advance()\n"
    )
    assert "Featurizing" in text
    assert "4/4" in text
    assert re.search(r"structures/s", text)
    assert "left" in text


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, True), (1e9, False)])
def test_a_count_on_a_terminal(seconds: float, shown: bool) -> None:
    text = on_terminal(
        "import time\nfrom service.logs import configure_logging\nfrom service import progress\n"
        f"configure_logging()\nprogress.SECONDS_UNTIL_COUNTED = {seconds}\n"
        "with progress.counter('Reading') as advance:\n"
        "    for _ in range(4):\n        time.sleep(0.05)\n        advance()\n"
    )
    if shown:
        assert re.search(r"Reading.* 4 .*structures/s", text)
    else:
        assert text == ""
