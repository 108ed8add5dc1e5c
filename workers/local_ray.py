"""A Ray of this machine alone, which lives as long as the command that needs it."""

import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil  # type: ignore[import-untyped]
import structlog

from atomscatter.errors import WorkerError
from workers.ray_process import ONE_THREAD, join_ray

_LOCAL_ENVIRONMENT = ONE_THREAD | {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
_node_lock = threading.Lock()
_STARTS_OF_IDLE_DAEMONS = ("start_monitor", "start_log_monitor", "start_api_server")
# A Unix socket's path has at most 107 bytes, and Ray adds up to 64 to its directory.
_LONGEST_DIRECTORY = 42
_PREFIX = "atomscatter-ray-"
_LOCK = "in-use.lock"
_START_ATTEMPTS = 3


@contextlib.contextmanager
def local_ray(workers: int, object_store_bytes: int) -> Iterator[None]:
    """A Ray of this machine alone, with so many CPUs, that ends with the block.

    Args:
        workers: CPUs that it thinks it has.
        object_store_bytes: its shared memory.

    Raises:
        WorkerError: it does not start.
    """
    import ray

    directory, lock = _start_local_ray(workers, object_store_bytes)
    try:
        yield
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
    # The daemons and workers inherit the environment of the moment when they are started.
    environment = _LOCAL_ENVIRONMENT | {"RAY_AUTH_TOKEN": _token()}
    daemons = contextlib.nullcontext() if all_daemons else _without_idle_daemons()
    with _environment(environment), daemons:
        join_ray(
            address="local",  # else RAY_ADDRESS would silently redirect to another cluster
            num_cpus=workers,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=object_store_bytes,
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
