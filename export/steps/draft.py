"""The draft, a model on its way from eager to a variant, and the registry of the steps that change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.checkpoint import Checkpoint
from handlers.settings import TensorSpec

EAGER_FILES = ("config.json", "model.safetensors")  # files of a checkpoint folder that only the eager runtime reads


@dataclass
class Draft:
    """A model on its way from eager to a variant: the module, the worker's runtime and the files to write."""

    module: Any
    examples: tuple[Any, ...]  # one batch of input tensors, on the module's device
    checkpoint: Checkpoint
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime: str = "eager"
    settings: dict[str, Any] = field(default_factory=dict)  # fields of Settings that a step changes
    notes: list[str] = field(default_factory=list)  # notices for the user, not errors
    save: Callable[[Path], Any] | None = None  # writes the checkpoint into the stage; None: the eager files

    @property
    def is_image(self) -> bool:
        """Whether the model takes pixels."""
        return self.checkpoint.image is not None

    def dynamic_shapes(self, batch: Any, tokens: Any) -> tuple[dict[int, Any], ...]:
        """torch.export's dynamic dimensions of each input."""
        named = {"batch": batch, "tokens": tokens}
        return tuple({at: named[dim] for at, dim in enumerate(each.dims) if dim in named} for each in self.inputs)


STEPS: dict[str, Callable[[Draft], None]] = {}


class StepError(Exception):
    """A step does not exist or does not support this model."""


def step(function: Callable[[Draft], None]) -> Callable[[Draft], None]:
    """Registers a step under its function's name."""
    STEPS[function.__name__] = function
    return function


def apply(names: tuple[str, ...], draft: Draft) -> Draft:
    """Runs the named steps in order. Raises StepError with the known names."""
    for name in names:
        if name not in STEPS:
            raise StepError(f"There is no step {name!r}; known: {', '.join(sorted(STEPS))}.")
        STEPS[name](draft)
    return draft
