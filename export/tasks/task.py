"""The record of a task. The build, the bench and the load test read it.

A task's module in this package has its requests and compares its answers. The module of the same name in handlers/tasks
answers requests. Importing these modules does not import torch.
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

    ``head`` is the kind of head, for handlers.architectures. ``example`` makes an example, in the catalog's form, that
    any model of the task answers. ``cases`` makes the requests of the parity check, and ``reference`` computes their
    raw outputs with the library of the checkpoint's users. ``traffic`` makes a request from an English sentence, for
    load tests. ``same`` compares a later answer to a request with the first one. ``headline`` gives the best label,
    token or text of an answer to one item, for EXPECT. ``item`` and ``answer`` describe the arguments of the hooks of
    users' own handlers.
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
        """The name of the task's module in handlers/tasks."""
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
