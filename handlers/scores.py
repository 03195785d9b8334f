"""Logits to ranked scores."""

from __future__ import annotations

import numpy as np

TILE = 64  # classes; a power of two, so that it is a kernel's tile, too
WITHIN = np.arange(TILE)


def scored(logits: np.ndarray, function: str) -> np.ndarray:
    """Scores of float [..., C] logits by ``Settings.head["scores"]``: "softmax", "sigmoid" or "none"."""
    if function == "softmax":
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return exponentials / exponentials.sum(axis=-1, keepdims=True)
    if function == "sigmoid":
        # exp of what is not positive: that of a large logit would overflow.
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return logits


def ranked(scores: np.ndarray) -> list[tuple[int, float]]:
    """float [N] as (index, score), best first; equal ones in their order."""
    order = np.argsort(-scores, kind="stable")
    return list(zip(order.tolist(), scores[order].tolist(), strict=True))


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


def best_by_tiles(logits: np.ndarray, tops: np.ndarray, sums: np.ndarray, count: int) -> list[tuple[int, float]]:
    """``best``, from what is known of each ``TILE`` of the classes: float [ceil(C / TILE)], its largest logit
    (``tops``) and its sum of exp(logit - largest)."""
    count = min(count, len(logits))
    peak = tops.max()
    total = sums @ np.exp(tops - peak)
    # A class among the best lies in a tile whose top is among the best tops.
    tiles = tops.argpartition(-min(count, len(tops)))[-count:]
    columns = (tiles[:, None] * TILE + WITHIN).ravel()
    columns = columns[columns < len(logits)]
    values = logits[columns]
    order = values.argpartition(-count)[-count:]
    order = order[values[order].argsort()[::-1]]
    scores = np.exp(values[order] - peak) / total
    return list(zip(columns[order].tolist(), scores.tolist(), strict=True))
