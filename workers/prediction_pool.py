"""Processes that predict for the web service: bounded, replaced when they die, ended when they hang.

Not Ray: a prediction takes a fraction of a second, and the request path should depend on nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import IO, Any, TypeVar

import structlog
from ase import Atoms

from atomscatter.arrays import FloatArray
from atomscatter.ensemble import Prediction
from atomscatter.errors import AtomscatterError, StructureError, WorkerError
from service.datasets import DatasetContent, DatasetReading, describe
from service.disk import room_checked
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

    Attributes:
        pending: what was accepted and is not yet answered, counted as ``capacity`` is.
        lost: processes that were replaced, by why: "died", or "overran" when they took too long.
    """

    def __init__(
        self, workers: int, *, capacity: int, timeout: float, dataset_timeout: float, max_points: int
    ) -> None:
        self.workers = workers
        self.capacity = capacity
        self.pending = 0
        self.lost = Counter({"died": 0, "overran": 0})
        self._timeout = timeout
        self._dataset_timeout = dataset_timeout
        self._max_points = max_points
        self._seconds = 0.3  # per unit of work, a running mean
        self._free: Lanes = asyncio.Queue()
        self._reading: Lanes = asyncio.Queue()  # a long training set is in no prediction's way
        self._home: dict[ProcessPoolExecutor, Lanes] = {}
        self._model: str | None = None  # what each free lane has loaded, or tried to
        self._has: dict[ProcessPoolExecutor, str] = {}
        self._loading: asyncio.Future[None] | None = None
        self._preparing: set[asyncio.Task[None]] = set()
        self._contents = asyncio.Semaphore(workers)  # of files, in memory: no more than can be parsed
        self._log = structlog.get_logger()
        for lanes in [self._free] * workers + [self._reading]:
            lanes.put_nowait(self._new_lane(lanes))

    async def load(self, model: str) -> None:
        """Load a model in every process, so that no request waits for it.

        Each does so when it is free, and works on at once: a busy one keeps no other from its work. Also
        processes that take the place of others load this model before they get work.
        """
        before, self._model = self._model, model
        self._has.clear()
        self._loading = asyncio.get_running_loop().create_future()
        for _ in range(self._free.qsize()):
            self._give_back(self._free.get_nowait())
        try:
            await self._loading
        except BaseException:
            self._model = before
            raise

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
                found = await self._predicted(model, chunk)
                self._note((asyncio.get_running_loop().time() - began) / sum(units[part]))
                answers[part] = found
                useless = useless or any(isinstance(answer, StructureError) for answer in found)

        with self._admitted(sum(units)):
            await _all(one_after_another() for _ in range(self.workers))
        return answers

    async def _predicted(
        self, model: str, chunk: list[predictor.PlainStructure]
    ) -> list[Prediction | StructureError]:
        try:
            return await self._run(predictor.predict, model, self._max_points, chunk)
        except OverrunError:
            if len(chunk) == 1:
                raise
        # Together they took longer than one may: only one that does so alone is at fault.
        alone = [await self._run(predictor.predict, model, self._max_points, [one]) for one in chunk]
        return [answer for (answer,) in alone]

    async def check(self, model: str, structures: Sequence[Atoms]) -> list[StructureError | None]:
        """What is wrong with each structure, without a prediction; arguments as of :meth:`predict`."""
        with self._admitted(1):
            chunk = [predictor.plain(atoms) for atoms in structures]
            return await self._run(predictor.check, model, self._max_points, chunk)

    async def read(
        self, name: str, content: IO[bytes], *, max_structures: int, max_atoms: int
    ) -> list[LabelledStructure]:
        """Parse an upload in a process that can be ended; see :func:`service.uploads.read_upload`.

        Of the uploads that wait, ``content`` is not yet in memory.

        Raises:
            StorageError: the temporary directory is full, or cannot be written.
        """
        with self._admitted(1):
            async with self._contents:
                # Not the process's own directory: nobody would remove that of one that is ended.
                with room_checked(Path(tempfile.gettempdir())):
                    scratch = tempfile.TemporaryDirectory(
                        prefix="atomscatter-upload-", ignore_cleanup_errors=True
                    )
                with scratch as directory:
                    text = await asyncio.to_thread(content.read)
                    return await self._run(
                        predictor.read, name, text, Path(directory), max_structures, max_atoms
                    )

    async def describe(self, name: str, path: Path, reading: DatasetReading) -> DatasetContent:
        """Check a training set in a process of its own; see :func:`service.datasets.describe`."""
        with self._admitted(1):
            return await self._run_in(self._reading, self._dataset_timeout, describe, name, path, reading)

    async def radial(
        self, atoms: Atoms, cutoff: float, width: float
    ) -> tuple[FloatArray, dict[tuple[str, str], FloatArray]]:
        """Radial distribution functions, made in such a process; see :func:`workers.predictor.radial`."""
        with self._admitted(1):
            return await self._run(predictor.radial, predictor.plain(atoms), cutoff, width)

    def close(self) -> None:
        """End all processes."""
        for task in self._preparing:  # they would start others
            task.cancel()
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
            return await self._on(*await self._begun(lanes, function, *arguments), seconds)
        except BrokenProcessPool:
            self._log.warning("a prediction process died; its work is tried once more")
        try:
            return await self._on(*await self._begun(lanes, function, *arguments), seconds)
        except BrokenProcessPool as error:
            raise WorkerError("the process that worked on this request died twice") from error

    async def _begun(
        self, lanes: Lanes, function: Callable[..., T], *arguments: Any
    ) -> tuple[ProcessPoolExecutor, Future[T]]:
        """Work that a lane has taken on; those whose process died while it was idle are replaced."""
        while True:
            lane = await lanes.get()
            try:
                return lane, lane.submit(function, *arguments)
            except BrokenProcessPool:
                self._replace(lane, "died")

    async def _on(self, lane: ProcessPoolExecutor, work: Future[T], seconds: float) -> T:
        """Wait for work on a lane that was taken from its queue, and give it (or its successor) back."""
        began = asyncio.get_running_loop().time()
        try:
            result = await _result(work, seconds)
        except asyncio.CancelledError:
            self._leave(lane, work, began + seconds)
            raise
        except OverrunError:
            self._replace(lane, "overran")
            raise
        except BrokenProcessPool:
            self._replace(lane, "died")
            raise
        except BaseException:
            self._give_back(lane)
            raise
        self._give_back(lane)
        return result

    def _leave(self, lane: ProcessPoolExecutor, work: Future[Any], deadline: float) -> None:
        """The caller has gone: the lane is free when its work is done, or its time is over (of the loop)."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(deadline, self._replace, lane, "overran")

        def back(done: Future[Any]) -> None:
            timer.cancel()
            if lane not in self._home:  # its time was over, and another one has its place
                return
            if isinstance(done.exception(), BrokenProcessPool):
                self._replace(lane, "died")
            else:
                self._give_back(lane)

        work.add_done_callback(lambda done: loop.call_soon_threadsafe(back, done))

    def _replace(self, lane: ProcessPoolExecutor, why: str) -> None:
        self._give_back(self._successor(lane, why))

    def _successor(self, lane: ProcessPoolExecutor, why: str) -> ProcessPoolExecutor:
        self.lost[why] += 1
        _kill(lane)
        self._has.pop(lane, None)
        return self._new_lane(self._home.pop(lane))

    def _new_lane(self, lanes: Lanes) -> ProcessPoolExecutor:
        # Executors of one process each: a death or an overrun concerns no other request.
        lane = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=predictor.start, initargs=(os.getpid(),)
        )
        self._home[lane] = lanes
        return lane

    def _give_back(self, lane: ProcessPoolExecutor) -> None:
        """To its queue; before that it loads the model if it has not, which is nobody's time then."""
        if self._home[lane] is self._free and self._model is not None and self._has.get(lane) != self._model:
            task = asyncio.get_running_loop().create_task(self._prepare(lane, self._model))
            self._preparing.add(task)
            task.add_done_callback(self._preparing.discard)
        else:
            self._home[lane].put_nowait(lane)

    async def _prepare(self, lane: ProcessPoolExecutor, model: str) -> None:
        """Start the process of a lane, load a model in it, and give it back."""
        seconds = max(_SECONDS_TO_LOAD, self._timeout)
        failure: Exception | None = None
        for _ in range(2):  # an idle one may have died; one that dies again loads it with its first request
            try:
                await _result(lane.submit(predictor.load, model, self._max_points), seconds)
                break
            except BrokenProcessPool:
                lane = self._successor(lane, "died")
            except OverrunError:
                lane = self._successor(lane, "overran")
            except Exception as error:
                failure = error
                break
        self._has[lane] = model
        self._give_back(lane)
        self._note_loaded(model, failure)

    def _note_loaded(self, model: str, failure: Exception | None) -> None:
        """Let :meth:`load` go on, if it waits for nothing else."""
        if self._loading is None or self._loading.done() or model != self._model:
            return
        if failure is not None:
            self._loading.set_exception(failure)
        elif all(self._has.get(lane) == model for lane, at in self._home.items() if at is self._free):
            self._loading.set_result(None)


async def _result(work: Future[T], seconds: float) -> T:
    """What comes of work, or OverrunError. It goes on after that, and when the caller has gone."""
    waiting = asyncio.wrap_future(work)
    # Also the error of work that nobody waits for any longer is looked at: else asyncio complains.
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([waiting], timeout=seconds)
    if not waiting.done():
        raise OverrunError(f"took longer than {seconds:g} s")
    return waiting.result()


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
