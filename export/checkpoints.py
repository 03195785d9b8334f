"""Finds the kind (text or image) and the task of a user's checkpoint. Loads no weights of text models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.catalog import Model, Source
from export.errors import CheckpointError
from export.json_files import read_object
from export.tasks import TASKS
from export.text_folder import read_text_folder
from handlers.families import FAMILIES

IMAGE_TASKS = tuple(name for name, task in TASKS.items() if task.kind == "image")


def inspect(source: Source, row: Mapping[str, Any]) -> tuple[Source, str]:
    """(the source, the task). A source on the hub gets the commit that was read. Raises CheckpointError."""
    if source.kind == "hub":
        from export.hub import snapshot

        folder = snapshot(source, "give a folder on this machine with MODEL=/path.")
        return Source("hub", source.name, folder.name), task_of(folder, row)
    return source, task_of(Path(source.name), row)


def task_of(path: Path, row: Mapping[str, Any]) -> str:
    """The task of a checkpoint; ``row`` overrides the checkpoint's own. Raises CheckpointError."""
    if not path.exists():
        raise CheckpointError(f"There is no {path}; MODEL= takes a checkpoint's folder, a weights file or a hub id.")
    return _image_task(path, row) if is_image(path) else _text_task(path, row)


def is_image(path: Path) -> bool:
    """Whether a checkpoint is an image model's: a weights file, or a folder in the layout of timm or transformers."""
    if path.is_file():
        return True
    try:
        config = read_object(path / "config.json")
    except (OSError, CheckpointError):
        return False
    if config.get("model_type") in FAMILIES:
        return False
    named = [str(config.get("architecture", "")), *map(str, config.get("architectures") or [])]
    return bool(named[0]) or any(name.endswith("ForImageClassification") for name in named)


def _text_task(path: Path, row: Mapping[str, Any]) -> str:
    if row.get("architecture"):
        raise CheckpointError(
            f"ARCH is {row['architecture']} and {path} is a text model, whose config.json names its own: leave it out."
        )
    return read_text_folder(path, row).task


def _image_task(path: Path, row: Mapping[str, Any]) -> str:
    from export.images.read import read_image_model

    for key, variable in {"pooling": "POOLING", "max_length": "MAX_LENGTH"}.items():
        if row.get(key):
            raise CheckpointError(f"{variable} is {row[key]} and {path} is an image model: leave it out.")
    task = row.get("task") or IMAGE_TASKS[0]
    if task not in IMAGE_TASKS:
        raise CheckpointError(f"TASK is {task} and {path} is an image model; it may be {' or '.join(IMAGE_TASKS)}.")
    labels = Path(row["labels"]) if row.get("labels") else None
    read_image_model(path, row.get("architecture"), labels, labelled=task == IMAGE_TASKS[0])
    return task


def config_of(model: Model) -> dict[str, Any]:
    """The config.json of a model's folder on this machine. Empty if there is none."""
    if model.source.kind != "local":
        return {}
    try:
        return read_object(Path(model.source.name, "config.json"))
    except (OSError, CheckpointError):
        return {}
