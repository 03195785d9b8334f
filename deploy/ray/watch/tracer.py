"""Hands records to a process of its own, which makes spans of them and sends them (serving/tracing/export.py).

It writes back how many it has sent and how many it has lost. It ends with this process, whose pipe it reads, and is
started again where it ends by itself. As serving/front_end/java/frontend/Tracer.java has it.
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
    """``environment`` names the collector to OpenTelemetry's SDK."""

    def __init__(self, environment: Mapping[str, str], metrics: Metrics) -> None:
        self._environment, self._metrics = {**os.environ, **environment}, metrics
        self._started, self._process = time.monotonic(), Exporter(self._environment, metrics)

    def write(self, records: Sequence[Record]) -> None:
        """Gives the process a line of each record."""
        if self._process.ends() and time.monotonic() - self._started > PAUSE_S:
            self._started, self._process = time.monotonic(), Exporter(self._environment, self._metrics)
        if self._process.ends():
            self.lose(records)
            return
        self._process.take(records)

    def lose(self, records: Sequence[Record]) -> None:
        """Counts their spans."""
        self._metrics.spans.labels("dropped").inc(sum(1 + len(each.stages()) for each in records))


class Exporter:
    """One process, and the number of spans that it has."""

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
            self._process.kill()  # what it holds is counted where its output ends

    def _read(self) -> None:
        """Lines of "exported 512" and "dropped 512". What the process holds at its end is lost."""
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
