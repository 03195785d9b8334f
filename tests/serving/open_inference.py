"""Requests for the tests of the Open Inference Protocol over REST and gRPC, with Triton's official clients."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from export.cases import MASKED, SAMPLES, SENTENCES
from handlers.image import decoded, prepare
from handlers.image_structure import inspect
from handlers.text import TextEncoder
from tests.conftest import MODEL_VARIANTS

IMAGES = {"digits": "seven.png", "resnet50": "flower.jpg", "photos": "coffee.jpg"}
NAMES = [f"{model}-{variant}" for model, variants in MODEL_VARIANTS.items() for variant in variants]


def tensor(triton: ModuleType, name: str, values: Any, **more: Any) -> Any:
    """An input of ``tritonclient.http`` or ``tritonclient.grpc``."""
    values = np.array(values, dtype=object) if isinstance(values, list) else values
    made = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return made.set_data_from_numpy(values, **more)


def file_of(name: str) -> bytes:
    """The image file for a model's request."""
    return (SAMPLES / IMAGES[name.split("-")[0]]).read_bytes()


def texts_of(found: np.ndarray) -> list[Any]:
    """The values; texts as strings."""
    return [each.decode() if isinstance(each, bytes) else each for each in found.ravel().tolist()]


def as_served(name: str) -> tuple[str, list[bytes]]:
    """(the input's name, its elements) of a golden case."""
    if name.split("-")[0] in IMAGES:
        return "image", [file_of(name)]
    return "text", [each.encode() for each in (SENTENCES[:4] if name.startswith("minilm") else MASKED[:2])]


def strip(width: int, height: int) -> bytes:
    """A small file of many pixels."""
    buffer = io.BytesIO()
    Image.new("L", (width, height), 7).save(buffer, "PNG")
    return buffer.getvalue()


def token_ids(store: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(ids, attention mask) of four sentences, as a client of minilm would make them."""
    with zipfile.ZipFile(store / "minilm-torchscript.mar") as archive:
        archive.extract("tokenizer.json", folder)
    tokens = TextEncoder(folder / "tokenizer.json", 256, 0).encode(list(SENTENCES[:4]))
    return tokens.input_ids, tokens.attention_mask


def pixels(store: Path) -> np.ndarray:
    """A drawn seven in the form of digits' input, uint8 [1, H, W, 3]."""
    with zipfile.ZipFile(store / "digits-torchscript.mar") as archive:
        settings = yaml.safe_load(archive.read("model-config.yaml"))["archive"]["image"]
    return prepare(decoded(inspect(file_of("digits"))), settings["preparation"])[None]


def refusal(call: Any, *arguments: Any, **more: Any) -> tuple[str, str]:
    """(status, sentence) of the official client's error."""
    with pytest.raises(InferenceServerException) as refused:
        call(*arguments, **more)
    return refused.value.status(), refused.value.message()
