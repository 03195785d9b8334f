"""What was seen of a server at one load. Knows numbers, not who measured them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seen:
    """One load: answers per second of each window, latencies of each in microseconds, and what went wrong.

    ``processor_ms`` is the server's processor time per answer, ``client_share`` the client's of one core;
    ``inference_ms`` is the median of what ours states of its model, None of a peer, which states nothing.
    """

    requests_per_s: tuple[float, ...]
    latency_us: tuple[np.ndarray, ...]
    failed: float
    wrong: int
    errors: tuple[str, ...]
    processor_ms: float
    client_share: float
    inference_ms: float | None = None

    @property
    def mean(self) -> float:
        """Requests per second."""
        return float(np.mean(self.requests_per_s))

    @property
    def sound(self) -> bool:
        """Whether every request was answered, and rightly."""
        return self.failed == 0 and self.mean > 0
