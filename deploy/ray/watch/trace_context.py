"""The trace that a request belongs to, after W3C's Trace Context, and whether the request is recorded in it.

serving/front_end/java/frontend/TraceContext.java does the same.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

PARENT, STATE = "traceparent", "tracestate"
HEADER = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
SAMPLED = 1


@dataclass(frozen=True)
class TraceContext:
    """``trace`` has 32 hexadecimal digits. ``parent`` has 16, or is None if the request begins the trace. ``state`` is
    the header of other vendors, unchanged."""

    trace: str
    parent: str | None
    state: str | None
    recorded: bool

    @classmethod
    def of(cls, parents: Sequence[str], states: Sequence[str], ratio: float | None) -> TraceContext | None:
        """The client's trace, or a new one for the share ``ratio`` of the requests without one; None if there is
        neither. ``parents`` are the values of the header traceparent; several values count as none. Without a ``ratio``
        nothing is recorded."""
        given = HEADER.fullmatch(parents[0].strip()) if len(parents) == 1 else None
        if given and not (given[1] == "00" and given[5]):
            recorded = ratio is not None and bool(int(given[4], 16) & SAMPLED)
            return cls(given[2], given[3], ",".join(states) or None, recorded)
        if ratio is not None and random.random() < ratio:
            return cls(f"{secrets.randbits(128) | 1:032x}", None, None, True)
        return None
