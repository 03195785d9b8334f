"""Explanations of answers: which tokens of a text, or which pixels of an image, the answer rests on.

The method is integrated gradients (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365). This module has what
its parts share: ``Target`` says which number of a model's outputs is explained, ``Chosen`` which one a task chose, and
``Explainer`` is a runtime that computes attributions. serving.py answers requests, answers.py and overlay.py write
explanations. docs/explanations.md is the page for users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

# The runtime and the variant of archives that explain (serving/front_end/java/frontend/Explanations.java has both).
RUNTIME = VARIANT = "explain"


def ask_instead(model: str, archive: str) -> str:
    """The sentence that refuses an explanation by ``archive``, an archive of ``model`` that gives none. ``null`` is the
    archive of that name without a model."""
    if archive == model:
        return f"{archive} gives no explanations: it has no model."
    return (
        f"{archive} gives no explanations; ask /explanations/{model}-{VARIANT}, an archive that this command builds: "
        f'make archive MODELS={model} VARIANTS={VARIANT}'
    )


@dataclass(frozen=True)
class Target:
    """The number that is explained, of one row of a model's outputs: the sum of ``entries``, each an output's name and
    the place of a value in that row; or, with ``vector`` (float [width]), the cosine of the output "embedding" with it.
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...] = ()
    vector: np.ndarray | None = None


@dataclass(frozen=True)
class Chosen:
    """What a task explains of an item. ``prediction`` is the task's own answer, ``output`` names the number in words,
    ``row`` is the row of the item's batch that has it. ``parts`` names the texts of a sequence of two."""

    prediction: Any
    output: str
    target: Target
    row: int
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attributed:
    """Attributions of one row, float32 [tokens] or [height, width], the explained number for the row and for its
    baseline, and how far the attributions' sum is from the difference of the two."""

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
    """The straight way from a baseline to a row, and how it is walked.

    ``inputs`` are a model's, of one row. ``baseline`` is int64 [1, tokens] of token ids, -1 for a zero vector, or
    float32 pixels [1, height, width, 3]. ``steps`` points are taken, at most ``together`` of them at a time.
    """

    inputs: tuple[np.ndarray, ...]
    baseline: np.ndarray
    steps: int
    together: int


@runtime_checkable
class Explainer(Protocol):
    """A runtime that explains."""

    def attributions(self, path: Path, target: Target, check: Callable[[int], Any]) -> Attributed:
        """The attributions along the path. ``check`` is called before each pass over so many points, and may raise."""


class Explained:
    """What of a service says how its answers are explained. ``target`` reads the option that names what to explain in
    place of the best; None where a task has none."""

    target: Any = None

    def read(self, payload: Any) -> list[Any]:
        """The payload's items, decoded. Raises RequestError."""
        raise NotImplementedError

    def read_placed(self, payload: Any) -> list[tuple[Any, dict[str, Any]]]:
        """The items, each with what an explanation says of how it was read: of an image its "frame", the part of it
        that the model sees. Raises RequestError."""
        return [(item, {}) for item in self.read(payload)]

    def chosen(self, batch: Any, outputs: Any, target: Any, options: Mapping[str, Any]) -> Chosen:
        """What is explained of the only item of ``batch``, whose outputs these are. ``target`` is the request's, None
        for the best. Raises RequestError."""
        raise NotImplementedError
