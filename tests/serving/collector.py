"""A collector of spans: an HTTP server that reads OTLP's requests with OpenTelemetry's own messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.trust.place import eventually

messages = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="comes with the extra 'tracing', which make test installs",
)


@dataclass
class Span:
    """One span. ``parent`` is "" if it has none; times are nanoseconds since 1970."""

    name: str
    trace: str
    own: str
    parent: str
    begin: int
    end: int
    kind: int
    status: int
    state: str
    attributes: dict[str, Any]
    service: str


@dataclass
class Collector:
    """The received spans, and the collector's address. ``raw`` are the received bodies."""

    endpoint: str
    spans: list[Span] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def of(self, trace: str) -> list[Span]:
        """The received spans of a trace."""
        return [span for span in self.spans if span.trace == trace]

    def await_trace(self, trace: str, count: int) -> dict[str, Span]:
        """The spans of a trace by name, once ``count`` have been received."""
        eventually(lambda: len(self.of(trace)) >= count)
        found = {span.name: span for span in self.of(trace)}
        assert len(found) == count, found
        return found

    def take(self, body: bytes) -> None:
        """Reads a body of POST /v1/traces."""
        self.raw.append(body)
        for each in messages.ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(each.resource.attributes)["service.name"]
            self.spans += [_span(span, service) for scope in each.scope_spans for span in scope.spans]


def _span(span: Any, service: str) -> Span:
    return Span(
        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.start_time_unix_nano,
        span.end_time_unix_nano, span.kind, span.status.code, span.trace_state, _values(span.attributes), service,
    )  # fmt: skip


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    """A collector on that port of loopback; 0 is any."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            made.take(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        made = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()
