"""The metrics that are looked up when /metrics is read: queues, replicas, tokens, GPUs. They cost a request nothing.

serving/front_end/java/frontend/Present.java and Gpus.java do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deploy.ray.archive import Labels
from deploy.ray.watch.metrics import MODEL, Metrics
from serving import nvml

OF_MODELS = {
    "tsi_queue_capacity": "Requests that may wait for a worker.",
    "tsi_workers_ready": "Workers that have the model loaded.",
    "tsi_workers_wanted": "Workers that the model is to have.",
}
# (name, text, field of nvml.Gpu)
OF_GPUS = (
    ("tsi_gpu_memory_used_bytes", "Memory in use on the GPU, of all programs.", "memory_used"),
    ("tsi_gpu_memory_total_bytes", "Memory of the GPU.", "memory_total"),
    ("tsi_gpu_utilization_ratio", "Share of the last moment in which the GPU computed.", "utilization"),
)


@dataclass(frozen=True)
class Seen:
    """The present state of a model: requests that may wait, running replicas and wanted ones. ``load_s`` is the time
    that a replica took to load, if one has told it."""

    labels: Labels
    capacity: int
    ready: int
    wanted: int
    load_s: float | None


class Present(Collector):
    """``look`` returns the state of each model, ``expires`` the time at which the last token expires."""

    def __init__(
        self, metrics: Metrics, look: Callable[[], Iterable[Seen]], expires: Callable[[], float | None]
    ) -> None:
        self._metrics, self._look, self._expires = metrics, look, expires
        self._nvml = nvml.library()

    def describe(self) -> list[Metric]:
        """Nothing. Without this method the registry would collect everything to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called in the thread that answers /metrics."""
        yield from self._models()
        token = GaugeMetricFamily("tsi_token_expiry_timestamp_seconds",
                                  "When a token expires, in seconds since 1970; after that the API refuses it.",
                                  labels=["token"])  # fmt: skip
        if (expires := self._expires()) is not None:
            token.add_metric(["inference"], expires)
        yield token
        if self._nvml and (gpus := nvml.gpus(self._nvml)):
            for name, text, field in OF_GPUS:
                family = GaugeMetricFamily(name, text, labels=["gpu", "uuid"])
                for each in gpus:
                    if (value := getattr(each, field)) is not None:
                        family.add_metric([each.gpu, each.uuid], value)
                yield family

    def _models(self) -> Iterator[Metric]:
        families = {name: GaugeMetricFamily(name, text, labels=MODEL) for name, text in OF_MODELS.items()}
        for seen in self._look():
            self._metrics.begin(seen.labels)
            if seen.load_s is not None:
                self._metrics.load.labels(*seen.labels).set(seen.load_s)
            values = (seen.capacity, seen.ready, seen.wanted)
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric(seen.labels, value)
        yield from families.values()
