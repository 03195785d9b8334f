"""The time that a batch may take. TorchServe kills a worker that answers later than its response timeout.

The duration of a batch depends on this machine and on its present load, so the worker measures it. Each forward pass
gives an estimate of the seconds per unit of work (a token, an image). With this estimate, the worker refuses requests
that would take too long, and starts no forward pass that would end too late. The estimate falls at once and rises
slowly: if it is too low, a batch gets a 503; if it is too high, the worker refuses requests for which there is time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from handlers.errors import Busy

# Shares of the response timeout.
ADMITTED = 0.5  # the estimated time of all requests of a batch, at most
STOP = 0.75  # the end of the last forward pass of a batch, at the latest
LAST = 0.9  # the same for the requests of a failed batch, which run one by one
RISE = 0.25  # share of the difference by which the estimate rises after a slower pass
FORGET = 0.9  # factor on the estimate after a refusal; else an estimate that is too high would refuse for ever


class Budget:
    """The time of one worker, whose response timeout is ``timeout_s`` seconds.

    ``rate`` is the estimate in seconds per unit of cost. It is 0 until a pass of at least ``least`` units was timed.
    Shorter passes are not timed, since most of their time is overhead.
    """

    def __init__(self, timeout_s: float = math.inf, least: int = 1) -> None:
        self.timeout_s, self.least, self.rate = timeout_s, least, 0.0
        self._began: float | None = None
        self._stop = STOP

    @contextmanager
    def batch(self, began: float) -> Iterator[None]:
        """A batch that arrived at ``began`` (time.perf_counter()). Outside of this context nothing is refused."""
        self._began, self._stop = began, STOP
        try:
            yield
        finally:
            self._began = None

    def extend(self) -> None:
        """Gives more time after a batch failed as a whole, so that short requests may still run one by one."""
        self._stop = LAST

    def learn(self, cost: float, seconds: float) -> None:
        """Updates the estimate: a forward pass of ``cost`` units took ``seconds``."""
        if cost < self.least:
            return
        found = seconds / cost
        self.rate = found if not self.rate or found < self.rate else self.rate + RISE * (found - self.rate)

    def forget(self) -> None:
        """Lowers the estimate after a request was refused as too large."""
        self.rate *= FORGET

    def seconds(self, cost: float) -> float:
        """The estimated seconds of ``cost`` units."""
        return cost * self.rate

    @property
    def admitted_s(self) -> float:
        """Seconds that the requests of a batch may take together."""
        return ADMITTED * self.timeout_s

    def most(self) -> int:
        """The largest number of units of one request, by the estimate."""
        return int(self.admitted_s / self.rate) if self.rate else 0

    def left_s(self) -> float:
        """Seconds until the last forward pass of this batch must have ended."""
        return math.inf if self._began is None else self._stop * self.timeout_s - self._elapsed()

    def suffices(self, cost: float) -> bool:
        """Whether there is time for requests of ``cost`` units together."""
        return self.seconds(cost) <= min(self.admitted_s, self.left_s())

    def check(self, cost: float) -> None:
        """Raises Busy if a forward pass of ``cost`` units would end too late."""
        if self.seconds(cost) > self.left_s():
            raise Busy("The worker had not finished this request in time; try again, or send less at once.")

    def check_reading(self) -> None:
        """Raises Busy if reading the batch's requests has taken too long."""
        if self._began is not None and self._elapsed() > self.admitted_s:
            raise Busy("The worker spent its time on reading the other requests of the batch; try again.")

    def check_answering(self) -> None:
        """Raises Busy if no time is left to write an answer."""
        if self._began is not None and self._elapsed() > LAST * self.timeout_s:
            raise Busy("The worker had no time left to write this answer; try again, or ask for less at once.")

    def _elapsed(self) -> float:
        return time.perf_counter() - (self._began or 0.0)
