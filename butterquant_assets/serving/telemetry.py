"""Counters of the serving process, in Prometheus' format.

What belongs here: metric names and what they count. Each process has a registry of its own, so that two applications in
one process (tests) do not share counts.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

ROUTES: tuple[str, ...] = (
    "/v1/success",
    "/v1/models",
    "/health",
    "/ready",
    "/metrics",
    "/docs",
    "/openapi.json",
)
"""Paths with a label of their own; others are counted as ``other``, so that strangers cannot grow the metrics."""

_BUCKETS = (0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Telemetry:
    """Metrics of one application; every method may be called from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "butterquant_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "butterquant_request_seconds",
            "Time from a request's first byte of body to its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._rows = Counter("butterquant_rows", "Rows scored.", registry=self.registry)
        self._info = Gauge(
            "butterquant_model_info",
            "1 for the version that is served.",
            ["name", "version", "calibration"],
            registry=self.registry,
        )
        self._swaps = Counter("butterquant_model_swaps", "Versions put in service.", registry=self.registry)
        self._refused = Counter(
            "butterquant_model_refused", "Attempts to load a version that were refused.", registry=self.registry
        )
        self._ready = Gauge("butterquant_ready", "1 while a model is loaded.", registry=self.registry)
        self._seconds_of = {route: self._seconds.labels(route) for route in (*ROUTES, "other")}
        self._requests_of: dict[tuple[str, int], Counter] = {}

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count one request."""
        route = path if path in self._seconds_of else "other"
        counter = self._requests_of.get((route, status))
        if counter is None:
            counter = self._requests_of.setdefault((route, status), self._requests.labels(route, str(status)))
        counter.inc()
        self._seconds_of[route].observe(seconds)

    def scored(self, rows: int) -> None:
        """Count scored rows."""
        self._rows.inc(rows)

    def swapped(self, name: str, version: str, calibration: str) -> None:
        """Note the version that is now served."""
        self._info.clear()
        self._info.labels(name, version, calibration).set(1)
        self._ready.set(1)
        self._swaps.inc()

    def refused(self) -> None:
        """Count an attempt to load a version that failed."""
        self._refused.inc()

    def exposition(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self.registry)
