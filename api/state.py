"""What the routes share: settings, processes, metrics, and the model that is active."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from ase import Atoms
from fastapi import Request, UploadFile
from starlette.concurrency import run_in_threadpool

from api.errors import StructuresError
from api.metrics import Metrics
from api.schemas import Structure
from atomscatter.ensemble import Ensemble, Prediction
from atomscatter.errors import StructureError, WorkerError
from service.api_keys import ApiKeys
from service.deletion import InUseError, delete_leftovers
from service.jobs import JobLedger
from service.reading import LabelledStructure
from service.settings import ServeSettings
from service.state import StateDirectory
from workers.cluster import available_cores
from workers.job_runner import JobRunner
from workers.prediction_pool import PredictionPool

_SECONDS_OF_A_CHECK = 5.0
"""For so long the outcome of a check is told to all who ask."""

_SECONDS_BETWEEN_LOOKS = 1.0
"""Between looks for a model that another process has made the active one, and for changes of the API keys."""

_SECONDS_AFTER_TROUBLE = 10.0
"""Until the next look, when that model could not be loaded: each try reads all of it."""

_MODELS_KEPT = 2
"""Models beside the active one that are kept in memory: those which requests have named last."""


@dataclass(frozen=True)
class ServedModel:
    """A model that is ready for predictions."""

    id: str
    directory: Path
    ensemble: Ensemble


class Service:
    """One for each app. A request takes its model once: a switch does not change it midway."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.keys = ApiKeys(settings.api_keys) if settings.api_keys else None
        self.directory = StateDirectory(settings.state)
        self.registry = self.directory.registry()
        self.datasets = self.directory.datasets()
        self.draining = False
        self._active: ServedModel | None = None
        self._recent: OrderedDict[str, ServedModel] = OrderedDict()  # others that requests have named
        self._switching = asyncio.Lock()
        self._checking = asyncio.Lock()
        self._checked: tuple[float, bool] | None = None  # when, and whether jobs could be started
        self._pool: PredictionPool | None = None
        self._jobs: JobLedger | None = None
        self._runner: JobRunner | None = None
        self._watching: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the processes, load the active model in each, and go on with jobs that were left.

        A server that was given a model of its own keeps it when another process activates one.

        Raises:
            UnknownModelError, UnusableModelError: the model is not there, or damaged.
            ConfigError: a process on another machine looks after the jobs of the state directory.
            StoreError: files of the state directory cannot be used.
        """
        runner = JobRunner(self.directory, self.settings.jobs_address, self.settings.cluster_patience)
        self._jobs = await run_in_threadpool(runner.open)
        for root in (self.registry.root, self.datasets.root):
            await run_in_threadpool(delete_leftovers, root)
        self._pool = PredictionPool(
            self.settings.workers or available_cores(),
            capacity=self.settings.max_pending,
            timeout=self.settings.timeout,
            dataset_timeout=self.settings.dataset_timeout,
            max_points=self.settings.max_grid_points,
        )
        if self.settings.model is not None:
            model_id = await run_in_threadpool(self.registry.add, self.settings.model)
        else:
            model_id = self.registry.active
        self._serve(await self._loaded(model_id))
        if self.settings.model is None:
            self._watching.append(asyncio.create_task(self._follow()))
        if self.keys is not None:
            self._watching.append(asyncio.create_task(self._look_at(self.keys)))
        self._runner = runner  # not earlier: one that has not begun must end no job that was left
        self._runner.start()

    def stop(self) -> None:
        """End the processes; a job that is running stays queued for the next start."""
        for task in self._watching:
            task.cancel()
        if self._runner is not None:
            self._runner.stop()
        if self._pool is not None:
            self._pool.close()

    @property
    def ready(self) -> bool:
        """Whether predictions can be made, and will be for a while."""
        return self._active is not None and not self.draining

    @property
    def jobs(self) -> JobLedger:
        """The job ledger."""
        assert self._jobs is not None, "the service was not started"
        return self._jobs

    async def check_jobs(self) -> None:
        """Raise WorkerError when no job could be started now, or a few seconds ago; why not is for the log.

        The cluster is asked, which may take its time. However many want to know, one question is on its way:
        each waits in a thread, of which the routes share a few, and nobody needs a key for it.
        """
        if self._runner is None or not self._runner.alive or self.draining:
            raise WorkerError("no jobs are being started")
        async with self._checking:
            if self._checked is None or time.monotonic() - self._checked[0] > _SECONDS_OF_A_CHECK:
                could_start = await run_in_threadpool(_could_start_jobs, self._runner)
                self._checked = time.monotonic(), could_start
            _, could_start = self._checked
        if not could_start:
            raise WorkerError("the cluster of the jobs cannot be used now; the log says why")

    @property
    def pool(self) -> PredictionPool:
        """The prediction processes."""
        assert self._pool is not None, "the service was not started"
        return self._pool

    @property
    def active(self) -> ServedModel:
        """The model that answers when a request names none."""
        assert self._active is not None, "the service was not started"
        return self._active

    async def activate(self, model_id: str) -> None:
        """Switch to a stored model once every process has loaded it.

        Raises:
            UnknownModelError, UnusableModelError: it is not there, or damaged.
            StoreError: the switch cannot be noted, so that a restart would undo it: nothing is switched.
        """
        async with self._switching:
            served = await self._loaded(model_id)
            await run_in_threadpool(self.registry.activate, model_id)
            self._serve(served)

    async def _follow(self) -> None:
        """Switch, as :meth:`activate` does, whenever another process has made a model the active one."""
        trouble: str | None = None
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS if trouble is None else _SECONDS_AFTER_TROUBLE)
            log = structlog.get_logger()
            try:
                async with self._switching:
                    model_id = await run_in_threadpool(lambda: self.registry.active)
                    if model_id != self.active.id:
                        self._serve(await self._loaded(model_id))
                        log.info("another process has activated a model", model=model_id)
                trouble = None
            except Exception as error:  # without this task it would never switch again
                reason = f"{type(error).__name__}: {error}"
                if reason != trouble:
                    log.error("the active model cannot be served; the one before is", reason=reason)
                trouble = reason

    async def _look_at(self, keys: ApiKeys) -> None:
        """In a thread: a file system that does not answer stops no request."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            await run_in_threadpool(keys.look)

    async def delete_model(self, model_id: str) -> None:
        """Delete a stored model.

        Raises:
            UnknownModelError: it is not there.
            InUseError: it is the active or the embedded one, or a job that has not ended needs it.
            StoreError: it cannot be deleted.
        """
        async with self._switching:
            if model_id == self.active.id:  # by --model, perhaps: the registry names another one then
                raise InUseError(f"model {model_id} is the active one; activate another one first")
            await run_in_threadpool(self.jobs.require_unused, "model", model_id)
            await run_in_threadpool(self.registry.delete, model_id)
            self._recent.pop(model_id, None)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a training set.

        Raises:
            UnknownIdError: it is not there.
            InUseError: a job that has not ended needs it.
            StoreError: it cannot be deleted.
        """
        self.jobs.require_unused("dataset", dataset_id)
        self.datasets.delete(dataset_id)

    async def model(self, model_id: str | None) -> ServedModel:
        """A stored model, or the active one. Raises UnknownModelError, UnusableModelError."""
        if model_id is None or model_id == self.active.id:
            return self.active
        served = self._recent.get(model_id)
        if served is None:
            served = await run_in_threadpool(self._load, model_id)
        else:  # its content belongs to its id: all that may have changed is that it is gone
            await run_in_threadpool(self.registry.directory, model_id)
        self._recent[model_id] = served
        self._recent.move_to_end(model_id)
        while len(self._recent) > _MODELS_KEPT:
            self._recent.popitem(last=False)
        return served

    async def read(self, file: UploadFile) -> list[LabelledStructure]:
        """Structures of an uploaded file, in order; errors: :func:`service.uploads.read_upload`."""
        return await self.pool.read(
            file.filename or "",
            file.file,
            max_structures=self.settings.max_structures,
            max_atoms=self.settings.max_atoms,
        )

    async def received(self, model: ServedModel, structures: Sequence[Structure]) -> list[Atoms]:
        """Structures of a request as Atoms; raises StructuresError that names all that cannot be used."""
        self._check_number(len(structures), "/structures")
        problems = {i: found for i, s in enumerate(structures) if (found := s.problem()) is not None}
        others = {i: s.atoms() for i, s in enumerate(structures) if i not in problems}
        if problems:
            answers = await self.pool.check(str(model.directory), list(others.values()))
            problems |= {i: ("", a.reason) for i, a in zip(others, answers, strict=True) if a is not None}
            raise StructuresError(
                [(f"/structures/{i}{field}", i, reason) for i, (field, reason) in sorted(problems.items())]
            )
        return list(others.values())

    async def require_usable(self, model: ServedModel, structures: Sequence[Atoms]) -> None:
        """Raise StructuresError that names all that cannot be used, before anything is made of them."""
        self._check_sizes(structures, "/structures/{}")
        _raise_problems(await self.pool.check(str(model.directory), structures), "/structures/{}")

    async def predict(
        self, model: ServedModel, structures: Sequence[Atoms], *, of_a_file: bool = False
    ) -> list[Prediction]:
        """Predictions in order.

        Args:
            model: as :meth:`model` gives it.
            structures: periodic or not, of any kind: they are checked here.
            of_a_file: in an error they are then told by their index: no JSON pointer leads into a file.

        Raises:
            StructuresError: structures cannot be used; all of them are named.
        """
        self._check_number(len(structures), "/file" if of_a_file else "/structures")
        place = "/file" if of_a_file else "/structures/{}"
        self._check_sizes(structures, place)
        costs = [model.ensemble.scattering.grid_points(atoms) for atoms in structures]
        # Checked in the processes, where it counts as work: thousands of atoms in one place take their time.
        answers = await self.pool.predict(str(model.directory), structures, costs)
        _raise_problems(answers, place)
        predictions = [a for a in answers if isinstance(a, Prediction)]
        self.metrics.structures.inc(len(predictions))
        return predictions

    def _check_number(self, n_structures: int, place: str) -> None:
        limit = self.settings.max_structures
        if n_structures > limit:
            reason = f"{n_structures} structures; at most {limit}"
            raise StructuresError([(place, None, reason)], reason)

    def _check_sizes(self, structures: Sequence[Atoms], place: str) -> None:
        limit = self.settings.max_atoms
        large = [(i, len(atoms)) for i, atoms in enumerate(structures) if len(atoms) > limit]
        if large:
            raise StructuresError([(place.format(i), i, f"has {n} atoms; at most {limit}") for i, n in large])

    async def _loaded(self, model_id: str) -> ServedModel:
        """A stored model, once every process has it."""
        served = await run_in_threadpool(self._load, model_id)
        await self.pool.load(str(served.directory))
        return served

    def _serve(self, served: ServedModel) -> None:
        self._active = served
        self.metrics.model.info({"id": served.id, "data_hash": served.ensemble.data_hash})

    def _load(self, model_id: str) -> ServedModel:
        ensemble = self.registry.load(model_id)
        return ServedModel(model_id, self.registry.directory(model_id), ensemble)


def _raise_problems(answers: Sequence[object], place: str) -> None:
    problems = [
        (place.format(i), i, a.reason) for i, a in enumerate(answers) if isinstance(a, StructureError)
    ]
    if problems:
        raise StructuresError(problems)


def _could_start_jobs(runner: JobRunner) -> bool:
    try:
        runner.check()
    except WorkerError as error:  # it names the cluster, which is nobody's business who has no key
        structlog.get_logger().warning("no job could be started now", reason=str(error))
        return False
    return True


def service_of(request: Request) -> Service:
    """Dependency: the app's service."""
    service: Service = request.app.state.service
    return service
