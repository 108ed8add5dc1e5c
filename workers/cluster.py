"""The connection to Ray: a local one that lives as long as the command, or a running cluster."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import structlog

from atomscatter.errors import ConfigError, WorkerError
from workers.local_ray import local_ray
from workers.ray_process import ONE_THREAD, join_ray, quiet_ray

_OBJECT_STORE_BYTES = 512 * 2**20
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
        n_workers = workers or available_cores()
        with quiet_ray(), local_ray(n_workers, object_store_bytes):
            yield n_workers
    else:
        with quiet_ray(), _running_ray(address):
            _wait_for_cpus()
            yield workers


@contextlib.contextmanager
def _running_ray(address: str) -> Iterator[None]:
    import ray

    try:
        _knock(address)
        join_ray(address=address, runtime_env={"env_vars": ONE_THREAD})
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
