"""Logits to ranked scores."""

from __future__ import annotations

import numpy as np


def best(logits: np.ndarray, count: int) -> list[tuple[int, float]]:
    """The ``count`` likeliest classes of float [C] logits as (index, softmax probability), best first."""
    exponentials = np.exp(logits - logits.max())
    total = float(exponentials.sum())
    found = []
    # A few vectorised argmax passes: sorting, or even partitioning, a vocabulary of 30,522 takes several times longer.
    for _ in range(min(count, len(logits))):
        index = int(exponentials.argmax())
        found.append((index, float(exponentials[index]) / total))
        exponentials[index] = -1.0
    return found
