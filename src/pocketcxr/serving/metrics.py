"""Counts and times for Prometheus; label values are a fixed few and never come from a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from pocketcxr.version import __version__

if TYPE_CHECKING:
    from pocketcxr.serving.backpressure import Backpressure
    from pocketcxr.serving.pool import Pool

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """All metrics of one service, in a registry of its own."""

    def __init__(self, backpressure: Backpressure, pool: Pool, *, model: str) -> None:
        """Take what the gauges read when they are asked."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "pocketcxr_requests", "Requests answered", ("route", "method", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "pocketcxr_request_seconds",
            "Time from the first byte of a request to the last of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.pictures = Counter(
            "pocketcxr_pictures", "Pictures by what became of them", ("outcome",), registry=self._registry
        )
        self.picture_seconds = Histogram(
            "pocketcxr_picture_seconds",
            "Time to read and score one picture, without waiting",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.wait_seconds = Histogram(
            "pocketcxr_picture_wait_seconds",
            "Time that a picture waited for a worker",
            buckets=_SECONDS,
            registry=self._registry,
        )
        gauges = {
            "pocketcxr_pictures_held": ("Pictures that wait or are scored", lambda: backpressure.pictures),
            "pocketcxr_expected_wait_seconds": (
                "Expected wait of a picture that comes now",
                lambda: backpressure.wait_s,
            ),
            "pocketcxr_bytes_held": ("Bytes of requests in memory", lambda: backpressure.bytes),
            "pocketcxr_workers": ("Worker processes that are up", lambda: pool.running),
            "pocketcxr_worker_restarts": ("Worker processes that were replaced", lambda: pool.restarts),
        }
        for name, (words, value) in gauges.items():
            Gauge(name, words, registry=self._registry).set_function(value)
        Gauge("pocketcxr_info", "Program and model", ("version", "model"), registry=self._registry).labels(
            __version__, model
        ).set(1)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
