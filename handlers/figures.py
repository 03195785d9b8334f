"""What a worker counts of its requests, for the front end, which adds it to /metrics (docs/monitoring.md).

A line of metrics on a worker's output costs the front end a regular expression and a lookup. So the figures of a batch
go out as one header of its first answer, which the front end takes off (serving/front_end/java/frontend/Series.java).
"""

from __future__ import annotations

HEADER = "x-figures"


class Figures:
    """Counts of what was read since they were last taken: tokens of texts, pixels of images."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, name: str, count: int) -> None:
        """Adds to the count of that name."""
        self._counts[name] = self._counts.get(name, 0) + count

    def taken(self, batch: int) -> str:
        """The counts as the header's value, ``batch=8,tokens=120``, and from then on none; ``batch`` is the number of
        requests that the worker got at once."""
        counts, self._counts = self._counts, {}
        return ",".join(f"{name}={count}" for name, count in {"batch": batch, **counts}.items())
