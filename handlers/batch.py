"""The records of a batch on its way through a worker: each request, and the items that the model gets together."""

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
    """One request of the batch on its way: what was read, then its answer or the error that takes its place.

    ``asked`` is a request in tensors, ``wanted`` one for explanations. ``own``: its items are the model's own inputs.
    ``traced``: the front end makes a trace of it.
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

    ``inputs`` are the runtime's, one row per sequence or image. ``rows`` says which rows belong to each item; None
    where row i is item i. ``context`` is whatever the task's ``answer`` needs later.
    """

    inputs: tuple[Any, ...]
    rows: Sequence[range] | None = None
    context: Any = None

    def of(self, index: int) -> range:
        """The rows of item ``index``."""
        return range(index, index + 1) if self.rows is None else self.rows[index]
