"""A generator process: sends its part of a load, and hands its rows over when it is asked for them.

``python -m loadtest.load.generator FD CPU,CPU``: crew.py starts it with a channel on the file descriptor FD. No CPU
means any. Knows its own part; that there are others it is not told. Ends when the channel does.
"""

from __future__ import annotations

import locust  # noqa: F401 - first of all: Locust patches what the modules below import

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
    """What a process asks: a Target's fields, the token of the moment, and which turns of the payloads it takes."""

    fields: dict[str, Any]
    token: str
    first: int
    stride: int

    @classmethod
    def of(cls, target: Target, number: int, count: int) -> Part:
        """Part ``number`` of ``count``: together they take every turn once."""
        names = ("host", "archive", "golden", "check_every", "payloads", "order", "model", "route", "grpc")
        return cls({name: getattr(target, name) for name in names}, target.token.get(), number, count)


class Hand:
    """What can be asked of the process: a method each."""

    def __init__(self) -> None:
        self._token = ""

    def closed(self, part: Part, users: int) -> None:
        """A closed loop, not started yet."""
        self._load: ClosedLoop | OpenLoop = ClosedLoop(self._target(part), users)

    def open(self, part: Part, arrivals_us: np.ndarray, connections: int, outstanding: int) -> None:
        """An open loop, not started yet."""
        self._load = OpenLoop(self._target(part), arrivals_us, connections, outstanding)

    def start(self, begin_us: int | None = None) -> int:
        """When the first request is due: ``begin_us`` in an open loop."""
        return self._load.start(begin_us) if isinstance(self._load, OpenLoop) else self._load.start()

    def take(self, token: str) -> list[tuple[Any, ...]]:
        """The rows since the last time, each handed over once; from now on requests carry ``token``."""
        self._token = token
        rows, self._load.recorder.rows[:] = self._load.recorder.rows[:], []
        return [tuple(vars(row).values()) for row in rows]

    def processor_s(self) -> float:
        """Seconds of processor time so far."""
        return time.process_time()

    def stop(self) -> list[tuple[Any, ...]]:
        """Ends the load and hands over the last rows."""
        self._load.stop()
        return self.take(self._token)

    def _target(self, part: Part) -> Target:
        self._token, turns = part.token, itertools.count(part.first, part.stride)
        return Target(token=Token(lambda: self._token), **part.fields, _turn=turns)


def main(arguments: Sequence[str]) -> int:
    """Does what it is asked until nobody asks any more."""
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
