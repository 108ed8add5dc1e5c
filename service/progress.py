"""Progress of long steps: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SECONDS_BETWEEN_LINES = 5.0
SECONDS_UNTIL_COUNTED = 1.0
"""A step of unknown length shows nothing before."""


class Advance(Protocol):
    """Call it with the number of units that were completed since the last call."""

    def __call__(self, n: int = 1) -> None:
        """Count ``n`` more units as done."""


@contextmanager
def progress(description: str, total: int, unit: str = "structures") -> Iterator[Advance]:
    """Show how far a long step is, with rate and time left.

    On a terminal this is a bar on standard error; elsewhere a log line every few seconds and one at the end.
    Nothing is shown when logging is set to "quiet".

    Args:
        description: what is being done, e.g. "Featurizing".
        total: number of units.
        unit: what is counted, plural.

    Yields:
        ``advance(n=1)``, to be called as units complete.
    """
    log = structlog.get_logger()
    if not log.is_enabled_for(logging.INFO):
        yield _silent
    elif sys.stderr.isatty():
        yield from _bar(description, total, unit)
    else:
        yield from _lines(description, total, unit, log)


@contextmanager
def counter(description: str, unit: str = "structures") -> Iterator[Advance]:
    """Like :func:`progress`, for a step whose length is not known, such as reading.

    It shows how many units are done, and nothing at all of a step that takes less than a second.
    """
    log = structlog.get_logger()
    if not log.is_enabled_for(logging.INFO):
        yield _silent
    elif sys.stderr.isatty():
        yield from _spinner(description, unit)
    else:
        yield from _counts(description, unit, log)


def _silent(n: int = 1) -> None:
    """Show nothing."""


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} {self._unit}/s", style="progress.data.speed")


def _bar(description: str, total: int, unit: str) -> Iterator[Advance]:
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=60.0) as bar:
        task = bar.add_task(description, total=total)

        def advance(n: int = 1) -> None:
            bar.advance(task, n)

        yield advance


def _spinner(description: str, unit: str) -> Iterator[Advance]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed}"),
        _RateColumn(unit),
        TimeElapsedColumn(),
    )
    start = time.monotonic()
    bar = Progress(*columns, console=Console(stderr=True), speed_estimate_period=60.0)
    task = bar.add_task(description, total=None)

    def advance(n: int = 1) -> None:
        bar.advance(task, n)
        if not bar.live.is_started and time.monotonic() - start >= SECONDS_UNTIL_COUNTED:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


def _counts(description: str, unit: str, log: structlog.typing.FilteringBoundLogger) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def report(now: float) -> None:
        log.info(description, done=done, unit=unit, rate=f"{done / max(now - start, 1e-9):.3g}/s")

    def advance(n: int = 1) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            report(now)

    yield advance
    if (now := time.monotonic()) - start >= SECONDS_UNTIL_COUNTED:
        report(now)


def _lines(
    description: str, total: int, unit: str, log: structlog.typing.FilteringBoundLogger
) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0
    told: int | None = None  # what was done when it was last reported
    first: tuple[float, int] | None = None  # time and count of the first call that counts anything

    def report(now: float) -> None:
        nonlocal told
        told = done
        # From that call on: it may count what an earlier run had done, which took no time now, and what
        # it counts may have waited for workers to start: it tells nothing of the rest.
        since, before = first if first is not None and done > first[1] else (start, 0)
        rate = (done - before) / max(now - since, 1e-9)
        tells = rate and (before or done == total)
        left = f"{(total - done) / rate:.0f} s" if tells else "unknown"
        log.info(description, done=done, total=total, unit=unit, rate=f"{rate:.3g}/s", left=left)

    def advance(n: int = 1) -> None:
        nonlocal done, last, first
        done += n
        now = time.monotonic()
        if first is None and done:
            first = (now, done)
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            report(now)

    yield advance
    if told != done:
        report(time.monotonic())


def increments(advance: Advance) -> Callable[[int], None]:
    """A callback that takes the number of units done so far, and advances by what is new."""
    done = 0

    def report(so_far: int) -> None:
        nonlocal done
        advance(so_far - done)
        done = so_far

    return report
