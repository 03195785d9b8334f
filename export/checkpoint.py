"""The record of a checkpoint. All sources of weights are converted to it, and tasks and steps read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.settings import ImageInput, TextInput


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on disk, its source, and the settings that its handler needs.

    ``directory`` has the files that archives contain (config.json, model.safetensors, tokenizer.json, labels.json).
    ``source`` is the folder or file that the checkpoint's own library loads; references are computed from it. ``head``
    is Settings.head; ``config`` the text network's config.json; ``facts`` has values that only the modules of this kind
    of model read.
    """

    directory: Path
    source: Path
    label: str
    random: bool = False
    head: dict[str, Any] = field(default_factory=dict)
    text: TextInput | None = None
    image: ImageInput | None = None
    labels: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def text_input(self) -> TextInput:
        """``text``, for a text model."""
        assert self.text is not None, f"{self.label} takes no texts"
        return self.text

    @property
    def image_input(self) -> ImageInput:
        """``image``, for an image model."""
        assert self.image is not None, f"{self.label} takes no images"
        return self.image
