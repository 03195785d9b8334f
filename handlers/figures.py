"""Counts and times that a worker sends to the front end with its answers (docs/monitoring.md).

They are headers of the answers, since each line of metrics on a worker's output costs the front end a regular
expression and a lookup. The front end removes the headers that are not for clients
(serving/front_end/java/frontend/Series.java, Served.java).
"""

from __future__ import annotations

HEADER = "x-figures"  # of a batch's first answer: the counts of the batch
TRACED = "x-traced"  # of a request that the front end records a trace of
BEGAN = "x-began"  # of the answer to a traced request: the start of its batch, in ns of the machine's monotonic clock


class Figures:
    """Counts of tokens and pixels that were read since the last call of ``taken``."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, name: str, count: int) -> None:
        """Adds to the count of that name."""
        self._counts[name] = self._counts.get(name, 0) + count

    def counted(self) -> dict[str, int]:
        """A copy of the counts."""
        return self._counts.copy()

    def since(self, before: dict[str, int]) -> dict[str, str]:
        """The increase of the counts since ``before``, as headers of an answer."""
        return {f"x-{name}": str(count - before.get(name, 0)) for name, count in self._counts.items()
                if count > before.get(name, 0)}  # fmt: skip

    def taken(self, batch: int) -> str:
        """Returns the counts as the header's value, ``batch=8,tokens=120``, and resets them. ``batch`` is the number of
        requests in the worker's batch."""
        counts, self._counts = self._counts, {}
        return ",".join(f"{name}={count}" for name, count in {"batch": batch, **counts}.items())


def stages(started: float, collated: float, inferred: float, ended: float) -> dict[str, str]:
    """The headers with the duration of each stage of a batch, in ms. The arguments are times in seconds."""
    found = {"preprocess": collated - started, "inference": inferred - collated, "postprocess": ended - inferred}
    return {f"x-{name}-ms": f"{seconds * 1e3:.3f}" for name, seconds in found.items()}
