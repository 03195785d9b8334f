"""A generator process: sends its part of a load, and returns its rows on request.

``python -m loadtest.load.generator FD CPU,CPU``: crew.py starts it with a channel on the file descriptor FD. Without a
CPU it uses all CPUs. It knows only its own part, and ends when the channel closes.
"""

from __future__ import annotations

import loadtest.patches  # noqa: F401 - first of all: it patches what the modules below import

# isort: split
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.errors import LoadTestError
from loadtest.load.channel import Channel
from loadtest.load.engine import ClosedLoop, OpenLoop
from loadtest.load.target import Target, Token


@dataclass(frozen=True)
class Part:
    """The part of a process: a Target's fields, the present token, and its turns of the payloads."""

    fields: dict[str, Any]
    token: str
    first: int
    stride: int

    @classmethod
    def of(cls, target: Target, number: int, count: int) -> Part:
        """Part ``number`` of ``count``. Together the parts take every turn once."""
        names = ("host", "archive", "golden", "check_every", "payloads", "order", "model", "route", "grpc")
        return cls({name: getattr(target, name) for name in names}, target.token.get(), number, count)


class Hand:
    """The calls that the process answers, a method for each."""

    def __init__(self) -> None:
        self._token = ""

    def closed(self, part: Part, users: int) -> None:
        """A closed loop, not started yet."""
        self._load: ClosedLoop | OpenLoop = ClosedLoop(self._target(part), users)

    def open(self, part: Part, arrivals_us: np.ndarray, connections: int, outstanding: int) -> None:
        """An open loop, not started yet."""
        self._load = OpenLoop(self._target(part), arrivals_us, connections, outstanding)

    def start(self, begin_us: int | None = None) -> int:
        """Starts the load. Returns the instant of the first request: ``begin_us`` in an open loop."""
        return self._load.start(begin_us) if isinstance(self._load, OpenLoop) else self._load.start()

    def take(self, token: str) -> list[tuple[Any, ...]]:
        """The rows since the last call, each returned once. From now on, requests carry ``token``."""
        self._token = token
        rows, self._load.recorder.rows[:] = self._load.recorder.rows[:], []
        return [tuple(row) for row in rows]  # pickle takes longer for a class than for a tuple

    def processor_s(self) -> float:
        """Seconds of processor time so far."""
        return time.process_time()

    def stop(self) -> list[tuple[Any, ...]]:
        """Ends the load and returns the last rows."""
        self._load.stop()
        return self.take(self._token)

    def _target(self, part: Part) -> Target:
        self._token, turns = part.token, itertools.count(part.first, part.stride)
        return Target(token=Token(lambda: self._token), **part.fields, _turn=turns)


def main(arguments: Sequence[str]) -> int:
    """Answers calls until the channel closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that measures
    number, cpus = int(arguments[0]), [int(cpu) for cpu in arguments[1].split(",") if cpu]
    if cpus:
        os.sched_setaffinity(0, cpus)
    channel, hand = Channel(socket.socket(fileno=number)), Hand()
    with suppress(EOFError, OSError):
        while True:
            name, given = channel.receive()
            try:
                reply = (getattr(hand, name)(*given), "")
            except LoadTestError as error:
                reply = (None, str(error))
            channel.send(reply)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
