"""Hands records to a separate thread. ``add`` never waits: if the queue is full, the record is lost.

serving/front_end/java/frontend/Outbox.java does the same.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from deploy.ray.watch.record import Record

logger = logging.getLogger("ray.serve")
PLACES = 8_192
AT_ONCE = 512
PAUSE_S = 0.05  # between two writes, so that a busy thread is woken once for many records


class Sink(Protocol):
    """The destination of the records."""

    def write(self, records: Sequence[Record]) -> None:
        """Writes the records. Called in the outbox's thread."""

    def lose(self, records: Sequence[Record]) -> None:
        """Counts records that are lost. Called in any thread."""


class Outbox:
    """One sink's queue."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._sink, self._waiting = sink, queue.Queue[Record](PLACES)
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def add(self, record: Record) -> None:
        """Puts the record into the queue."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._sink.lose([record])

    def drain(self, seconds: float) -> None:
        """Waits for the queued records to be written, when the front ends."""
        end = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def _work(self) -> None:
        while True:
            some = [self._waiting.get()]
            while len(some) < AT_ONCE and not self._waiting.empty():
                some.append(self._waiting.get())
            self._write(some)
            for _ in some:
                self._waiting.task_done()
            if len(some) < AT_ONCE:
                time.sleep(PAUSE_S)

    def _write(self, some: Sequence[Record]) -> None:
        try:
            self._sink.write(some)
        except Exception as error:  # the thread goes on with the next ones
            logger.error("Records are lost: %s", type(error).__name__)
            self._sink.lose(some)
