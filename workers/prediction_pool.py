"""Processes that predict for the web service: bounded, replaced when they die, ended when they hang.

Not Ray: a prediction takes a fraction of a second, and the request path should depend on nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import structlog
from ase import Atoms
from numpy.typing import NDArray

from atomscatter.ensemble import Prediction
from atomscatter.errors import AtomscatterError, StructureError, WorkerError
from service.datasets import DatasetContent, DatasetReading, describe
from service.reading import LabelledStructure
from workers import predictor

T = TypeVar("T")
Lanes = asyncio.Queue[ProcessPoolExecutor]

CHUNK = 4
"""Units of work that a process takes at once: others wait no longer than for these."""

POINTS_PER_UNIT = 60**3
"""Grid points that count as one structure: a cube of 11 Angstrom with the usual wavelets."""

_SMOOTHING = 0.1
_SECONDS_TO_LOAD = 300.0  # a first start compiles the kernels, perhaps on a busy machine


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
        capacity: structures that may be accepted and not yet answered, waiting ones included. Files count as
            one, structures with large cells as several: one for each POINTS_PER_UNIT of their grid.
        timeout: seconds that a process may spend on one piece of work.
        dataset_timeout: seconds for reading a training set, in a process of its own, one after another.
        max_points: largest grid of a structure; see :func:`workers.predictor.predict`.
    """

    def __init__(
        self, workers: int, *, capacity: int, timeout: float, dataset_timeout: float, max_points: int
    ) -> None:
        self.workers = workers
        self.capacity = capacity
        self.pending = 0
        self._timeout = timeout
        self._dataset_timeout = dataset_timeout
        self._max_points = max_points
        self._seconds = 0.3  # per unit of work, a running mean
        self._free: Lanes = asyncio.Queue()
        self._reading: Lanes = asyncio.Queue()  # a long training set is in no prediction's way
        self._home: dict[ProcessPoolExecutor, Lanes] = {}
        self._log = structlog.get_logger()
        for _ in range(workers):
            self._add_lane(self._free)
        self._add_lane(self._reading)

    async def load(self, model: str) -> None:
        """Load a model in every process, so that no request waits for it."""
        lanes = [await self._free.get() for _ in range(self.workers)]
        loaded = await asyncio.gather(
            *(
                self._on(lane, max(_SECONDS_TO_LOAD, self._timeout), predictor.load, model, self._max_points)
                for lane in lanes
            ),
            return_exceptions=True,
        )
        for error in loaded:
            # One that died is replaced by now, and loads the model with its first request.
            if isinstance(error, BaseException) and not isinstance(error, BrokenProcessPool):
                raise error

    async def predict(
        self, model: str, structures: Sequence[Atoms], points: Sequence[float]
    ) -> list[Prediction | StructureError | None]:
        """Predictions in order; in place of one, why there is none.

        A long list uses all processes and lets other requests in between. After the first structure that
        cannot be used the others are only checked, and None where they pass: none is predicted in vain.

        Args:
            model: directory of the model.
            structures: periodic; checked in the processes.
            points: grid points that each will need, about; see :meth:`Scattering.grid_points`.

        Raises:
            BusyError: too much work is waiting.
            OverrunError, WorkerError: a process hung, or died twice.
        """
        # Beyond the largest grid a structure is refused, which is quick.
        units = [max(1, round(p / POINTS_PER_UNIT)) if p <= self._max_points else 1 for p in points]
        answers: list[Prediction | StructureError | None] = [None] * len(structures)
        chunks = iter(_chunks(units))
        useless = False

        async def one_after_another() -> None:
            nonlocal useless
            for part in chunks:
                chunk = [predictor.plain(atoms) for atoms in structures[part]]
                if useless:
                    answers[part] = await self._run(predictor.check, model, self._max_points, chunk)
                    continue
                began = asyncio.get_running_loop().time()
                found = await self._run(predictor.predict, model, self._max_points, chunk)
                self._note((asyncio.get_running_loop().time() - began) / sum(units[part]))
                answers[part] = found
                useless = useless or any(isinstance(answer, StructureError) for answer in found)

        with self._admitted(sum(units)):
            await _all(one_after_another() for _ in range(self.workers))
        return answers

    async def check(self, model: str, structures: Sequence[Atoms]) -> list[StructureError | None]:
        """What is wrong with each structure, without a prediction; arguments as of :meth:`predict`."""
        with self._admitted(1):
            chunk = [predictor.plain(atoms) for atoms in structures]
            return await self._run(predictor.check, model, self._max_points, chunk)

    async def read(
        self, name: str, content: bytes, *, max_structures: int, max_atoms: int
    ) -> list[LabelledStructure]:
        """Parse an upload in a process that can be ended; see :func:`service.uploads.read_upload`."""
        with self._admitted(1):
            return await self._run(predictor.read, name, content, max_structures, max_atoms)

    async def describe(self, name: str, path: Path, reading: DatasetReading) -> DatasetContent:
        """Check a training set in a process of its own; see :func:`service.datasets.describe`."""
        with self._admitted(1):
            return await self._run_in(self._reading, self._dataset_timeout, describe, name, path, reading)

    async def radial(
        self, atoms: Atoms, cutoff: float, width: float
    ) -> tuple[NDArray[np.float64], dict[tuple[str, str], NDArray[np.float64]]]:
        """Radial distribution functions, made in such a process; see :func:`workers.predictor.radial`."""
        with self._admitted(1):
            return await self._run(predictor.radial, predictor.plain(atoms), cutoff, width)

    def close(self) -> None:
        """End all processes."""
        for lane in self._home:
            _kill(lane)

    @contextlib.contextmanager
    def _admitted(self, n: int) -> Iterator[None]:
        """Count ``n`` pieces of work as pending, or raise BusyError."""
        # One request is always accepted, however long: its own limit is checked elsewhere.
        if self.pending and self.pending + n > self.capacity:
            raise BusyError(max(1, round(self.pending * self._seconds / self.workers)))
        self.pending += n
        try:
            yield
        finally:
            self.pending -= n

    def _note(self, seconds: float) -> None:
        self._seconds += _SMOOTHING * (seconds - self._seconds)

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._run_in(self._free, self._timeout, function, *arguments)

    async def _run_in(self, lanes: Lanes, seconds: float, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await self._on(await lanes.get(), seconds, function, *arguments)
        except BrokenProcessPool:
            self._log.warning("a prediction process died; its work is tried once more")
        try:
            return await self._on(await lanes.get(), seconds, function, *arguments)
        except BrokenProcessPool as error:
            raise WorkerError("the process that worked on this request died twice") from error

    async def _on(
        self, lane: ProcessPoolExecutor, seconds: float, function: Callable[..., T], *arguments: Any
    ) -> T:
        """Run on a lane that was taken from its queue, and give it (or its successor) back."""
        began = asyncio.get_running_loop().time()
        try:
            future: Future[T] = lane.submit(function, *arguments)
        except BrokenProcessPool:
            self._replace(lane)
            raise
        try:
            result = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), seconds)
        except TimeoutError as error:
            if future.done() and isinstance(future.exception(), TimeoutError):  # the work itself raised it
                self._home[lane].put_nowait(lane)
                raise
            self._replace(lane)
            raise OverrunError(f"took longer than {seconds:g} s") from error
        except asyncio.CancelledError:
            self._leave(lane, future, began + seconds)
            raise
        except BrokenProcessPool:
            self._replace(lane)
            raise
        except BaseException:
            self._home[lane].put_nowait(lane)
            raise
        self._home[lane].put_nowait(lane)
        return result

    def _leave(self, lane: ProcessPoolExecutor, future: Future[Any], deadline: float) -> None:
        """The caller has gone: the lane is free when its work is done, or its time is over (of the loop)."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(deadline, self._replace, lane)

        def back(done: Future[Any]) -> None:
            timer.cancel()
            if lane not in self._home:  # its time was over, and another one has its place
                return
            if isinstance(done.exception(), BrokenProcessPool):
                self._replace(lane)
            else:
                self._home[lane].put_nowait(lane)

        future.add_done_callback(lambda done: loop.call_soon_threadsafe(back, done))

    def _replace(self, lane: ProcessPoolExecutor) -> None:
        _kill(lane)
        self._add_lane(self._home.pop(lane))

    def _add_lane(self, lanes: Lanes) -> None:
        # Executors of one process each: a death or an overrun concerns no other request.
        lane = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=predictor.start, initargs=(os.getpid(),)
        )
        self._home[lane] = lanes
        lanes.put_nowait(lane)


def _chunks(units: Sequence[int]) -> Iterator[slice]:
    """Parts of a list with at most CHUNK units of work each, or one entry."""
    start, work = 0, 0
    for i, more in enumerate(units):
        if i > start and work + more > CHUNK:
            yield slice(start, i)
            start, work = i, 0
        work += more
    if start < len(units):
        yield slice(start, len(units))


async def _all(tasks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all; the first error ends the others, so that nothing goes on for a request that failed."""
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()


def _kill(lane: ProcessPoolExecutor) -> None:
    processes = list((lane._processes or {}).values())  # no public way to end a process that hangs
    lane.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
