"""TorchServe's own metric of each batch, written once a second instead of for each batch.

TorchServe 0.12's worker prints ``PredictionTime`` after each batch; the front end reads the line, takes it apart with a
regular expression and keeps the last value. A gauge that is scraped every few seconds needs no more than one line a
second.
"""

from __future__ import annotations

import time
from typing import Any

NAME = "PredictionTime"
SECONDS = 1.0


def thin_out(metrics: Any) -> None:
    """Has ``metrics``, TorchServe's cache of a worker's metrics, pass ``PredictionTime`` on once a second."""
    if metrics is None:
        return
    pass_on, last = metrics.add_time, float("-inf")

    def add_time(name: str, *values: Any, **more: Any) -> None:
        nonlocal last
        if name == NAME:
            now = time.monotonic()
            if now - last < SECONDS:
                return
            last = now
        pass_on(name, *values, **more)

    metrics.add_time = add_time
