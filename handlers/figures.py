"""What a worker tells the front end of its requests, beside their answers (docs/monitoring.md).

A line of metrics on a worker's output costs the front end a regular expression and a lookup. So figures are headers of
the answers. The front end takes those off that are not for clients
(serving/front_end/java/frontend/Series.java, Served.java).
"""

from __future__ import annotations

HEADER = "x-figures"  # of a batch's first answer: what was counted of the batch
TRACED = "x-traced"  # of a request that the front end makes a trace of
BEGAN = "x-began"  # of its answer: when its batch began, in nanoseconds of the machine's monotonic clock


class Figures:
    """Counts of what was read since they were last taken: tokens of texts, pixels of images."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, name: str, count: int) -> None:
        """Adds to the count of that name."""
        self._counts[name] = self._counts.get(name, 0) + count

    def counted(self) -> dict[str, int]:
        """The counts until now."""
        return self._counts.copy()

    def since(self, before: dict[str, int]) -> dict[str, str]:
        """What was counted since the counts were ``before``, as headers of an answer."""
        return {f"x-{name}": str(count - before.get(name, 0)) for name, count in self._counts.items()
                if count > before.get(name, 0)}  # fmt: skip

    def taken(self, batch: int) -> str:
        """The counts as the header's value, ``batch=8,tokens=120``, and from then on none; ``batch`` is the number of
        requests that the worker got at once."""
        counts, self._counts = self._counts, {}
        return ",".join(f"{name}={count}" for name, count in {"batch": batch, **counts}.items())


def stages(started: float, collated: float, inferred: float, ended: float) -> dict[str, str]:
    """The headers with the time of each stage of a batch, in ms, of the times between them, in seconds."""
    found = {"preprocess": collated - started, "inference": inferred - collated, "postprocess": ended - inferred}
    return {f"x-{name}-ms": f"{seconds * 1e3:.3f}" for name, seconds in found.items()}
