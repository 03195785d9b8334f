"""Explanations of answers: the contribution of each token of a text, or of each pixel of an image, to the answer.

The method is integrated gradients (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365). This module has the
shared records. serving.py answers requests, and answers.py and overlay.py write explanations. docs/explanations.md is
the page for users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

# The runtime and the variant of archives with explanations; also in serving/front_end/java/frontend/Explanations.java.
RUNTIME = VARIANT = "explain"


def no_explanations_message(model: str, archive: str) -> str:
    """The error message for an explanation by ``archive``, an archive of ``model`` without explanations. The archive
    ``null`` has no model."""
    if archive == model:
        return f"{archive} gives no explanations: it has no model."
    return (
        f"{archive} gives no explanations; ask /explanations/{model}-{VARIANT}, an archive that this command builds: "
        f'make archive MODELS={model} VARIANTS={VARIANT}'
    )


@dataclass(frozen=True)
class Target:
    """The number that is explained, for one row of a model's outputs.

    It is the sum of ``entries``, each an output's name and the index of a value in that row. With ``vector``, float
    [width], it is the cosine of the output "embedding" and the vector.
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...] = ()
    vector: np.ndarray | None = None


@dataclass(frozen=True)
class Chosen:
    """The number that a task explains for an item.

    ``prediction`` is the task's answer, ``output`` describes the number in words, and ``row`` is its row in the item's
    batch. ``parts`` has the names of the two texts if the row is a pair of texts."""

    prediction: Any
    output: str
    target: Target
    row: int
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attributions:
    """The attributions of one row, ``values``, float32 [tokens] or [height, width].

    ``value`` and ``baseline_value`` are the explained number for the row and for its baseline. ``error`` is the
    absolute difference between the sum of the attributions and ``value - baseline_value``."""

    values: np.ndarray
    value: float
    baseline_value: float
    error: float

    @property
    def relative_error(self) -> float | None:
        """``error`` as a share of the difference; None where that is 0."""
        difference = abs(self.value - self.baseline_value)
        return self.error / difference if difference else None


@dataclass(frozen=True)
class Path:
    """The straight path of integrated gradients from a baseline to a row.

    ``inputs`` are the model's inputs for one row. ``baseline`` is int64 [1, tokens], token ids or -1 for a zero vector,
    or float32 pixels [1, height, width, 3]. Gradients are computed at ``steps`` points, at most ``together`` per pass.
    """

    inputs: tuple[np.ndarray, ...]
    baseline: np.ndarray
    steps: int
    together: int


@runtime_checkable
class Explainer(Protocol):
    """A runtime that computes attributions."""

    def attributions(self, path: Path, target: Target, check: Callable[[int], Any]) -> Attributions:
        """The attributions of ``target`` along ``path``. ``check`` is called with the number of points before each pass
        and may raise an error."""


class Explainable:
    """The part of a task that selects the explained number. ``target`` is the request option that selects another
    number than the best; None for a task without it."""

    target: Any = None

    def read(self, payload: Any) -> list[Any]:
        """The payload's items, decoded. Raises RequestError."""
        raise NotImplementedError

    def read_for_explanation(self, payload: Any) -> list[tuple[Any, dict[str, Any]]]:
        """The items, each with keys that are added to its explanation. For an image, the key is "frame": the part of
        the image that the model sees. Raises RequestError."""
        return [(item, {}) for item in self.read(payload)]

    def chosen(self, batch: Any, outputs: Any, target: Any, options: Mapping[str, Any]) -> Chosen:
        """The explained number for a ``batch`` of one item. ``target`` is the request's option; None selects the best
        number. Raises RequestError."""
        raise NotImplementedError
