"""Requests of the Open Inference Protocol: good ones in JSON and binary, and invalid ones."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from hypothesis import strategies as st

from tests.trust.fuzz.case import Case
from tests.trust.fuzz.good import DIGITS, TEXTS
from tests.trust.fuzz.texts import values

SIZE = "binary_data_size"
NUMBERS = (0, 1, 2, 3, -1, 64, 65, 512, 513, 30_521, 30_522, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 10**30, 0.5, True)
SHAPES = ([1], [2], [1, 1], [0], [-1], [2**62], [2**31, 2**31], [], [1, 2], [1, 513], [65], [1] * 40, [1, 28, 28, 3])
NAMES = ("text", "image", "input_ids", "attention_mask", "token_type_ids", "mask_position", "pixels", "", "text\x00")
DATATYPES = ("BYTES", "INT64", "INT32", "UINT8", "FP32", "BOOL", "FP16", "STRING", "", None)
BINARY = (
    b"", b"abc", b"\xff" * 12, struct.pack("<I", 2**32 - 1), struct.pack("<I", 1) + b"a", bytes(64),
    struct.pack("<I", 3) + b"\xff\xfe\xfd", struct.pack("<q", 2**62) * 2,
)  # fmt: skip


def _tensor(name: str, elements: list[bytes], binary: bool) -> tuple[dict[str, Any], bytes]:
    tensor: dict[str, Any] = {"name": name, "shape": [len(elements)], "datatype": "BYTES"}
    if not binary:
        return {**tensor, "data": [each.decode() for each in elements]}, b""
    data = b"".join(struct.pack("<I", len(each)) + each for each in elements)
    return {**tensor, "parameters": {SIZE: len(data)}}, data


def _case(path: str, kind: str, document: Any, rest: bytes, golden: str = "", off: int = 0) -> Case:
    head = json.dumps(document).encode()
    length = str(len(head) + off) if rest or off else ""
    return Case(kind, path, head + rest, "application/octet-stream", golden=golden, json_length=length)


def _good(path: str, name: str, content: bytes, golden: str, binary: bool, company: bool) -> Case:
    sent = content if binary or name == "text" else base64.b64encode(content)
    tensor, rest = _tensor(name, [sent] * (2 if company else 1), binary)
    return _case(path, "good", {"inputs": [tensor], "id": "1"}, rest, golden)


def _sampled(strategy: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.integers(0, len(strategy) - 1).map(strategy.__getitem__)  # Hypothesis prints what it draws from


@st.composite
def _wrong(draw: st.DrawFn) -> dict[str, Any]:
    """A tensor whose parts may each have any value."""
    tensor: dict[str, Any] = {
        "name": draw(_sampled(NAMES)), "datatype": draw(_sampled(DATATYPES)), "shape": draw(_sampled(SHAPES)),
    }  # fmt: skip
    if draw(st.booleans()):
        tensor["parameters"] = {SIZE: draw(_sampled(NUMBERS))}
    if draw(st.booleans()):
        numbers = st.lists(_sampled(NUMBERS) | st.text(max_size=3), max_size=5)
        tensor["data"] = draw(numbers | st.lists(numbers, max_size=3) | values)
    for name in draw(st.lists(st.sampled_from(sorted(tensor)), max_size=1)):
        tensor[name] = draw(values)
    return tensor


@st.composite
def _tokens(draw: st.DrawFn) -> dict[str, Any]:
    """Token ids, most of which the model knows."""
    rows, length = draw(st.integers(1, 4)), draw(st.sampled_from((1, 3, 16, 256, 257, 512, 513)))
    ids = draw(st.lists(st.integers(0, 30_521) | st.sampled_from((-1, 30_522, 2**40)), min_size=1, max_size=4))
    count = rows * length
    tensors = [{"name": "input_ids", "shape": [rows, length], "datatype": "INT64", "data": (ids * count)[:count]}]
    if draw(st.booleans()):
        mask = draw(st.lists(st.integers(0, 2), min_size=1, max_size=3))
        tensors.append({**tensors[0], "name": "attention_mask", "data": (mask * count)[:count]})
    return {"inputs": tensors}


def cases(text_paths: st.SearchStrategy[str], image_paths: st.SearchStrategy[str]) -> st.SearchStrategy[Case]:
    """Good and hostile requests in tensors."""
    both, flag = st.one_of(text_paths, image_paths), st.booleans()
    digits = tuple(DIGITS.items())
    texts = st.builds(lambda path, text, *how: _good(path, "text", text.encode(), text, *how), text_paths,
                      _sampled(tuple(TEXTS)), flag, flag)  # fmt: skip
    images = st.builds(lambda path, digit, *how: _good(path, "image", digit[1], digit[0], *how), image_paths,
                       _sampled(digits), flag, flag)  # fmt: skip
    tokens = st.builds(lambda path, document: _case(path, "tensors", document, b""), text_paths, _tokens())
    documents = st.builds(lambda inputs, more: {"inputs": inputs, **more}, st.lists(_wrong(), max_size=3) | values,
                          st.dictionaries(st.sampled_from(("id", "parameters", "outputs")), values, max_size=2))
    off = st.sampled_from((0, 0, 0, 1, -1, 10**9))
    wrong = st.builds(lambda path, document, rest, by: _case(path, "tensors", document, rest, off=by), both, documents,
                      _sampled(BINARY), off)  # fmt: skip
    return st.one_of(texts, images, tokens, wrong, wrong, wrong)
