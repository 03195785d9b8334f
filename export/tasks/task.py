"""The record of a task. The build, the bench and the load test read it.

A task's module in this package has its requests and judges its answers. The module of the same name in handlers/tasks
answers. Nothing here imports torch when it is imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from export.checkpoint import Checkpoint
    from handlers.settings import TensorSpec

# The raw outputs of one request's item by name, as handlers.service.Service.outputs returns them.
Outputs = dict[str, "np.ndarray"]


@dataclass(frozen=True)
class Request:
    """A request as a client sends it."""

    body: bytes
    content_type: str = "text/plain"


def json_request(value: Any) -> Request:
    """A request with a JSON body."""
    return Request(json.dumps(value, ensure_ascii=False).encode(), "application/json")


@dataclass(frozen=True)
class Task:
    """A task of one kind of model.

    ``head`` is the kind of head, for handlers.architectures. ``example`` makes a request that any model of the task
    answers, as the catalog writes examples; ``cases`` the requests that parity is measured on; ``reference`` each
    case's raw outputs, computed by the library that users of the checkpoint load it with. ``traffic`` makes a request
    of an English sentence, for load tests; ``same`` says whether a later answer to a request is the first one.
    ``headline`` is what EXPECT is compared with: the best label, token or text of an answer to one item. ``item`` and
    ``answer`` tell users in words what the hooks of their own handlers get.
    """

    name: str
    kind: str  # "text", "image" or "none"
    head: str
    example: Callable[[Checkpoint], dict[str, str]]
    cases: Callable[[Checkpoint], list[Request]]
    reference: Callable[[Checkpoint, list[Request]], list[Outputs]]
    same: Callable[[Any, Any], bool]
    traffic: Callable[[str], Request] | None = None
    headline: Callable[[Any], str] | None = None
    pairs: bool = False  # takes two texts in one sequence
    classes: bool = True  # outputs are scores of classes, of which the best one must agree
    neighbours: bool = False  # outputs are embeddings, whose nearest neighbours must agree
    parameters: dict[str, Any] = field(default_factory=dict)  # defaults of a request's options
    item: str = ""
    answer: str = ""

    @property
    def entry(self) -> str:
        """The module of handlers/tasks that answers."""
        return self.name.replace("-", "_")


def inputs_of(task: Task, checkpoint: Checkpoint) -> tuple[TensorSpec, ...]:
    """The inputs of the task's model, in order."""
    from handlers.families import FAMILIES
    from handlers.settings import TensorSpec

    if task.kind == "image":
        image = checkpoint.image_input
        return (TensorSpec("pixels", ("batch", image.height, image.width, 3), "uint8"),)
    if task.kind != "text":
        return ()
    names = ["input_ids", "attention_mask"]
    family = FAMILIES[checkpoint.config["model_type"]]
    if task.pairs and family.token_types and checkpoint.config.get("type_vocab_size", 2) > 1:
        names.append("token_type_ids")
    specs = [TensorSpec(name, ("batch", "tokens"), "int64") for name in names]
    if task.head == "mask":
        specs.append(TensorSpec("mask_position", ("batch",), "int64"))
    return tuple(specs)


def outputs_of(task: Task, checkpoint: Checkpoint) -> tuple[TensorSpec, ...]:
    """The outputs of the task's model, in order."""
    from handlers.settings import TensorSpec

    head, config = checkpoint.head, checkpoint.config
    if task.kind == "image":
        return (TensorSpec(*(("embedding", ("batch", head["width"])) if head["features"] else
                             ("logits", ("batch", head["classes"])))),)  # fmt: skip
    specs: dict[str, Callable[[], list[tuple[str, tuple[str | int, ...]]]]] = {
        "": lambda: [],
        "pooled": lambda: [("embedding", ("batch", width_of(config)))],
        "mask": lambda: [("logits", ("batch", config["vocab_size"]))],
        "classification": lambda: [("logits", ("batch", len(checkpoint.labels)))],
        "tokens": lambda: [("logits", ("batch", "tokens", len(checkpoint.labels)))],
        "span": lambda: [("start_logits", ("batch", "tokens")), ("end_logits", ("batch", "tokens"))],
    }
    return tuple(TensorSpec(name, dims) for name, dims in specs[task.head]())


def width_of(config: dict[str, Any]) -> int:
    """The width of a text network's hidden states."""
    return int(config.get("hidden_size") or config["dim"])
