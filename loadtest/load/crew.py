"""Loads from several generator processes, for loads that are too large for one.

Decides how many processes a load needs, starts them, and merges their rows, each once. All read the same clock.
"""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from gevent.lock import RLock

from loadtest.errors import LoadTestError
from loadtest.load import cores
from loadtest.load.channel import Channel
from loadtest.load.cores import Split
from loadtest.load.engine import CONNECTIONS, LEAD_US, MAX_OUTSTANDING, ClosedLoop, Load, OpenLoop
from loadtest.load.generator import Part
from loadtest.load.rows import RequestRow
from loadtest.load.target import Target
from loadtest.load.users import now_us

MANY_USERS, USERS_EACH = 32, 16
RATE_EACH = 2_000  # requests per second; one process gives out at about 5,000
TAKE_EVERY_S = 0.2  # rows are brought in little by little, so that it never takes long
END_WITHIN_S = 5
ROOT = Path(__file__).resolve().parents[2]


def needed(users: Sequence[int], rates: Sequence[float]) -> int:
    """The number of processes that the largest of these loads needs."""
    closed = [count // USERS_EACH for count in users if count >= MANY_USERS]
    return max([1, *closed, *(math.ceil(rate / RATE_EACH) for rate in rates)])


def processes(asked: int, users: Sequence[int], rates: Sequence[float]) -> int:
    """The number of processes for these loads: ``asked``; if that is 0, as many as are needed and have a core.

    Raises LoadTestError if ``asked`` is more than the number of cores.
    """
    if asked > (most := cores.usable()):
        raise LoadTestError(f"PROCESSES={asked} is more than the {most} cores here; name fewer, or leave it out.")
    return asked or min(needed(users, rates), cores.room())


class Member:
    """A generator process. It starts at once, and answers one call at a time."""

    def __init__(self, cpus: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "loadtest.load.generator", str(theirs.fileno()), ",".join(map(str, cpus))]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._channel, self._free = Channel(ours), RLock()

    def ask(self, name: str, *given: Any) -> Any:
        """The process's answer. Raises LoadTestError if it fails or has ended."""
        try:
            with self._free:
                self._channel.send((name, given))
                answer, error = self._channel.receive()
        except (EOFError, OSError):
            status = self._process.wait(END_WITHIN_S)
            raise LoadTestError(f"A generator process ended (status {status}); see its message above.") from None
        if error:
            raise LoadTestError(error)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._channel.close()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Several:
    """A load of which every member sends a part. ``scheduled``: an open loop."""

    def __init__(self, members: Sequence[Member], target: Target, apart: bool, scheduled: bool) -> None:
        self._members, self._target, self._scheduled = members, target, scheduled
        self.processes, self.apart = len(members), apart
        self._rows, self._failed = list[RequestRow](), list[LoadTestError]()
        self._free, self._over = RLock(), False

    def start(self) -> int:
        """Starts all parts at the same instant, or with the users of a closed loop within a second."""
        begin = [now_us() + LEAD_US * len(self._members)] if self._scheduled else []
        began: list[int] = self._all(lambda member: member.ask("start", *begin))
        self._taker = gevent.spawn(self._keep_taking)
        return max(began)

    @property
    def rows(self) -> list[RequestRow]:
        """All rows so far. Rows that were fetched together are in order of completion. Raises LoadTestError."""
        if not self._over:
            self._take("take", self._target.token.get())
        if self._failed:
            raise self._failed[0]
        return self._rows

    def processor_s(self) -> tuple[float, ...]:
        """Seconds of processor time so far, of each generator process and of this process."""
        return (*self._all(lambda member: member.ask("processor_s")), time.process_time())

    def stop(self) -> None:
        """Ends all parts at once and keeps their last rows."""
        self._taker.kill()
        self._take("stop")
        self._over = True

    def _keep_taking(self) -> None:
        while not self._failed:
            gevent.sleep(TAKE_EVERY_S)
            try:
                self._take("take", self._target.token.get())
            except LoadTestError as error:
                self._failed.append(error)

    def _take(self, *asked: Any) -> None:
        with self._free:
            parts = self._all(lambda member: [RequestRow(*values) for values in member.ask(*asked)])
            self._keep(parts)

    def _keep(self, parts: Sequence[Sequence[RequestRow]]) -> None:
        self._rows += sorted((row for part in parts for row in part), key=lambda row: row.ended_us)

    def _all(self, ask: Callable[[Member], Any]) -> list[Any]:
        """The answers of all members, asked in parallel. Raises the first error after all have answered."""
        asked = [gevent.spawn(_quietly, ask, member) for member in self._members]
        answers = [each.get() for each in asked]
        for answer in answers:
            if isinstance(answer, LoadTestError):
                raise answer
        return answers


def _quietly(ask: Callable[[Member], Any], member: Member) -> Any:
    try:
        return ask(member)
    except LoadTestError as error:
        return error


class Crew:
    """Makes loads with as many processes as each needs, up to ``most``, or with exactly ``asked`` processes.

    ``split`` has their cores. The first load that needs the processes starts them, and later loads use them again.
    """

    def __init__(self, most: int = 1, split: Split | None = None, asked: bool = False) -> None:
        self._most, self._asked, self._apart = most, asked, split.apart if split else ()
        self._members: list[Member] = []

    def closed(self, target: Target, users: int) -> Load:
        """A closed loop of ``users`` users."""
        count = min(self._count([users], []), users)
        if count == 1:
            return ClosedLoop(target, users)
        shares = [users // count + (number < users % count) for number in range(count)]
        return self._prepared(target, "closed", [(share,) for share in shares])

    def open(self, target: Target, arrivals_us: np.ndarray) -> Load:
        """An open loop that keeps this schedule."""
        busiest = np.bincount(arrivals_us // 1_000_000).max(initial=0)
        count = self._count([], [float(busiest)])
        if count == 1:
            return OpenLoop(target, arrivals_us)
        bounds = CONNECTIONS // count, MAX_OUTSTANDING // count
        return self._prepared(target, "open", [(arrivals_us[number::count], *bounds) for number in range(count)])

    def close(self) -> None:
        """Ends the processes."""
        for member in self._members:
            member.close()
        self._members.clear()

    def _count(self, users: Sequence[int], rates: Sequence[float]) -> int:
        return self._most if self._asked else min(self._most, needed(users, rates))

    def _prepared(self, target: Target, kind: str, parts: Sequence[tuple[Any, ...]]) -> Load:
        while len(self._members) < len(parts):
            number = len(self._members)
            self._members.append(Member(self._apart[number % len(self._apart)] if self._apart else ()))
        members = self._members[: len(parts)]
        for number, (member, part) in enumerate(zip(members, parts, strict=True)):
            member.ask(kind, Part.of(target, number, len(parts)), *part)
        return Several(members, target, bool(self._apart), kind == "open")

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.close()
