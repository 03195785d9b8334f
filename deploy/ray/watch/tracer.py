"""Hands records to a separate process, which makes spans of them and sends them (serving/tracing/export.py).

That process reports how many spans it has sent and lost. It ends with this process, whose pipe it reads. It is started
again if it ends by itself. serving/front_end/java/frontend/Tracer.java does the same.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from deploy.ray.watch.metrics import Metrics
from deploy.ray.watch.record import Record
from serving.tracing import PROGRAM

logger = logging.getLogger("ray.serve")
PAUSE_S = 10.0  # between two starts


class Tracer:
    """``environment`` tells OpenTelemetry's SDK the collector."""

    def __init__(self, environment: Mapping[str, str], metrics: Metrics) -> None:
        self._environment, self._metrics = {**os.environ, **environment}, metrics
        self._started, self._process = time.monotonic(), Exporter(self._environment, metrics)

    def write(self, records: Sequence[Record]) -> None:
        """Writes a line per record to the process."""
        if self._process.ends() and time.monotonic() - self._started > PAUSE_S:
            self._started, self._process = time.monotonic(), Exporter(self._environment, self._metrics)
        if self._process.ends():
            self.lose(records)
            return
        self._process.take(records)

    def lose(self, records: Sequence[Record]) -> None:
        """Counts the records' spans as lost."""
        self._metrics.spans.labels("dropped").inc(sum(1 + len(each.stages()) for each in records))


class Exporter:
    """One process, and the number of spans that it holds."""

    def __init__(self, environment: Mapping[str, str], metrics: Metrics) -> None:
        self._metrics, self._held, self._lock = metrics, 0, threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._read, name="traces-sent", daemon=True).start()

    def ends(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def take(self, records: Sequence[Record]) -> None:
        """Writes to the process; waits where its pipe is full."""
        assert self._process.stdin
        self._add(sum(1 + len(each.stages()) for each in records))
        try:
            self._process.stdin.writelines(f"{each.traced(each.trace)}\n" for each in records if each.trace)
            self._process.stdin.flush()
        except OSError:
            self._process.kill()  # ``_read`` counts its spans when its output ends

    def _read(self) -> None:
        """Reads lines of "exported 512" and "dropped 512". Spans that the process still holds at its end are lost."""
        assert self._process.stdout
        with suppress(OSError, ValueError):
            for line in self._process.stdout:
                result, _, spans = line.partition(" ")
                self._add(-int(spans))
                self._metrics.spans.labels(result).inc(int(spans))
        logger.warning("The exporter of spans has ended.")
        with self._lock:
            self._metrics.spans.labels("dropped").inc(max(self._held, 0))
            self._held = 0

    def _add(self, spans: int) -> None:
        with self._lock:
            self._held += spans
