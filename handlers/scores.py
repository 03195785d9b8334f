"""Logits to ranked scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handlers.errors import RequestError

SHOWN = 20  # labels in an error's sentence
TILE = 64  # classes; a power of two, so that it is a kernel's tile, too
WITHIN = np.arange(TILE)


def scored(logits: np.ndarray, function: str) -> np.ndarray:
    """Scores of float [..., C] logits by ``Settings.head["scores"]``: "softmax", "sigmoid" or "none"."""
    if function == "softmax":
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return shares
    if function == "sigmoid":
        # exp of what is not positive: that of a large logit would overflow.
        small = np.exp(-np.abs(logits))
        found: np.ndarray = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
        return found
    return logits


def ranked(scores: np.ndarray) -> list[tuple[int, float]]:
    """float [N] as (index, score), best first; equal ones in their order."""
    order = np.argsort(-scores, kind="stable")
    return list(zip(order.tolist(), scores[order].tolist(), strict=True))


def place_of(label: str | None, labels: Sequence[str], scores: np.ndarray) -> int:
    """The place of ``label`` among ``labels``, or of the best of float [N] scores for None. Raises RequestError."""
    if label is None:
        return int(scores.argmax())
    if label not in labels:
        known = ", ".join(labels[:SHOWN]) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
        raise RequestError(f'"target" is no label of this model; its labels are {known}.')
    return labels.index(label)


Ranked = list[tuple[int, float]]  # (class, softmax probability), best first


def best(logits: np.ndarray, count: int) -> list[Ranked]:
    """For each row of float [N, C] logits the ``count`` likeliest classes."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    totals, rows = exponentials.sum(axis=1), np.arange(len(logits))
    count = min(count, logits.shape[1])
    classes, scores = np.empty((len(logits), count), np.int64), np.empty((len(logits), count), logits.dtype)
    # A few vectorised argmax passes: sorting, or even partitioning, a vocabulary of 30,522 takes several times longer.
    for at in range(count):
        classes[:, at] = exponentials.argmax(axis=1)
        scores[:, at] = exponentials[rows, classes[:, at]]
        exponentials[rows, classes[:, at]] = -1.0
    return _ranked(classes, scores / totals[:, None])


def best_by_tiles(logits: np.ndarray, tops: np.ndarray, sums: np.ndarray, count: int) -> list[Ranked]:
    """``best``, from what is known of each ``TILE`` of the classes: float [N, ceil(C / TILE)], its largest logit
    (``tops``) and its sum of exp(logit - largest)."""
    classes = logits.shape[1]
    count = min(count, classes)
    peaks = tops.max(axis=1, keepdims=True)
    totals = (sums * np.exp(tops - peaks)).sum(axis=1, keepdims=True)
    # A class among the best lies in a tile whose top is among the best tops.
    tiles = tops.argpartition(-min(count, tops.shape[1]), axis=1)[:, -count:]
    columns = (tiles[:, :, None] * TILE + WITHIN).reshape(len(logits), -1)
    values = np.take_along_axis(logits, np.minimum(columns, classes - 1), axis=1)
    values[columns >= classes] = -np.inf
    order = values.argpartition(-count, axis=1)[:, -count:]
    found = np.take_along_axis(values, order, axis=1)
    by_value = (-found).argsort(axis=1)
    columns = np.take_along_axis(columns, np.take_along_axis(order, by_value, axis=1), axis=1)
    return _ranked(columns, np.exp(np.take_along_axis(found, by_value, axis=1) - peaks) / totals)


def _ranked(classes: np.ndarray, scores: np.ndarray) -> list[Ranked]:
    return [list(zip(*row, strict=True)) for row in zip(classes.tolist(), scores.tolist(), strict=True)]
