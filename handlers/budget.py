"""Seconds that a batch may take: TorchServe kills a worker that answers later than its response timeout.

The worker keeps its own clock, since neither the size of a request nor the speed of the machine that built the archive
says how long a batch takes here, now. It learns from each forward pass what a unit (a token, an image) costs, refuses
what would take too long before it runs, and begins no pass that would end too late. An estimate that is too low costs
the batch a 503, so it may fall at once; one that is too high would refuse what fits, so it rises slowly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from handlers.errors import Busy

# Shares of the response timeout.
ADMITTED = 0.5  # what the requests of a batch may take together, as estimated
STOP = 0.75  # when the last forward pass must have ended
LAST = 0.9  # the same where the batch's requests run one by one, after the stop
RISE = 0.25  # how much of the way an estimate rises with each slower pass
FORGET = 0.9  # what a refusal leaves of the estimate, so that a slow hour is not remembered for ever


class Budget:
    """The time of one worker, whose response timeout is ``timeout_s`` seconds.

    ``rate`` is seconds per unit of cost, 0 until a pass of at least ``least`` units was timed: short ones are mostly
    overhead.
    """

    def __init__(self, timeout_s: float = math.inf, least: int = 1) -> None:
        self.timeout_s, self.least, self.rate = timeout_s, least, 0.0
        self._began: float | None = None
        self._stop = STOP

    @contextmanager
    def batch(self, began: float) -> Iterator[None]:
        """A batch that TorchServe sent at ``began``, by time.perf_counter(). Outside of it nothing is refused."""
        self._began, self._stop = began, STOP
        try:
            yield
        finally:
            self._began = None

    def extend(self) -> None:
        """The batch was stopped: what is short may still run, request by request."""
        self._stop = LAST

    def learn(self, cost: float, seconds: float) -> None:
        """A forward pass of ``cost`` units took ``seconds``."""
        if cost < self.least:
            return
        found = seconds / cost
        self.rate = found if not self.rate or found < self.rate else self.rate + RISE * (found - self.rate)

    def forget(self) -> None:
        """A request was refused for its size alone."""
        self.rate *= FORGET

    def seconds(self, cost: float) -> float:
        """What ``cost`` units are likely to take."""
        return cost * self.rate

    @property
    def admitted_s(self) -> float:
        """Seconds that the requests of a batch may take together."""
        return ADMITTED * self.timeout_s

    def most(self) -> int:
        """Units that one request may have."""
        return int(self.admitted_s / self.rate) if self.rate else 0

    def left_s(self) -> float:
        """Seconds until the last forward pass of this batch must have ended."""
        return math.inf if self._began is None else self._stop * self.timeout_s - self._elapsed()

    def suffices(self, cost: float) -> bool:
        """Whether requests of ``cost`` units together leave none of them without time."""
        return self.seconds(cost) <= min(self.admitted_s, self.left_s())

    def check(self, cost: float) -> None:
        """Raises Busy where a forward pass of ``cost`` units would end too late."""
        if self.seconds(cost) > self.left_s():
            raise Busy("The worker had not finished this request in time; try again, or send less at once.")

    def check_reading(self) -> None:
        """Raises Busy where reading the requests has used up the time for answering them."""
        if self._began is not None and self._elapsed() > self.admitted_s:
            raise Busy("The worker spent its time on reading the other requests of the batch; try again.")

    def check_answering(self) -> None:
        """Raises Busy where no time is left to write an answer."""
        if self._began is not None and self._elapsed() > LAST * self.timeout_s:
            raise Busy("The worker had no time left to write this answer; try again, or ask for less at once.")

    def _elapsed(self) -> float:
        return time.perf_counter() - (self._began or 0.0)
