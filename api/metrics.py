"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class _Lost(Collector):
    """Prediction processes that were replaced: they are counted elsewhere."""

    def __init__(self) -> None:
        self.by_reason: Mapping[str, int] = {}

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As prometheus_client asks for it."""
        name, text = "atomscatter_processes_lost", "Prediction processes that were replaced, by why."
        family = CounterMetricFamily(name, text, labels=["reason"])
        for reason, count in self.by_reason.items():
            family.add_metric([reason], count)
        yield family


class Metrics:
    """One registry for each app, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "atomscatter_requests",
            "Answered requests.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "atomscatter_request_seconds",
            "Time to the answer, s.",
            ["route"],
            registry=self.registry,
            buckets=(0.005, 0.02, 0.1, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 120),
        )
        self.structures = Counter(
            "atomscatter_structures", "Structures that were predicted.", registry=self.registry
        )
        self.in_flight = Gauge(
            "atomscatter_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self.pending = Gauge(
            "atomscatter_structures_pending",
            "Structures accepted and not yet predicted.",
            registry=self.registry,
        )
        self.jobs = Gauge("atomscatter_jobs", "Jobs of the ledger.", ["state"], registry=self.registry)
        self.state_free = Gauge(
            "atomscatter_state_free_bytes",
            "Free space of the state directory's file system, bytes.",
            registry=self.registry,
        )
        self.lost = _Lost()
        self.registry.register(self.lost)
        ProcessCollector(registry=self.registry)  # of the server: its memory, files and processor time
        self.build = Info("atomscatter_build", "The version that runs.", registry=self.registry)
        self.model = Info("atomscatter_model", "The active model.", registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
