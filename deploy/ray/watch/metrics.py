"""The metrics that are counted with each request, with the names, labels and buckets of docs/monitoring.md.

serving/front_end/java/frontend/Metrics.java and Series.java do the same.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from deploy.ray.archive import Answer, Labels
from deploy.ray.watch.record import KINDS, STAGES, Record

MODEL = ("model", "variant", "version")
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CLASSES = ("2xx", "4xx", "5xx")
UNKNOWN: Labels = ("", "", "")


class Metrics:
    """The metrics of one front, in a ``registry`` of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series, which no rule reads
        self.registry = CollectorRegistry()
        self._duration = Histogram(
            "tsi_request_duration_seconds",
            "Seconds from a whole request to its answer (stage total), and in each stage on the way.",
            (*MODEL, "stage", "status"), buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._batch = Histogram("tsi_batch_size", "Requests that a worker got at once.", MODEL, buckets=BATCHES,
                                registry=self.registry)  # fmt: skip
        self._read = {
            name: self._counter(f"tsi_{name}", text)
            for name, text in (("tokens", "Tokens that the model read, without padding."),
                               ("pixels", "Pixels of the images that were read, as sent."))
        }  # fmt: skip
        self._errors = self._counter(
            "tsi_errors", "Requests without a model's answer, by kind; without a model where none is known.", "kind"
        )
        self.load = Gauge("tsi_model_load_seconds",
                          "Seconds that the last worker to start took to load the model and warm it up.", MODEL,
                          registry=self.registry)  # fmt: skip
        self.spans = Counter("tsi_trace_spans", "Spans of traces that were sent to the collector, or lost.",
                             ("result",), registry=self.registry)  # fmt: skip
        self.lines = Counter("tsi_request_log_lines", "Lines of the request log that were written, or lost.",
                             ("result",), registry=self.registry)  # fmt: skip
        for counter, results in ((self.spans, ("exported", "dropped")), (self.lines, ("written", "dropped"))):
            for result in results:
                counter.labels(result)
        self._begun: set[Labels] = set()

    def _counter(self, name: str, text: str, *more: str) -> Counter:
        return Counter(name, text, (*MODEL, *more), registry=self.registry)

    def begin(self, labels: Labels) -> None:
        """Creates the counters that alerts read, at 0. Prometheus sees no increase in a counter that begins at 1."""
        if labels not in self._begun:
            self._begun.add(labels)
            for status in CLASSES:
                self._duration.labels(*labels, "total", status)
            for kind in KINDS:
                self._errors.labels(*labels, kind)

    def served(self, record: Record, answer: Answer) -> None:
        """A replica answered."""
        self.begin(answer.labels)
        status = _class(answer.status)
        self._duration.labels(*answer.labels, "queue", status).observe((record.taken - record.handed) / 1e9)
        for stage in STAGES:
            if (taken := record.stage(stage)) is not None:
                self._duration.labels(*answer.labels, stage, status).observe(taken / 1e3)
        for name, count in answer.counted.items():
            if name == "batch":
                self._batch.labels(*answer.labels).observe(count)
            elif name in self._read:
                self._read[name].labels(*answer.labels).inc(count)

    def ended(self, record: Record) -> None:
        """A request is over."""
        if record.labels and record.status:
            total = self._duration.labels(*record.labels, "total", _class(record.status))
            total.observe((record.ended - record.whole) / 1e9)
        if record.kind:
            self._errors.labels(*(record.labels or UNKNOWN), record.kind).inc()


def _class(status: int) -> str:
    return CLASSES[0 if status < 400 else 1 if status < 500 else 2]
