"""Copies of clients' requests for the new version, before it answers any (SHADOW=60s).

The front end sends the copies and keeps both answers in its memory (frontend/Mirror.java). This module fetches the
answers over loopback and compares them. It keeps only whether they agree, and the times of both.
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rollout.asked import Bounds
from rollout.fleet import Fleet
from rollout.latency import FEWEST, Speeds, speeds
from rollout.running import Say
from rollout.watching import Refused

EVERY_S = 0.5
LAST_S = 10.0  # for the answers that are under way at the end

Agree = Callable[[bytes, bytes], "bool | None"]


@dataclass
class Found:
    """``asked``: requests of clients that were to be copied; ``skipped``: those that were not, since the new version
    was busy or the client got no answer; ``unread``: pairs of answers that cannot be compared. Times in seconds."""

    asked: int = 0
    skipped: int = 0
    failed: int = 0
    different: int = 0
    agreed: int = 0
    unread: int = 0
    old: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """The percentage of the compared copies that were answered differently."""
        return 100 * self.different / max(1, self.different + self.agreed)

    def add(self, pair: dict[str, Any], agree: Agree) -> None:
        """Adds one pair of answers."""
        if pair["status"] >= 500:
            self.failed += 1
            return
        same = agree(b64decode(pair["old"]), b64decode(pair["new"])) if pair["status"] == 200 else False
        self.unread += same is None
        self.different += same is False
        self.agreed += same is True
        self.old.append(pair["old_ms"] / 1e3)
        self.new.append(pair["new_ms"] / 1e3)

    def speeds(self) -> Speeds | None:
        """The p99 of both versions; None for too few copies."""
        return speeds(self.old, self.new) if len(self.old) >= FEWEST else None

    def __str__(self) -> str:
        copied = self.agreed + self.different + self.failed + self.unread
        unread = f", {self.unread} cannot be compared" if self.unread else ""
        return (
            f"{copied} of {self.asked} requests of clients were copied: {self.agreed} answered alike, "
            f"{self.different} differently, {self.failed} failed{unread}"
        )


class Shadow:
    """Sends the copies and judges their answers. ``agree`` compares two answers."""

    def __init__(self, fleet: Fleet, new: str, agree: Agree, bounds: Bounds, say: Say) -> None:
        self._fleet, self._new, self._agree, self._bounds, self._say = fleet, new, agree, bounds, say
        self._found = Found()

    def run(self) -> None:
        """Returns after SHADOW seconds, once the last copies are answered. Raises Refused beyond the bounds."""
        name, new, bounds = self._fleet.name, self._new, self._bounds
        seconds = max(1, round(bounds.shadow_s))
        try:
            self._fleet.each(lambda server: server.client.mirror(name, new, seconds, bounds.shadow_percent))
            share = f"{bounds.shadow_percent:g} % of the requests of clients"
            self._say(f"{new} gets copies of {share} for {seconds} s; no client sees its answers")
            self._collect(seconds)
        finally:
            self._fleet.undo(lambda server: server.client.end_mirror(name, new))
        self._judge()

    def _collect(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        under_way = 1
        while time.monotonic() < end or (under_way and time.monotonic() < end + LAST_S):
            time.sleep(EVERY_S)
            under_way = self._take()
            if self._found.failed > self._bounds.errors:
                break

    def _take(self) -> int:
        """Fetches the answers from every server; returns the number of copies under way."""
        replies = [server.client.mirrored(self._fleet.name, self._new) for server in self._fleet.servers]
        for reply in replies:
            for pair in reply["pairs"]:
                self._found.add(pair, self._agree)
        self._found.asked = sum(reply["asked"] for reply in replies)
        self._found.skipped = sum(reply["skipped"] for reply in replies)
        return sum(reply["under_way"] for reply in replies)

    def _judge(self) -> None:
        found, bounds, both = self._found, self._bounds, self._found.speeds()
        self._say(str(found) if found.asked else "no client asked meanwhile, so nothing was copied and compared")
        if found.failed > bounds.errors:
            raise Refused(f"{found}; MAX_ERRORS={bounds.errors} is allowed")
        if found.percent > bounds.different:
            raise Refused(
                f"{found}; MAX_DIFFERENT={bounds.different:g} percent is allowed, and {found.percent:.1f} differ"
            )
        if both:
            self._say(f"of the copies, {both}")
            if both.is_slower(bounds.p99_ratio):
                raise Refused(
                    f"of copies of clients' requests, its {both}; MAX_P99_RATIO={bounds.p99_ratio:g} is allowed"
                )
        if found.asked and not found.agreed + found.different + found.unread:
            raise Refused(f"{found}: it had no time for any copy, so its answers are unknown")
