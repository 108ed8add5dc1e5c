"""Numbers for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest


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
        self.model = Info("atomscatter_model", "The active model.", registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
