"""Processes that predict for the web service: bounded, replaced when they die, ended when they hang.

Not Ray: a prediction takes a fraction of a second, and the request path should depend on nothing else.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import structlog
from ase import Atoms

from atomscatter.ensemble import Prediction
from atomscatter.errors import AtomscatterError, StructureError, WorkerError
from service.datasets import DatasetContent, DatasetReading, describe
from service.reading import LabelledStructure
from workers import predictor

T = TypeVar("T")

CHUNK = 4
"""Structures that a process takes at once: others wait no longer than for these."""

_SMOOTHING = 0.1


class BusyError(AtomscatterError):
    """More work waits than is accepted; ``retry_after`` seconds may help."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too much work is waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class OverrunError(AtomscatterError):
    """A piece of work took too long, and its process was ended."""


class PredictionPool:
    """A fixed number of processes, each with its own models.

    Args:
        workers: number of processes.
        capacity: structures that may be accepted and not yet answered, waiting ones included.
        timeout: seconds that a process may spend on one piece of work.
        max_points: largest grid of a structure; see :func:`workers.predictor.predict`.
    """

    def __init__(self, workers: int, *, capacity: int, timeout: float, max_points: int) -> None:
        self.workers = workers
        self.capacity = capacity
        self.pending = 0
        self._timeout = timeout
        self._max_points = max_points
        self._seconds = 0.3  # per structure, a running mean
        self._free: asyncio.Queue[ProcessPoolExecutor] = asyncio.Queue()
        self._lanes: set[ProcessPoolExecutor] = set()
        self._log = structlog.get_logger()
        for _ in range(workers):
            self._free.put_nowait(self._new_lane())

    async def load(self, model: str) -> None:
        """Load a model in every process, so that no request waits for it."""
        lanes = [await self._free.get() for _ in range(self.workers)]
        await asyncio.gather(*(self._on(lane, predictor.load, model, self._max_points) for lane in lanes))

    async def predict(self, model: str, structures: Sequence[Atoms]) -> list[Prediction | StructureError]:
        """Predictions in order; in place of one, why there is none.

        A long list uses all processes and lets other requests in between.

        Raises:
            BusyError: too much work is waiting.
            OverrunError, WorkerError: a process hung, or died twice.
        """
        self._admit(len(structures))
        self.pending += len(structures)
        answers: list[Prediction | StructureError | None] = [None] * len(structures)
        starts = iter(range(0, len(structures), CHUNK))

        async def one_after_another() -> None:
            for start in starts:
                chunk = [predictor.plain(atoms) for atoms in structures[start : start + CHUNK]]
                began = asyncio.get_running_loop().time()
                answers[start : start + CHUNK] = await self._run(
                    predictor.predict, model, self._max_points, chunk
                )
                self._note((asyncio.get_running_loop().time() - began) / len(chunk))

        try:
            await asyncio.gather(*(one_after_another() for _ in range(self.workers)))
        finally:
            self.pending -= len(structures)
        return [answer for answer in answers if answer is not None]

    async def read(
        self, name: str, content: bytes, *, max_structures: int, max_atoms: int
    ) -> list[LabelledStructure]:
        """Parse an upload in a process that can be ended; see :func:`service.uploads.read_upload`."""
        self._admit(1)
        return await self._run(predictor.read, name, content, max_structures, max_atoms)

    async def describe(self, name: str, content: bytes, reading: DatasetReading) -> DatasetContent:
        """Check a training set in such a process; see :func:`service.datasets.describe`."""
        self._admit(1)
        return await self._run(describe, name, content, reading)

    def close(self) -> None:
        """End all processes."""
        for lane in self._lanes:
            _kill(lane)
        self._lanes.clear()

    def _admit(self, n: int) -> None:
        # One request is always accepted, however long: its own limit is checked elsewhere.
        if self.pending and self.pending + n > self.capacity:
            raise BusyError(max(1, round(self.pending * self._seconds / self.workers)))

    def _note(self, seconds: float) -> None:
        self._seconds += _SMOOTHING * (seconds - self._seconds)

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await self._on(await self._free.get(), function, *arguments)
        except BrokenProcessPool:
            self._log.warning("a prediction process died; its work is tried once more")
        try:
            return await self._on(await self._free.get(), function, *arguments)
        except BrokenProcessPool as error:
            raise WorkerError("the process that worked on this request died twice") from error

    async def _on(self, lane: ProcessPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
        """Run on a lane that was taken from the queue, and give it (or its successor) back."""
        try:
            future: Future[T] = lane.submit(function, *arguments)
        except BrokenProcessPool:
            self._replace(lane)
            raise
        try:
            result = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self._timeout)
        except TimeoutError as error:
            if future.done():  # the work itself raised it
                self._free.put_nowait(lane)
                raise
            self._replace(lane)
            raise OverrunError(f"took longer than {self._timeout:g} s") from error
        except asyncio.CancelledError:
            # The caller has gone; the process is free when it is done.
            loop = asyncio.get_running_loop()
            future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._back, lane, done))
            raise
        except BrokenProcessPool:
            self._replace(lane)
            raise
        except BaseException:
            self._free.put_nowait(lane)
            raise
        self._free.put_nowait(lane)
        return result

    def _back(self, lane: ProcessPoolExecutor, done: Future[Any]) -> None:
        if isinstance(done.exception(), BrokenProcessPool):
            self._replace(lane)
        else:
            self._free.put_nowait(lane)

    def _replace(self, lane: ProcessPoolExecutor) -> None:
        _kill(lane)
        self._lanes.discard(lane)
        self._free.put_nowait(self._new_lane())

    def _new_lane(self) -> ProcessPoolExecutor:
        # Executors of one process each: a death or an overrun concerns no other request.
        lane = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=predictor.start, initargs=(os.getpid(),)
        )
        self._lanes.add(lane)
        return lane


def _kill(lane: ProcessPoolExecutor) -> None:
    processes = list((lane._processes or {}).values())  # no public way to end a process that hangs
    lane.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
