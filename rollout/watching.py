"""Watches a version's answers to clients for some seconds, and refuses it beyond the bounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rollout.asked import Bounds
from rollout.fleet import Fleet
from rollout.live import Seen
from rollout.running import Say
from rollout.tail import FEWEST
from serving.errors import ServingError

EVERY_S = 0.5
Labels = dict[str, str]  # of a version's metrics: model, variant, version (Series.java)


class Refused(ServingError):
    """The new version exceeds the bounds. The old one is served as before."""


class Watch:
    """Watches the version ``new`` of a model after it has replaced the old one. ``of`` gives a version's labels."""

    def __init__(self, fleet: Fleet, of: Callable[[str], Labels], new: str, bounds: Bounds, say: Say) -> None:
        self._fleet, self._of, self._new, self._bounds, self._say = fleet, of, new, bounds, say
        self._usual = 0  # requests of clients in WATCH seconds before the exchange
        self._limits: list[tuple[float, str]] = []  # (the largest p99 in seconds, the text of this bound)
        if bounds.p99_ms < math.inf:
            self._limits.append((bounds.p99_ms / 1e3, f"MAX_P99_MS={bounds.p99_ms:g} is allowed"))

    def learn(self, old: str) -> None:
        """Measures the old version's p99 from WATCH seconds of clients' requests."""
        before = self.now(old)
        time.sleep(self._bounds.watch_s)
        times = self.now(old).since(before).times
        self._usual = times.count
        said = f"{old} answered {times.count} requests of clients in {self._bounds.watch_s:g} s; {times}"
        usual = times.surely_within()
        if usual is None:
            self._say(f"{said}, from too few to compare with: {FEWEST} are needed")
            return
        most = self._bounds.p99_ratio * usual
        self._limits.append((most, f"MAX_P99_RATIO={self._bounds.p99_ratio:g} times {1e3 * usual:g} ms, which that of "
                                   f"{old} kept within, are allowed"))  # fmt: skip
        self._say(said)

    def now(self, version: str) -> Seen:
        """A version's counts since the start, on all servers together."""
        return self._fleet.seen(self._of(version))

    def watch(self, before: Seen) -> None:
        """Returns after WATCH seconds within the bounds. Raises Refused beyond them."""
        end = time.monotonic() + self._bounds.watch_s
        while True:
            now = self.now(self._new).since(before)
            self._judge(now)
            if time.monotonic() >= end:
                break
            time.sleep(min(EVERY_S, self._bounds.watch_s))
        self._say(f"{now.answered} requests of clients in {self._bounds.watch_s:g} s, {now.failed} of them failed; "
                  f"{now.times}")  # fmt: skip

    def require_answers(self, before: Seen) -> None:
        """Raises Refused if the new version has answered no request of clients although many came before. A request
        that hangs counts neither as an answer nor as an error until it times out."""
        if self._usual >= FEWEST and not self.now(self._new).since(before).answered:
            raise Refused(
                f"it has answered no request of clients; {self._usual} came in the same time before"
            )

    def _judge(self, now: Seen) -> None:
        if now.failed > self._bounds.errors:
            raise Refused(
                f"it failed on {now.failed} of {now.answered + now.failed} requests of clients; "
                f"MAX_ERRORS={self._bounds.errors} is allowed"
            )
        for most, allowed in self._limits:
            if now.times.is_above(most):
                raise Refused(
                    f"{now.times.slower(most)} of {now.times.count} requests of clients took longer than "
                    f"{1e3 * now.times.edge(most):g} ms, {now.times}; {allowed}"
                )
