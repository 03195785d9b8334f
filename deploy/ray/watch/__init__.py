"""The observability of one front: headers with times, metrics, the request log and the traces.

A record begins with a request's head and ends with its answer. It holds no content of either.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from starlette.requests import Request

from deploy.ray.archive import Answer
from deploy.ray.watch.log_file import LogFile
from deploy.ray.watch.metrics import Metrics
from deploy.ray.watch.outbox import Outbox
from deploy.ray.watch.present import Present, Seen
from deploy.ray.watch.record import Record, kind_of, millis
from deploy.ray.watch.trace_context import PARENT, STATE, TraceContext
from deploy.ray.watch.tracer import Tracer

logger = logging.getLogger("ray.serve")
REQUEST_ID = "x-request-id"  # Ray's proxy makes an id, and puts it on the answer
LAST_WAIT_S, EVERY_S = 1.0, 1.0


@dataclass(frozen=True)
class Wanted:
    """The outputs of a configuration: ``metrics`` has a host and a port, ``log`` the arguments of LogFile, ``traces`` a
    ratio and the environment of Tracer. An output that is not wanted is empty."""

    metrics: dict[str, Any] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)
    traces: dict[str, Any] = field(default_factory=dict)


class Watch:
    """The headers, metrics, request log and traces of a front."""

    def __init__(self, wanted: Wanted) -> None:
        self.metrics, self._port = Metrics(), wanted.metrics
        self._ratio = float(wanted.traces["ratio"]) if wanted.traces else None
        self._log = Outbox("request-log", LogFile(**wanted.log, metrics=self.metrics)) if wanted.log else None
        self._traces = Outbox("traces", Tracer(wanted.traces["environment"], self.metrics)) if wanted.traces else None

    def shows(self, look: Callable[[], Iterable[Seen]], expires: Callable[[], float | None]) -> None:
        """Opens the port of the metrics. ``look`` and ``expires`` are called when the metrics are read (present.py)."""
        if self._port:
            page = CollectorRegistry()
            page.register(Present(self.metrics, look, expires))  # first: it creates the counters of a new model
            page.register(self.metrics.registry)
            threading.Thread(target=self._listen, args=(page,), name="metrics", daemon=True).start()

    def _listen(self, page: CollectorRegistry) -> None:
        """Tries again while the port is taken: while a front replaces another on a machine, the old one still has the
        port."""
        while True:
            try:
                start_http_server(self._port["port"], self._port["host"], page)
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    logger.error("The metrics cannot be shown at %(host)s:%(port)s.", self._port)
                    return
                time.sleep(EVERY_S)

    def begins(self, request: Request) -> Record:
        """The request's head has arrived."""
        headers, wanted = request.headers, self._log is not None or self._traces is not None
        trace = TraceContext.of(headers.getlist(PARENT), headers.getlist(STATE), self._ratio) if wanted else None
        peer = request.client.host if request.client else ""
        return Record(request.url.path, request.method, peer, headers.get(REQUEST_ID, ""), trace)

    def served(self, record: Record, answer: Answer) -> None:
        """A replica of the model answered. The answer's headers tell the client how long the request waited."""
        record.served(answer)
        self.metrics.served(record, answer)
        answer.headers["x-queue-ms"] = millis(record.taken - record.handed)

    def ends(self, record: Record, answer: Answer, kind: str = "") -> None:
        """The answer is on its way. ``kind`` is the kind of error if the front refused the request."""
        unready = record.is_probe and not kind
        record.ends(answer.status, len(answer.body), "" if unready else kind or kind_of(answer.status, answer.body))
        answer.headers["x-total-ms"] = millis(record.ended - record.began)
        self.metrics.ended(record)
        if not unready:
            self._tell(record)

    def breaks(self, record: Record) -> None:
        """The client hung up. Nothing is recorded if no replica had the request yet."""
        if record.handed:
            record.ends(0, 0, "client_gone")
            self.metrics.ended(record)
            self._tell(record)

    def _tell(self, record: Record) -> None:
        if self._log:
            self._log.add(record)
        if self._traces and record.trace and record.trace.recorded:
            self._traces.add(record)

    def close(self) -> None:
        """The front ends."""
        for each in (self._log, self._traces):
            if each:
                each.drain(LAST_WAIT_S)
