"""Logits to ranked scores."""

from __future__ import annotations

import numpy as np


def best(logits: np.ndarray, count: int) -> list[tuple[int, float]]:
    """The ``count`` likeliest classes of float [C] logits as (index, softmax probability), best first."""
    exponentials = np.exp(logits - logits.max())
    count = min(count, len(logits))
    top = np.argpartition(exponentials, -count)[-count:]
    top = top[np.argsort(-exponentials[top], kind="stable")]
    total = float(exponentials.sum())
    return [(int(index), float(exponentials[index]) / total) for index in top]
