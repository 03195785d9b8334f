"""The records of a batch in a worker: its requests, and the items that the model gets together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.explanations.serving import Wanted
from handlers.open_inference import Asked
from handlers.open_inference.answer import Written
from handlers.requests import Form


@dataclass
class Job:
    """One request of the batch: its parsed content, and later its response or its error.

    ``asked`` is set for a request of the Open Inference Protocol, ``wanted`` for a request for explanations. ``own``
    says that the items are the model's own inputs. ``traced`` says that the front end records a trace of the request.
    """

    form: Form = Form.SINGLE
    items: list[Any] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)
    asked: Asked | None = None
    own: bool = False
    wanted: Wanted | None = None
    traced: bool = False
    written: Written = field(default_factory=Written)
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

    def of(self, index: int) -> range:
        """The rows of item ``index``."""
        return range(index, index + 1) if self.rows is None else self.rows[index]
