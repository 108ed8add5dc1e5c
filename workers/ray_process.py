"""What Ray does to the process that joins it: none of it may change how we end, print or compute."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

import structlog

# Each worker process is one unit of parallelism; thread pools inside of it would only fight each other.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


def join_ray(**options: Any) -> None:
    """``ray.init`` without its log, and without its handler of SIGTERM, which belongs to whoever calls us."""
    import ray

    with _sigterm_handler_kept():
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


@contextlib.contextmanager
def _sigterm_handler_kept() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def quiet_ray() -> Iterator[None]:
    """Send what Ray prints on standard output about dead workers to the log's debug level.

    ``log_to_driver=False`` does not cover these messages, and standard output belongs to our results.
    The pool reports every death itself.
    """
    from ray._private import worker as ray_worker

    def log(data: dict[str, Any], **_: Any) -> None:
        structlog.get_logger().debug("message from Ray", lines=data.get("lines"))

    printer = getattr(ray_worker, "print_to_stdstream", None)
    if printer is None:
        yield
        return
    ray_worker.print_to_stdstream = log  # type: ignore[assignment]
    try:
        yield
    finally:
        ray_worker.print_to_stdstream = printer
