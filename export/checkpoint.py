"""A model's checkpoint on its way into archives: what every source is brought to, and what tasks and steps read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.settings import ImageInput, TextInput


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on disk, what it was made from, and the settings that its handler needs.

    ``directory`` has what archives carry (config.json, model.safetensors, tokenizer.json, labels.json). ``source`` is
    the folder or file as its own library loads it: references are computed from that. ``head`` is Settings.head;
    ``config`` the text network's config.json; ``facts`` what only this kind of model's own modules read.
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
