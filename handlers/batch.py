"""The records of a batch in a worker: its requests, and the items that the model gets together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.explanations.serving import ExplanationRequest
from handlers.open_inference import InferenceRequest
from handlers.open_inference.answer import Response
from handlers.requests import Form


@dataclass
class Job:
    """One request of the batch: its parsed content, and later its response or its error.

    ``inference`` is set for a request of the Open Inference Protocol, and ``explanation`` for one for explanations.
    ``own`` says that the items are the model's own inputs. ``traced`` says that the front end records a trace.
    """

    form: Form = Form.SINGLE
    items: list[Any] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)
    inference: InferenceRequest | None = None
    own: bool = False
    explanation: ExplanationRequest | None = None
    traced: bool = False
    response: Response = field(default_factory=Response)
    headers: dict[str, str] = field(default_factory=dict)
    error: Exception | SystemExit | None = None


@dataclass(frozen=True)
class Batch:
    """Items ready for the runtime.

    ``inputs`` are the runtime's inputs, with one row per sequence or image. ``rows`` has the rows of each item; None
    means that row i is item i. ``context`` is data for the task's ``answer``.
    """

    inputs: tuple[Any, ...]
    rows: Sequence[range] | None = None
    context: Any = None

    def rows_of(self, index: int) -> range:
        """The rows of item ``index``."""
        return range(index, index + 1) if self.rows is None else self.rows[index]
