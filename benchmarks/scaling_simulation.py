"""Discrete events of a featurization: the driver's one thread, the workers, the network, the storage.

What waits for what is as in workers/pool.py. The driver takes all results that are there, one after the
other, and hands out the next unit for each, whose inputs pass through its network link. A worker computes,
writes its chunk, reads it back and notes the unit, three requests to the shared storage. Units of half a
second and more it has one by one: the next comes when the driver has time for it. Link and storage serve in
the order of arrival.
"""

import heapq
import random
from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    units: int
    seconds: float  # of a unit on a worker, storage not included
    spread: float  # seconds vary evenly between 1 - spread and 1 + spread of it
    input_bytes: float  # of a unit
    output_bytes: float  # of a unit's chunk
    hand_out: float  # s of the driver for each unit, its result included
    wait: float  # s of the driver for each worker whenever it looks for results
    take_over: float  # s of the driver for each worker when one has nothing to do
    in_flight: int | None = None  # units that a worker holds; None: by the time that they take


@dataclass(frozen=True)
class Cluster:
    workers: int
    starts: float  # workers started per second
    start_seconds: float  # from then until a worker is ready
    link: float  # bytes/s out of the driver
    storage: float  # bytes/s, all workers together
    latency: float  # s of a request to the storage


@dataclass(frozen=True)
class Outcome:
    seconds: float  # from the start of the first worker to the last result
    units_per_second: float  # in the second half, without the last twentieth
    workers_busy: float  # shares of the time
    driver_busy: float
    most_waiting: int  # results that waited for the driver at a time


def simulate(work, cluster, seed=0):
    """Run all units; some microseconds for each."""
    return _Simulation(work, cluster, seed).run()


_REQUESTS = 3  # of a unit: its chunk written, read back, noted
_STARTED, _INPUT, _COMPUTED, _STORED = range(4)
_SECONDS_IN_FLIGHT, _MOST_IN_FLIGHT = 0.5, 64  # of workers/pool.py


class _Simulation:
    def __init__(self, work, cluster, seed):
        self.work, self.cluster = work, cluster
        self.random = random.Random(seed)
        self.workers = min(cluster.workers, work.units)
        self.events = []  # (time, order, kind, worker)
        self.order = 0
        self.ready = deque()  # what the driver will find: (whether it is a result, worker)
        self.held = [0] * self.workers  # units given to a worker that are not back
        self.arrived = [0] * self.workers  # of these, those that lie at the worker and wait
        self.working = [False] * self.workers
        self.since = [0.0] * self.workers  # when it began its oldest unit, as far as the driver knows
        self.unit_seconds = _SECONDS_IN_FLIGHT  # of late
        self.waiting = self.left = work.units
        self.clock = self.link_free = self.storage_free = 0.0
        self.driver_busy = self.computing = 0.0
        self.up = self.most_waiting = 0
        self.begin_at, self.end_at = work.units // 2, int(0.95 * work.units)
        self.begun = self.ended = 0.0

    def run(self):
        for worker in range(self.workers):
            self.at(worker / self.cluster.starts + self.cluster.start_seconds, _STARTED, worker)
        while self.left:
            self.happen_until(self.clock)
            if not self.ready:
                self.clock = self.events[0][0]
                continue
            self.spend(2 * self.work.wait * self.up)  # the pool waits for one, then asks for all
            self.happen_until(self.clock)
            self.most_waiting = max(self.most_waiting, len(self.ready))
            self.learn()
            for _ in range(len(self.ready)):
                self.serve(*self.ready.popleft())
        return self.outcome()

    def at(self, time, kind, worker):
        self.order += 1
        heapq.heappush(self.events, (time, self.order, kind, worker))

    def learn(self):
        """How long units take, from all results that came together."""
        for worker, ended in Counter(worker for is_result, worker in self.ready if is_result).items():
            seconds = (self.clock - self.since[worker]) / ended
            if self.left == self.work.units:
                self.unit_seconds = min(self.unit_seconds, seconds)
            else:
                seconds = max(seconds, self.unit_seconds / 2)
                self.unit_seconds += (1 - 0.8**ended) * (seconds - self.unit_seconds)
            self.since[worker] = self.clock

    def spend(self, seconds):
        self.clock += seconds
        self.driver_busy += seconds

    def serve(self, is_result, worker):
        """What the driver does with a worker that is up, or with a result."""
        if is_result:
            self.held[worker] -= 1
            self.left -= 1
            done = self.work.units - self.left
            if done == self.begin_at:
                self.begun = self.clock
            if done == self.end_at:
                self.ended = self.clock
        else:
            self.up += 1
        if not self.waiting and not self.held[worker]:
            self.spend(self.work.take_over * self.up)
            self.up -= 1
        while self.waiting and self.wants_more(worker):
            self.hand_out(worker)

    def wants_more(self, worker):
        if not self.held[worker]:
            return True
        return (
            self.held[worker] < self.depth() and self.waiting >= self.workers
        )  # the last ones are not hoarded

    def depth(self):
        if self.work.in_flight is not None:
            return self.work.in_flight
        return min(_MOST_IN_FLIGHT, max(1, round(_SECONDS_IN_FLIGHT / max(self.unit_seconds, 1e-6))))

    def hand_out(self, worker):
        if not self.held[worker]:
            self.since[worker] = self.clock
        self.waiting -= 1
        self.held[worker] += 1
        self.spend(self.work.hand_out)
        self.link_free = max(self.link_free, self.clock) + self.work.input_bytes / self.cluster.link
        self.at(self.link_free, _INPUT, worker)

    def happen_until(self, time):
        while self.events and self.events[0][0] <= time:
            now, _, kind, worker = heapq.heappop(self.events)
            if kind == _STARTED:
                self.ready.append((False, worker))
            elif kind == _INPUT:
                self.arrived[worker] += 1
                if not self.working[worker]:
                    self.begin(now, worker)
            elif kind == _COMPUTED:
                self.store(now, worker)
            else:
                self.ready.append((True, worker))
                self.working[worker] = False
                if self.arrived[worker]:
                    self.begin(now, worker)

    def begin(self, now, worker):
        self.arrived[worker] -= 1
        self.working[worker] = True
        seconds = self.work.seconds * (1 + self.work.spread * self.random.uniform(-1, 1))
        self.computing += seconds
        self.at(now + seconds, _COMPUTED, worker)

    def store(self, now, worker):
        transfer = 2 * self.work.output_bytes / self.cluster.storage  # written and read back
        self.storage_free = max(self.storage_free, now) + transfer
        self.at(self.storage_free + _REQUESTS * self.cluster.latency, _STORED, worker)

    def outcome(self):
        between = self.ended - self.begun
        return Outcome(
            seconds=self.clock,
            units_per_second=(self.end_at - self.begin_at) / between if between else 0.0,
            workers_busy=self.computing / (self.clock * self.cluster.workers),
            driver_busy=self.driver_busy / self.clock,
            most_waiting=self.most_waiting,
        )
