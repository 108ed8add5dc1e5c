"""How messages look: structured lines on standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any

import structlog

LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}


def configure_logging(verbosity: str = "normal", *, as_json: bool = False) -> None:
    """Send structlog's messages of this process to standard error, readable on a terminal and as plain lines.

    On a terminal they have the time of the day; in files, which are read later and elsewhere, that in UTC.

    Args:
        verbosity: "quiet" (warnings and errors only), "normal" or "verbose".
        as_json: one JSON object a line, with the time in UTC, ISO 8601: for machines that collect logs.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *(_JSON if as_json else _readable()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[verbosity]),
        # Looked up at each message: progress bars and tests put another file in the place of sys.stderr.
        logger_factory=_stderr_logger,
        cache_logger_on_first_use=False,
    )


_UTC = structlog.processors.TimeStamper(fmt="iso", utc=True)
_JSON: tuple[Any, ...] = (
    _UTC,
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
)


def _readable() -> tuple[Any, ...]:
    return (
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False) if sys.stderr.isatty() else _UTC,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            # Not rich's: it writes out local variables, requests and keys among them, and takes seconds.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    )


class _Lines(structlog.PrintLogger):
    """Where there is no room for a line, or nobody reads it, the work goes on without it."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def _stderr_logger(*_: Any) -> structlog.PrintLogger:
    return _Lines(sys.stderr)
