"""The models that a document is about: those of archives, or one of each task with the catalog's limits."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from export.catalog import MODELS, PHOTO, TEXT
from export.tasks import TASKS
from handlers.explanations import RUNTIME, VARIANT
from handlers.explanations.serving import options_of
from handlers.options import Option
from handlers.service import Service
from handlers.settings import Settings
from serving.identity import read_config

MOST_LABELS = 50  # a model with more labels lists none
SHOWN = "torchscript"  # the variant in the names of a document without archives


@dataclass(frozen=True)
class Model:
    """A model as its clients see it.

    ``name`` is the archive's; ``settings`` is None without an archive. ``own_handler``: a user's handler may change the
    answers and add options. ``explains``: the model answers /explanations. Without ``predicts``, only /explanations is
    described. ``explanation``: the description is of a request for an explanation.
    """

    name: str
    task: str
    max_items: int = 64
    max_chars: int = 0
    mask: str = ""
    labels: tuple[str, ...] = ()
    example: dict[str, Any] = field(default_factory=dict)
    settings: Settings | None = None
    own_handler: bool = False
    explains: bool = False
    predicts: bool = True
    explanation: bool = False

    @property
    def options(self) -> dict[str, Option]:
        """The options of a request."""
        return options_of(self.service, self.kind) if self.explanation else self.service.all_options()

    @property
    def kind(self) -> str:
        """ "text", "image" or "none"."""
        return TASKS[self.task].kind

    @property
    def service(self) -> Service:
        """An instance of the task's class, not initialized: its requests and answers can be described without
        weights."""
        module = import_module(f"handlers.tasks.{TASKS[self.task].entry}")
        classes = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Service)]
        (found,) = [each for each in classes if each.__module__ == module.__name__]
        return found()


def of_archive(path: Path) -> Model:
    """The model in an archive that this project built. Raises ServingError for one that cannot be read."""
    settings = Settings.read(read_config(path)[1]["archive"], str(path))
    return Model(
        path.stem, settings.task, settings.max_items, settings.text.max_chars if settings.text else 0,
        settings.text.mask_token if settings.text else "", _labels(path), settings.example, settings,
        own_handler=bool(_read(path, "record.json").get("handler")), explains=settings.runtime == RUNTIME,
    )  # fmt: skip


def _read(path: Path, entry: str) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(entry)) if entry in archive.namelist() else {}


def _labels(path: Path) -> tuple[str, ...]:
    found = tuple(_read(path, "labels.json"))
    return found if len(found) <= MOST_LABELS else ()


def of_each_task() -> list[Model]:
    """A model of each task: the catalog's first, or one that is named as its task; and those that explain."""
    shown = [_shown(task) for task in TASKS]
    return [*shown, *(_explaining(each) for each in shown if each.kind != "none")]


def _explaining(model: Model) -> Model:
    """The archive that explains the model's answers."""
    return replace(model, name=f"{model.name.removesuffix(SHOWN)}{VARIANT}", explains=True, predicts=False)


def _shown(task: str) -> Model:
    row = next((each for each in MODELS if each.task == task), None)
    name = row.name if row else task
    limits = {"text": TEXT, "image": PHOTO}.get(TASKS[task].kind, {})
    mask = "[MASK]" if TASKS[task].head == "mask" else ""
    example = row.example if row and "text" in row.example else {}
    suffix = "" if TASKS[task].kind == "none" else f"-{SHOWN}"
    return Model(name + suffix, task, max_chars=limits.get("max_chars", 0), mask=mask, example=example)
