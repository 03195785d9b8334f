"""Makes spans of the front end's records and sends them to a collector. The front end starts this as a process.

Reads one record per line from its standard input (serving/front_end/java/frontend/TraceLine.java) and writes back
"exported 512" and "dropped 512". OpenTelemetry's SDK reads the rest from its own variables: endpoint, headers, timeout,
batches. Knows nothing of the server. Ends when the pipe does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

SERVICE = "torchscript-inference"
LAST_WAIT_S = 3.0  # for unsent spans when the server ends
FAILED = 500  # the smallest status that is the server's error
MOST_IN_HAND = 2048  # spans; OpenTelemetry's own default of a queue


class Counted(SpanExporter):
    """Sends spans by another exporter, reports how many were sent, and holds at most ``most`` spans."""

    def __init__(self, exporter: SpanExporter, most: int) -> None:
        self._exporter, self._most = exporter, most
        self._in_hand, self._room = 0, threading.Condition()
        self._failing = False

    def take(self, spans: int) -> None:
        """Waits for room for more spans. The pipe fills meanwhile, and the front end counts the records that it
        drops."""
        with self._room:
            self._room.wait_for(lambda: self._in_hand + spans <= self._most)
            self._in_hand += spans

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends the spans; tries again within OTEL_EXPORTER_OTLP_TIMEOUT."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._report(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def _report(self, spans: int, sent: bool) -> None:
        print("exported" if sent else "dropped", spans, flush=True)
        if not sent and not self._failing:
            print("The collector of spans does not take them; they are lost until it does.", file=sys.stderr)
        self._failing = not sent
        with self._room:
            self._in_hand -= spans
            self._room.notify()

    def shutdown(self) -> None:
        """Closes the connection."""
        self._exporter.shutdown()


class Spans:
    """Makes the spans of a record: one of the request, and one of each stage below it."""

    def __init__(self, exporter: Counted) -> None:
        self._ids, self._exporter = Ids(), exporter
        self._provider = TracerProvider(sampler=ALWAYS_ON, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("torchscript_inference")

    def make(self, record: Mapping[str, Any]) -> None:
        """Makes and ends the spans of a record. A thread of the SDK then sends them."""
        self._exporter.take(1 + len(record["stages"]))
        self._ids.trace = int(record["trace"], 16)
        attributes = record["attributes"]
        request = self._tracer.start_span(
            "request", _parent(record), SpanKind.SERVER, attributes, start_time=record["begin"]
        )
        if record["error"]:
            request.set_attribute("error.type", record["error"])
        if attributes.get("http.response.status_code", 0) >= FAILED:
            request.set_status(Status(StatusCode.ERROR))
        within = trace.set_span_in_context(request, Context())
        for name, begin, end in record["stages"]:
            self._tracer.start_span(name, within, start_time=begin).end(end)
        request.end(record["end"])

    def finish(self) -> None:
        """Sends the remaining spans, within LAST_WAIT_S."""
        sending = threading.Thread(target=self._provider.force_flush, daemon=True)
        sending.start()
        sending.join(LAST_WAIT_S)


class Ids(RandomIdGenerator):
    """Random ids of spans. The trace's id is the front end's, which its log names."""

    trace = 0

    def generate_trace_id(self) -> int:
        """The trace id of the current record."""
        return self.trace


def _parent(record: Mapping[str, Any]) -> Context:
    if not record["parent"]:
        return Context()
    flags, state = TraceFlags(TraceFlags.SAMPLED), TraceState.from_header([record["state"] or ""])
    remote = SpanContext(int(record["trace"], 16), int(record["parent"], 16), True, flags, state)
    return trace.set_span_in_context(NonRecordingSpan(remote), Context())


def main(lines: Iterable[str]) -> None:
    """Makes spans of all lines."""
    if "service.name=" not in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, ""):
        os.environ.setdefault(OTEL_SERVICE_NAME, SERVICE)
    most = int(os.environ.setdefault("OTEL_BSP_MAX_QUEUE_SIZE", str(MOST_IN_HAND)))
    spans = Spans(Counted(OTLPSpanExporter(), most))
    for line in lines:
        spans.make(json.loads(line))
    spans.finish()


if __name__ == "__main__":
    import logging
    import signal

    logging.disable()  # the SDK logs each try; Counted reports it once
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    os.nice(5)  # requests come first
    main(sys.stdin)
    sys.stdout.flush()
    os._exit(0)  # a send under way would delay the end
