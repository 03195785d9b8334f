"""Two kinds of load through Locust: a closed loop of N users, and an open loop that keeps a schedule.

Knows when requests leave. trial.py decides when to stop, and golden.py checks the answers.
"""

from __future__ import annotations

import time
from typing import Protocol

import gevent
import numpy as np
from gevent.lock import BoundedSemaphore
from gevent.pool import Group
from locust.env import Environment

from loadtest.load.clock import Clock
from loadtest.load.rows import RequestRow
from loadtest.load.target import Target
from loadtest.load.users import ArchiveUser, Recorder, now_us, user_class

CONNECTIONS = 256
MAX_OUTSTANDING = 1024
LEAD_US = 20_000
STOP_TIMEOUT_S = 10


class Load(Protocol):
    """Sends from ``start`` until ``stop``, with ``processes`` processes. ``apart``: no two of them share a core."""

    processes: int
    apart: bool

    @property
    def rows(self) -> list[RequestRow]:
        """What has been answered so far, in order of completion."""

    def start(self) -> int:
        """Begins, and returns the instant (microseconds since 1970) at which the first request is due."""

    def stop(self) -> None:
        """Sends no more requests. Returns when all requests under way have an answer or have taken too long."""

    def processor_s(self) -> tuple[float, ...]:
        """Seconds of processor time so far, of each process that sends."""


class _Here:
    """A load that this process sends. ``recorder`` collects its rows."""

    recorder: Recorder
    processes, apart = 1, True

    @property
    def rows(self) -> list[RequestRow]:
        """What has been answered so far, in order of completion."""
        return self.recorder.rows

    def processor_s(self) -> tuple[float, ...]:
        """Seconds of processor time of this process so far."""
        return (time.process_time(),)


class ClosedLoop(_Here):
    """``concurrency`` Locust users, each with one request under way at any time."""

    def __init__(self, target: Target, concurrency: int) -> None:
        self._concurrency = concurrency
        self._environment = Environment(user_classes=[user_class(target)], stop_timeout=STOP_TIMEOUT_S)
        self.recorder = Recorder(self._environment)
        self._runner = self._environment.create_local_runner()

    def start(self) -> int:
        """Starts the users, all within a second."""
        self._runner.start(self._concurrency, spawn_rate=self._concurrency, wait=True)
        return now_us()

    def stop(self) -> None:
        """Ends the users; requests under way have STOP_TIMEOUT_S to be answered."""
        self._runner.quit()


class OpenLoop(_Here):
    """One greenlet per arrival of a schedule, whether or not earlier requests have been answered.

    So a stall of the server delays every request that is due during it: latency counts from the intended start. At most
    ``connections`` requests are under way. Further requests wait in the client, at most ``outstanding`` in all. A
    request beyond that is dropped and recorded as dropped.
    """

    def __init__(
        self,
        target: Target,
        arrivals_us: np.ndarray,
        connections: int = CONNECTIONS,
        outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self._arrivals, self._outstanding = arrivals_us, outstanding
        self._free = BoundedSemaphore(connections)
        self._environment = Environment()
        self._target, self._user_class = target, user_class(target)
        self._idle: list[ArchiveUser] = []
        self._under_way, self._clock = Group(), Clock()
        self.recorder = Recorder(self._environment)

    def start(self, begin: int | None = None) -> int:
        """Starts the schedule at ``begin``. The default is a moment from now, so that the first arrivals are not
        late."""
        begin = begin or now_us() + LEAD_US
        self._scheduler = gevent.spawn(self._schedule, begin)
        return begin

    def stop(self) -> None:
        """Ends the schedule. Requests under way have STOP_TIMEOUT_S to be answered, and are then given up."""
        self._scheduler.kill()
        self._under_way.join(timeout=STOP_TIMEOUT_S)
        self._under_way.kill()
        self._clock.close()

    def _schedule(self, begin: int) -> None:
        for arrival in self._arrivals.tolist():
            due = begin + arrival
            if due > now_us():
                self._clock.sleep_until(due)
            if len(self._under_way) >= self._outstanding:
                self._target.next()  # its turn, so that the next request has its own payload
                self.recorder.drop(self._target.archive, due)
            else:
                self._under_way.spawn(self._send, due)

    def _send(self, due: int) -> None:
        try:
            with self._free:
                self._ask(due)
        except gevent.GreenletExit:  # the load has ended, and this was not answered in the time that was left
            self.recorder.give_up(self._target.archive, due)

    def _ask(self, due: int) -> None:
        # A user is one kept-alive connection. The one that was used last is the likeliest to be still open.
        user = self._idle.pop() if self._idle else self._user_class(self._environment)
        try:
            user.ask(due)
        finally:
            self._idle.append(user)
