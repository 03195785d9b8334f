"""Scores and rankings from logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from handlers.errors import RequestError

SHOWN = 20  # labels in an error message
# Outputs of a runtime that ranks classes itself: int [N, K], likeliest first, and their softmax probabilities, float.
BEST = ("best_classes", "best_scores")
FEW = 8  # up to so many classes are ranked by one search each; the ranking kernel needs a power of two


def scored(logits: np.ndarray, function: str) -> np.ndarray:
    """Scores of float [..., C] logits by ``Settings.head["scores"]``: "softmax", "sigmoid" or "none"."""
    if function == "softmax":
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return shares
    if function == "sigmoid":
        # The exponent is never positive, since exp of a large logit would overflow.
        small = np.exp(-np.abs(logits))
        found: np.ndarray = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
        return found
    return logits


def ranked(scores: np.ndarray) -> list[tuple[int, float]]:
    """float [N] as (index, score), best first. Equal scores keep their order."""
    order = np.argsort(-scores, kind="stable")
    return list(zip(order.tolist(), scores[order].tolist(), strict=True))


def label_index(label: str | None, labels: Sequence[str], scores: np.ndarray) -> int:
    """The index of ``label`` in ``labels``; for None, the index of the highest score, float [N]. Raises
    RequestError."""
    if label is None:
        return int(scores.argmax())
    if label not in labels:
        known = ", ".join(labels[:SHOWN]) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
        raise RequestError(f'"target" is no label of this model; its labels are {known}.')
    return labels.index(label)


Ranked = list[tuple[int, float]]  # (class, softmax probability), best first


def likeliest(outputs: Mapping[str, np.ndarray], count: int) -> list[Ranked]:
    """``best`` of a model's "logits". Uses the outputs BEST if the runtime ranked at least ``count`` classes."""
    known = outputs[BEST[0]].shape[1] if BEST[0] in outputs else 0
    if known < count and known < outputs["logits"].shape[1]:  # reading logits from a GPU takes time
        return best(outputs["logits"], count)
    return _ranked(*(outputs[name][:, :count] for name in BEST))


def best(logits: np.ndarray, count: int) -> list[Ranked]:
    """The ``count`` likeliest classes of each row of float [N, C] logits."""
    count = min(count, logits.shape[1])
    peaks = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - peaks)
    totals = exponentials.sum(axis=1, keepdims=True)
    classes = _by_passes(exponentials, count) if count <= FEW else _by_parts(logits, count)
    return _ranked(classes, np.exp(np.take_along_axis(logits, classes, axis=1) - peaks) / totals)


def _by_passes(values: np.ndarray, count: int) -> np.ndarray:
    """The columns of the ``count`` largest values of each row, int64 [N, count], largest first. Overwrites ``values``.

    For a few classes of a vocabulary of 30,522, sorting and partitioning take several times longer.
    """
    classes, rows = np.empty((len(values), count), np.int64), np.arange(len(values))
    for at in range(count):
        classes[:, at] = values.argmax(axis=1)
        values[rows, classes[:, at]] = -1.0
    return classes


def _by_parts(values: np.ndarray, count: int) -> np.ndarray:
    classes = values.argpartition(-count, axis=1)[:, -count:]
    order = np.argsort(-np.take_along_axis(values, classes, axis=1), axis=1, kind="stable")
    return np.take_along_axis(classes, order, axis=1)


def _ranked(classes: np.ndarray, scores: np.ndarray) -> list[Ranked]:
    return [list(zip(*row, strict=True)) for row in zip(classes.tolist(), scores.tolist(), strict=True)]
