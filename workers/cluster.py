"""The connection to Ray: a local one that lives as long as the command, or a running cluster."""

import contextlib
import fcntl
import functools
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]
import structlog

from atomscatter.errors import ConfigError, WorkerError

# Each worker process is one unit of parallelism; thread pools inside of it would only fight each other.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
_LOCAL_ENVIRONMENT = ONE_THREAD | {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
_node_lock = threading.Lock()
_STARTS_OF_IDLE_DAEMONS = ("start_monitor", "start_log_monitor", "start_api_server")
_OBJECT_STORE_BYTES = 512 * 2**20
# A Unix socket's path has at most 107 bytes, and Ray adds up to 64 to its directory.
_LONGEST_DIRECTORY = 42
_PREFIX = "atomscatter-ray-"
_LOCK = "in-use.lock"
_START_ATTEMPTS = 3
_SECONDS_FOR_CPUS = 600.0


def available_cores() -> int:
    """Physical cores that this process may use: the machine's, its affinity mask, its control group."""
    limits = [psutil.cpu_count(logical=False) or 1, _affinity(), _control_group()]
    return max(1, min(limits))


@contextlib.contextmanager
def connect(
    address: str | None = None, workers: int | None = None, *, object_store_bytes: int = _OBJECT_STORE_BYTES
) -> Iterator[int | None]:
    """Connect this process to Ray for the time of the ``with`` block.

    Args:
        address: a running cluster (``host:port``, ``auto`` or ``ray://...``); None starts a local Ray
            that ends with the block. A connection that the process already has is used, and left open.
        workers: how many worker processes to run; None means one for each physical core available
            (local) or one for each CPU of the cluster, also of nodes that join later.
        object_store_bytes: shared memory of a local Ray, in bytes.

    Yields:
        The number of workers to use; None: as many as the cluster has CPUs.

    Raises:
        ConfigError: ``workers`` is less than 1.
        WorkerError: no Ray answers at ``address``, or no node of it has a CPU for ten minutes, or a local one
            does not start.
    """
    import ray

    if workers is not None and workers < 1:
        raise ConfigError(f"the number of workers must be at least 1, not {workers}")
    if ray.is_initialized():
        _wait_for_cpus()
        yield workers
    elif address is None:
        with _quiet(), _local_ray(workers or available_cores(), object_store_bytes) as n_workers:
            yield n_workers
    else:
        with _quiet(), _running_ray(address):
            _wait_for_cpus()
            yield workers


@contextlib.contextmanager
def _local_ray(workers: int, object_store_bytes: int) -> Iterator[int]:
    import ray

    directory, lock = _start_local_ray(workers, object_store_bytes)
    try:
        yield workers
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
        lock.close()


def _start_local_ray(workers: int, object_store_bytes: int) -> tuple[Path, IO[str]]:
    """Start Ray; the directory that it uses, and its lock."""
    attempts = _START_ATTEMPTS
    while True:
        directory, lock = _own_directory()
        attempts -= 1
        try:
            # The last attempt is Ray's own way, for one whose internals are others than we know.
            _init_local_ray(workers, object_store_bytes, directory, all_daemons=not attempts)
        except BaseException as error:
            _remove_failed_ray(directory, lock)
            if not isinstance(error, Exception):
                raise
            if not attempts:
                raise WorkerError(f"a local Ray could not be started in {directory}: {error}") from error
            # Ray waits for its own daemons for half a minute, which a busy machine may need.
            structlog.get_logger().warning("a local Ray did not start; trying again", reason=str(error))
        else:
            return directory, lock


def _init_local_ray(workers: int, object_store_bytes: int, directory: Path, *, all_daemons: bool) -> None:
    import ray

    # The daemons and workers inherit the environment of the moment when they are started.
    environment = _LOCAL_ENVIRONMENT | {"RAY_AUTH_TOKEN": _token()}
    daemons = contextlib.nullcontext() if all_daemons else _without_idle_daemons()
    with _environment(environment), _sigterm_handler_kept(), daemons:
        ray.init(
            address="local",  # else RAY_ADDRESS would silently redirect to another cluster
            num_cpus=workers,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=object_store_bytes,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(directory),
        )


@contextlib.contextmanager
def _without_idle_daemons() -> Iterator[None]:
    """Start no daemon that has nothing to do here.

    These are the autoscaler, the reader of logs (for a driver that wants none) and the dashboard's server
    (which would run without its pages): some seconds of a processor as they start, and memory as long as they
    run. ``ray.init`` has no options for them, so their starts in Ray's internals are replaced, for the whole
    process, by ones that do nothing. A Ray without these methods starts what it likes.
    """
    try:
        from ray._private.node import Node
    except ImportError:
        yield
        return
    with _node_lock:
        methods = {name: getattr(Node, name) for name in _STARTS_OF_IDLE_DAEMONS if hasattr(Node, name)}
        for name in methods:
            setattr(Node, name, lambda *_, **__: None)
        try:
            yield
        finally:
            for name, method in methods.items():
                setattr(Node, name, method)


def _remove_failed_ray(directory: Path, lock: IO[str]) -> None:
    """End the daemons of a Ray that did not come up; Ray itself would leave them until this process ends."""
    import ray

    ray.shutdown()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(str(directory) in argument for argument in process.cmdline()):
                for daemon in [*process.children(recursive=True), process]:
                    daemon.kill()
    shutil.rmtree(directory, ignore_errors=True)
    lock.close()


@contextlib.contextmanager
def _running_ray(address: str) -> Iterator[None]:
    import ray

    try:
        _knock(address)
        with _sigterm_handler_kept():
            ray.init(
                address=address,
                runtime_env={"env_vars": ONE_THREAD},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:
        hint = "a cluster that asks for a token needs RAY_AUTH_MODE=token and the token here as well"
        raise WorkerError(f"no Ray cluster could be joined at {address}: {error} ({hint})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError at once where nothing listens; Ray itself would keep trying for many minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


@contextlib.contextmanager
def _sigterm_handler_kept() -> Iterator[None]:
    # ray.init installs its own handler, which would take SIGTERM from whoever calls us.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler if handler is not None else signal.SIG_DFL)


@functools.cache
def _token() -> str:
    """What the processes of a local Ray know each other by; else Ray leaves one in the home directory."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    # RAY_AUTH_MODE is set by ray.init itself, for a local Ray.
    before = {name: os.environ.get(name) for name in [*variables, "RAY_AUTH_MODE"]}
    os.environ.update(variables)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # advice to Ray's own users
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _own_directory() -> tuple[Path, IO[str]]:
    """A fresh directory for Ray's sockets and logs, and the locked file that shows it to be in use.

    Not Ray's /tmp/ray, which may belong to somebody else; and not in a TMPDIR of too long a name.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent / _PREFIX)) + 8 > _LONGEST_DIRECTORY:
        parent = Path("/tmp")
    _remove_abandoned(parent)
    draft = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    lock = (draft / _LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    directory = draft.with_name(draft.name[1:])  # visible to others only now that it is locked
    return draft.rename(directory), lock


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed processes could not."""
    for file in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), file.open("r+") as lock:  # in use, or another user's
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(file.parent, ignore_errors=True)


def cluster_cpus() -> int:
    """CPUs of all nodes that are in the connected cluster now."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 0))


def _wait_for_cpus() -> None:
    """Wait for the first node that computes: a head may have no CPU, and be there before the others."""
    deadline = time.monotonic() + _SECONDS_FOR_CPUS
    if not cluster_cpus():
        structlog.get_logger().warning("the Ray cluster has no CPU yet; waiting for its nodes")
    while not cluster_cpus():
        if time.monotonic() > deadline:
            raise WorkerError(
                f"the Ray cluster has no CPU, and no node with one joined within {_SECONDS_FOR_CPUS:.0f} s"
            )
        time.sleep(1)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _control_group() -> int:
    """CPUs that a container's quota allows, rounded down; a large number where there is no quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no control groups here, or the quota is "max"
        return os.cpu_count() or 1
