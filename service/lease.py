"""A lock for places that have none: a file that its owner renews, and that others take over when it stops.

What a store holds does not depend on it: a unit's bytes are the same whoever computes them, they appear at
once, and the ledger knows their hash. The lease keeps two runs from doing the same work.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import structlog

from atomscatter.errors import BusyStoreError, StoreError
from service.storage import Storage

LEASE = "writer.lease"
"""Name of the file."""
BEAT_SECONDS = 2.0
_MISSED_BEATS = 10
_CLOCK_SECONDS = 10.0  # by which the clock may be set meanwhile


class Lease:
    """The right to write at one place.

    Args:
        storage: the place.
        beat_seconds: time between renewals. A lease that has not been renewed for ten of them is taken over;
            that of a dead process of this machine at once.
    """

    def __init__(self, storage: Storage, beat_seconds: float = BEAT_SECONDS) -> None:
        self._storage = storage
        self._beat_seconds = beat_seconds
        self._claim = {"owner": secrets.token_hex(16), **_this_process()}
        self._beats = 0
        self._ended = threading.Event()
        self._lost = False

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """Hold the lease; yields a function that raises StoreError when another process has taken it.

        Raises:
            StoreError: another process holds it and is alive.
        """
        self._acquire()
        renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        renewing.start()
        try:
            yield self._require
        finally:
            self._ended.set()
            renewing.join()
            # Where the place does not answer, the lease ends by itself.
            with contextlib.suppress(StoreError):
                if self._is_mine(self._storage.read(LEASE)):
                    self._storage.delete(LEASE)

    def _acquire(self) -> None:
        # Read first: some servers take a write on condition for a write.
        if self._storage.read(LEASE) is None and self._storage.write_new(LEASE, self._content()):
            return
        self._wait_for_its_end()
        structlog.get_logger().info(
            "the lease of a dead process is taken over", store=str(self._storage.place)
        )
        self._storage.write(LEASE, self._content())
        # Of several that do the same at this moment, the last one has it.
        time.sleep(min(1.0, self._beat_seconds))
        if not self._is_mine(self._storage.read(LEASE)):
            raise self._taken()

    def _wait_for_its_end(self) -> None:
        """Return when the holder is dead. Raises StoreError when it is not."""
        found = self._storage.read(LEASE)
        claim = _parsed(found)
        if claim.get("machine") == _machine() and not _is_alive(claim):
            return
        until = time.monotonic() + _MISSED_BEATS * self._beat_seconds
        while found and time.monotonic() < until:
            time.sleep(self._beat_seconds / 4)
            now = self._storage.read(LEASE)
            if now and now != found:
                raise self._taken()
            found = now

    def _renew(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            # A place that does not answer for a while is no reason to stop, whatever it raises: without this
            # thread the lease would be lost, and nobody here would know.
            with contextlib.suppress(Exception):
                if not self._is_mine(self._storage.read(LEASE)):
                    self._lost = True
                    return
                self._beats += 1
                self._storage.write(LEASE, self._content())

    def _require(self) -> None:
        if self._lost:
            raise self._taken()

    def _taken(self) -> StoreError:
        return BusyStoreError(f"{self._storage.place}: another process is writing to this store")

    def _content(self) -> bytes:
        return json.dumps(self._claim | {"beats": self._beats}).encode()

    def _is_mine(self, content: bytes | None) -> bool:
        owner: str = self._claim["owner"]
        return _parsed(content).get("owner") == owner


def _parsed(content: bytes | None) -> dict[str, Any]:
    try:
        claim = json.loads(content or b"{}")
    except ValueError:
        return {}
    return claim if isinstance(claim, dict) else {}


def _this_process() -> dict[str, Any]:
    return {"machine": _machine(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _machine() -> str:
    """Where a process number means a process: containers of one host have their own."""
    namespace = Path("/proc/self/ns/pid")
    return f"{platform.node()} {namespace.readlink()}" if namespace.is_symlink() else platform.node()


def _is_alive(claim: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(int(claim["pid"]))
        started: float = process.create_time()
        is_zombie: bool = process.status() == psutil.STATUS_ZOMBIE
        return abs(started - float(claim["started"])) < _CLOCK_SECONDS and not is_zombie
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
