"""The measurement of a server at one load. Plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seen:
    """One load: answers per second and latencies (microseconds) of each window, and the failures.

    ``processor_ms`` is the server's processor time per answer, ``client_share`` the client's share of one core.
    ``inference_ms`` is the median of the model's time that our server states; None for a peer, which states none.
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
        """Whether every request got a right answer."""
        return self.failed == 0 and self.mean > 0
