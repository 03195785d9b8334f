"""Data that JSON Schema cannot describe, for schemathesis: image files, and values that fit a tensor's shape.

schemathesis loads this file where SCHEMATHESIS_HOOKS names it (docs/api-reference.md).
"""

from __future__ import annotations

import base64
import io
import itertools
import math
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

SEVEN = (Path(__file__).resolve().parents[2] / "handlers/samples/seven.png").read_bytes()
MASK = 103  # BERT's, which fill-mask looks for
PLACE = "an image file"  # a placeholder in a form; it is a string until the request is sent


def as_jpeg(png: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


# Every model of images accepts these; digits refuses an image without ink.
FILES = st.sampled_from([SEVEN, as_jpeg(SEVEN)])
schemathesis.openapi.format("image-base64", FILES.map(lambda file: base64.b64encode(file).decode()))
schemathesis.openapi.format("image-file", st.just(PLACE))
for kind in ("jpeg", "png", "webp", "gif", "bmp"):
    schemathesis.openapi.media_type(f"image/{kind}", FILES)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Sends an image in a form, and tensors whose shapes fit their values, where the schema allows both. Invalid values
    are left as they are, so that the server has to refuse them."""
    if not isinstance(case.body, dict):
        return
    case.body = _whole(case.body)
    if case.body.get("image") == PLACE:
        case.body = {**case.body, "image": SEVEN}
    inputs = case.body.get("inputs")  # of the Open Inference Protocol
    if isinstance(inputs, list) and inputs and all(map(_fits, inputs)):
        case.body = {**case.body, "inputs": _own(inputs) or [_flat(each) for each in inputs]}


def _whole(value: Any) -> Any:
    """The value with 18 for 18.0: JSON Schema treats them as equal, the server accepts only the first."""
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _fits(tensor: Any) -> bool:
    """Whether a tensor's shape and values are each of a valid type."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("data"), list) or not tensor["data"]:
        return False
    shape = tensor.get("shape")
    whole = isinstance(shape, list) and bool(shape) and all(type(size) is int and 0 < size <= 512 for size in shape)
    return whole and len({type(value) for value in _values(tensor)}) == 1 and [] not in tensor["data"]


def _values(tensor: dict[str, Any]) -> list[Any]:
    nested = [each if isinstance(each, list) else [each] for each in tensor["data"]]
    return list(itertools.chain.from_iterable(nested))


def _flat(tensor: dict[str, Any]) -> dict[str, Any]:
    """A tensor of one size, of texts or files."""
    values = _values(tensor)[:64]
    shapes = {1: [len(values)], 2: [len(values), 1]}
    shape = shapes.get(len(tensor["shape"]))
    right = shape and (len(tensor["shape"]) == 1 or tensor["shape"][1] == 1)
    return {**tensor, "data": values, "shape": shape} if right else tensor


def _own(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The model's own inputs, each once and of one item; empty for others."""
    found = {tensor["name"]: tensor for tensor in inputs if isinstance(tensor.get("name"), str)}
    if "pixels" in found and len(found["pixels"]["shape"]) == 4:
        shape = [1, *found["pixels"]["shape"][1:]]
        return [{**found["pixels"], "shape": shape, "data": [7] * math.prod(shape)}]
    if "input_ids" not in found or any(type(value) is not int for each in found.values() for value in _values(each)):
        return []
    ids = [MASK, *_values(found["input_ids"])][:64]
    length = len(ids)
    values = {"input_ids": ids, "attention_mask": [1] * length, "token_type_ids": [0] * length, "mask_position": [0]}
    shapes = {"mask_position": [1]}
    return [{**each, "data": values.get(name, _values(each)), "shape": shapes.get(name, [1, length])}
            for name, each in found.items()]  # fmt: skip
