"""What is counted, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one service; each has a registry of its own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter(
            "engine_requests", "Requests that were answered.", ("route", "status"), registry=own
        )
        self.seconds = Histogram(
            "engine_request_seconds", "From a request to its answer.", ("route",),
            buckets=_SECONDS, registry=own,
        )  # fmt: skip
        self.waiting = Gauge(
            "engine_waiting", "Texts and pictures that wait or are computed.", registry=own
        )
        self._batch = Histogram(
            "engine_batch_items", "Items that were computed at once.", ("tower",),
            buckets=_ITEMS, registry=own,
        )  # fmt: skip
        self._busy = Counter(
            "engine_compute_seconds", "Seconds that a tower computed.", ("tower",), registry=own
        )
        self._cache = Counter(
            "engine_cache", "Vectors that were asked for.", ("of", "result"), registry=own
        )

    def batch(self, tower: str) -> Callable[[int, float], None]:
        """What is called after each batch of a tower."""
        items, busy = self._batch.labels(tower), self._busy.labels(tower)

        def measure(count: int, seconds: float) -> None:
            items.observe(count)
            busy.inc(seconds)

        return measure

    def cached(self, of: str, found: int, missed: int) -> None:
        """Vectors that were kept, and those that had to be computed."""
        self._cache.labels(of, "hit").inc(found)
        self._cache.labels(of, "miss").inc(missed)

    def text(self) -> bytes:
        """Everything in Prometheus's own format."""
        return generate_latest(self.registry)
