"""A pool of Ray actors that works through named units and survives the death of its processes."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from atomscatter.errors import WorkerError
from workers.cluster import cluster_cpus

UnitId = TypeVar("UnitId", bound=int | str)

_PATIENCE_SECONDS = 60.0
_SECONDS_BETWEEN_LOOKS = 5.0  # at the size of the cluster
_SECONDS_FOR_LAST_ANSWERS = 2.0
# What an actor holds beyond what it needs to begin the next unit at once can be lost with this process.
# Handing out a unit takes some milliseconds: under 2 % of this.
_SECONDS_IN_FLIGHT = 0.5
_MOST_IN_FLIGHT = 64


@dataclass
class _Worker(Generic[UnitId]):
    """One actor and the units it was given, oldest first (an actor runs them in that order)."""

    actor: Any
    pending: dict[Any, UnitId] = field(default_factory=dict)
    since: float = 0.0  # when it began the oldest of them, as far as is known here


def run_units(
    make_actor: Callable[[], Any],
    units: Mapping[UnitId, tuple[Any, ...]],
    method: str,
    *,
    n_workers: int | None,
    on_result: Callable[[UnitId, Any], None],
    retries: int = 3,
    in_flight: int | None = None,
) -> None:
    """Run ``actor.method(*arguments)`` for every unit on a pool of actors, in the order of the mapping.

    An actor holds one unit at a time, or as many short ones as it works on in half a second: so memory and
    lost work stay bounded, and it does not wait for this process. Units behind a long one go to others that
    have nothing to do. When an actor's process dies, a new one takes its place and its units are given out
    again. A unit may therefore run more than once;
    ``on_result`` is called exactly once for each, in this process, as results arrive.

    Args:
        make_actor: returns the handle of a fresh actor (``Actor.remote(...)``); Ray must be connected.
        units: unit id -> arguments of the call.
        method: name of the actor's method.
        n_workers: number of actors (fewer if there are fewer units); each begins when the cluster has a CPU
            for it. None: one for each CPU that the cluster has, and gets while units are left.
        on_result: called with the unit id and the method's result.
        retries: how many times a unit may lose its worker before the run is given up; after the first, it
            runs alone on a worker.
        in_flight: units that one actor holds, the running one included; None: by the time that they take.

    Raises:
        WorkerError: a unit raised an exception (which is ``__cause__``), a unit's worker died ``retries``
            times (the message names the unit), or workers do not start.
    """
    pool = _Pool(make_actor, units, method, retries=retries, in_flight=in_flight, on_result=on_result)
    try:
        pool.run(n_workers)
    finally:
        pool.close()


class _Pool(Generic[UnitId]):
    def __init__(
        self,
        make_actor: Callable[[], Any],
        units: Mapping[UnitId, tuple[Any, ...]],
        method: str,
        *,
        retries: int,
        in_flight: int | None,
        on_result: Callable[[UnitId, Any], None],
    ) -> None:
        self._make_actor = make_actor
        self._units = units
        self._method = method
        self._retries = retries
        self._in_flight = in_flight
        self._on_result = on_result
        self._waiting: deque[UnitId] = deque(units)
        self._n_workers = 0  # at most at a time
        self._patient_until = time.monotonic() + _PATIENCE_SECONDS
        self._look_at = 0.0  # time of the next look at the size of the cluster
        self._n_left = len(units)
        self._unit_seconds = _SECONDS_IN_FLIGHT  # of late
        self._deaths: dict[UnitId, int] = {}
        self._deaths_at_start = 0
        self._starting: dict[Any, _Worker[UnitId]] = {}  # by the reference that tells that the actor is up
        self._busy: dict[Any, _Worker[UnitId]] = {}  # by the reference of a unit's result
        self._ready: deque[Any] = deque()  # of these references, not looked at yet
        self._log = structlog.get_logger()

    def run(self, n_workers: int | None) -> None:
        if n_workers is not None:
            self._start_up_to(n_workers)
        while self._n_left:
            if n_workers is None and time.monotonic() >= self._look_at:
                self._start_up_to(max(1, cluster_cpus()))
                self._look_at = time.monotonic() + _SECONDS_BETWEEN_LOOKS
            reference = self._next_ready()
            if reference is None:
                continue
            if reference in self._starting:
                self._worker_started(reference)
            elif reference in self._busy:
                self._unit_ended(reference)

    def close(self) -> None:
        import ray

        for worker in [*self._starting.values(), *self._busy.values()]:
            ray.kill(worker.actor)

    def _start_up_to(self, n_workers: int) -> None:
        """Start the workers that are missing, and no more than could have a unit each."""
        there = len(self._starting) + len({id(worker) for worker in self._busy.values()})
        more = min(n_workers, self._n_left) - there
        for _ in range(more):
            self._start_worker()
        if there and more > 0:
            self._log.info("more workers are started", workers=there + more)
        self._n_workers = max(self._n_workers, there + more)

    def _start_worker(self) -> None:
        actor = self._make_actor()
        # Units go only to actors that are up: one for which the cluster has no CPU would keep them for ever.
        self._starting[actor.__ray_ready__.remote()] = _Worker(actor)

    def _next_ready(self) -> Any:
        """A reference that is ready; None if there is none for a while."""
        if not self._ready:
            self._ready.extend(self._wait())
        return self._ready.popleft() if self._ready else None

    def _wait(self) -> list[Any]:
        """All references that are ready now: a wait takes longer the more there are."""
        import ray

        # Results first, so that they are not held up by workers that cannot start.
        references = [*self._busy, *self._starting]
        ready, _ = ray.wait(references, num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS, fetch_local=False)
        if ready or self._busy:
            self._patient_until = time.monotonic() + _PATIENCE_SECONDS
        elif time.monotonic() > self._patient_until:
            self._patient_until = time.monotonic() + _PATIENCE_SECONDS
            self._log.warning(
                "no worker has started yet; is a CPU of the Ray cluster free? Ray's workers give way to other"
                " programs (nice 15, unless RAY_worker_niceness was set where the node was started)"
            )
        if not ready:
            return []
        more, _ = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        ready = more or ready  # without time to look, it may find none
        self._learn_durations(ready)
        return ready

    def _worker_started(self, reference: Any) -> None:
        import ray

        worker = self._starting.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            self._deaths_at_start += 1
            broken = getattr(error, "actor_init_failed", False)
            # All that were starting may die at once, with their node; and again with the next one.
            allowed = max(self._retries, 2 * self._n_workers)
            if broken or self._deaths_at_start >= allowed:
                raise WorkerError(f"a worker could not be started: {_last_line(error)}") from error
            self._log.warning("a worker died as it started", deaths=self._deaths_at_start, allowed=allowed)
            self._start_worker()
            return
        self._deaths_at_start = 0
        self._fill(worker)

    def _fill(self, worker: _Worker[UnitId]) -> None:
        if not worker.pending and not self._waiting:
            self._take_over()
        while self._wants_more(worker):
            if not worker.pending:
                worker.since = time.monotonic()
            unit = self._waiting.popleft()
            reference = getattr(worker.actor, self._method).remote(*self._units[unit])
            worker.pending[reference] = unit
            self._busy[reference] = worker
        if not worker.pending:
            self._retire(worker)

    def _wants_more(self, worker: _Worker[UnitId]) -> bool:
        if not worker.pending:
            return bool(self._waiting)
        # A unit that lost a worker runs alone: the next death, if any, is its own.
        if (
            not self._waiting
            or self._waiting[0] in self._deaths
            or not self._deaths.keys().isdisjoint(worker.pending.values())
        ):
            return False
        # The last units are not hoarded: one is left for each of the others.
        return len(worker.pending) < self._depth() and len(self._waiting) >= self._n_workers

    def _take_over(self) -> None:
        """Let units wait for any worker again that wait behind another one, which may be a long one."""
        import ray

        fullest = max(self._busy.values(), key=lambda worker: len(worker.pending), default=None)
        if fullest is None:
            return
        behind = list(fullest.pending)[1:]
        for reference in behind[len(behind) // 2 :]:
            ray.cancel(reference)  # should it run all the same, its result is the same
            self._waiting.append(fullest.pending.pop(reference))
            del self._busy[reference]

    def _depth(self) -> int:
        """Units that an actor should hold."""
        if self._in_flight is not None:
            return self._in_flight
        return min(_MOST_IN_FLIGHT, max(1, round(_SECONDS_IN_FLIGHT / max(self._unit_seconds, 1e-6))))

    def _learn_durations(self, references: Sequence[Any]) -> None:
        """From all that came together: after a delay, most of them seem to have taken no time at all."""
        now = time.monotonic()
        workers = [self._busy[reference] for reference in references if reference in self._busy]
        counts = Counter(map(id, workers))
        for worker in {id(worker): worker for worker in workers}.values():
            ended = counts[id(worker)]
            seconds = (now - worker.since) / ended
            if self._n_left == len(self._units):
                self._unit_seconds = min(self._unit_seconds, seconds)
            else:  # by no more than half at a time: some of what came with the last ones may be seen only now
                seconds = max(seconds, self._unit_seconds / 2)
                self._unit_seconds += (1 - 0.8**ended) * (seconds - self._unit_seconds)
            worker.since = now

    def _retire(self, worker: _Worker[UnitId]) -> None:
        import ray

        # Nothing is left for it now; should another worker die, its units are taken by a fresh one.
        ray.kill(worker.actor)

    def _unit_ended(self, reference: Any) -> None:
        import ray

        worker = self._busy[reference]
        unit = worker.pending[reference]
        try:
            result = _answer(unit, reference)
        except ray.exceptions.RayError as error:
            self._worker_died(worker, error)
            return
        del worker.pending[reference], self._busy[reference]
        self._deliver(unit, result)
        self._fill(worker)

    def _deliver(self, unit: UnitId, result: Any) -> None:
        self._n_left -= 1
        self._on_result(unit, result)

    def _worker_died(self, worker: _Worker[UnitId], error: Exception) -> None:
        lost = self._take_back(worker)
        self._log.warning("a worker died", units=lost)
        # Any of them may be the cause: the answers of those that were done can be lost with the process.
        for unit in lost:
            self._blame(unit, error)
        self._waiting.extendleft(reversed(lost))
        if self._waiting:
            self._start_worker()

    def _take_back(self, worker: _Worker[UnitId]) -> list[UnitId]:
        """Deliver what a dead worker had finished; return the units that it had not, oldest first."""
        import ray

        # It may only be out of reach: nothing that it would still do is waited for.
        ray.kill(worker.actor)
        references = list(worker.pending)
        answered, _ = ray.wait(
            references, num_returns=len(references), timeout=_SECONDS_FOR_LAST_ANSWERS, fetch_local=False
        )
        lost = []
        for reference, unit in worker.pending.items():
            del self._busy[reference]
            if reference not in answered:
                lost.append(unit)
                continue
            try:
                result = _answer(unit, reference)
            except ray.exceptions.RayError:
                lost.append(unit)
            else:
                self._deliver(unit, result)
        worker.pending.clear()
        return lost

    def _blame(self, unit: UnitId, error: Exception) -> None:
        self._deaths[unit] = self._deaths.get(unit, 0) + 1
        deaths = self._deaths[unit]
        self._log.info("a unit lost its worker", unit=unit, deaths=deaths, allowed=self._retries)
        if deaths >= self._retries:
            raise WorkerError(
                f"unit {unit} lost its worker {deaths} times, last with: {_last_line(error)}"
            ) from error


def _answer(unit: int | str, reference: Any) -> Any:
    """A unit's result. Raises WorkerError from the exception that the unit raised; RayError: it has none."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, BaseException) else error
        raise WorkerError(f"unit {unit} failed: {type(cause).__name__}: {cause}") from cause


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
