"""Writes the answer to an inference request, and converts a task's answers to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from handlers.errors import TooLarge
from handlers.open_inference import (
    BINARY,
    BINARY_SIZE,
    JSON,
    JSON_LENGTH,
    MOST_BYTES,
    SIZE,
    InferenceRequest,
    Spec,
    Tensor,
)

ITEM = Spec("item", "INT64", (-1,))  # for each row, the index of its item


@dataclass(frozen=True)
class Response:
    """The body, content type and headers of an answer."""

    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def write_answer(model: tuple[str, str], request: InferenceRequest, outputs: Mapping[str, Tensor]) -> Response:
    """The answer of ``model`` (its name and version) with those of ``outputs`` that the request asks for.

    Raises TooLarge if the answer would be larger than TorchServe allows.
    """
    wanted = request.outputs or dict.fromkeys(outputs, request.binary)
    if sum(outputs[each].nbytes for each in wanted) > MOST_BYTES:  # checked first, since writing JSON takes time
        raise _too_long()
    parts = {name: _raw(outputs[name]) for name, binary in wanted.items() if binary}
    document = {
        "model_name": model[0],
        "model_version": model[1],
        "outputs": [_described(name, outputs[name], parts.get(name)) for name in wanted],
        **({} if request.identity is None else {"id": request.identity}),
    }
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    body = b"".join((head, *parts.values()))
    if len(body) > MOST_BYTES:
        raise _too_long()
    return Response(body, BINARY, {JSON_LENGTH: str(len(head))}) if parts else Response(body)


def _described(name: str, tensor: Tensor, raw: bytes | None) -> dict[str, Any]:
    described = {"name": name, "datatype": tensor.datatype, "shape": tensor.shape}
    if raw is not None:
        return {**described, "parameters": {BINARY_SIZE: len(raw)}}
    return {**described, "data": tensor.values if tensor.datatype == "BYTES" else tensor.values.ravel()}


def _raw(tensor: Tensor) -> bytes:
    if tensor.datatype != "BYTES":
        return bytes(tensor.values.tobytes())
    elements = [each.encode() if isinstance(each, str) else each for each in tensor.values]
    return b"".join(part for each in elements for part in (SIZE.pack(len(each)), each))


def _too_long() -> TooLarge:
    return TooLarge(
        f"The answer has more than {MOST_BYTES >> 20} MiB; send fewer items, or ask for fewer or binary outputs."
    )


def columns(specs: Sequence[Spec], rows: Sequence[Any]) -> dict[str, Tensor]:
    """A tensor for each field of the records in ``rows``. The shape is [rows] if each row is a record, and [rows, k] if
    each row is a list of k records."""
    listed = bool(rows) and isinstance(rows[0], list)
    shape = (len(rows), len(rows[0])) if listed else (len(rows),)
    records = [record for row in rows for record in row] if listed else rows
    return {spec.name: _column(spec.datatype, shape, [record[spec.name] for record in records]) for spec in specs}


def _column(datatype: str, shape: tuple[int, ...], values: list[Any]) -> Tensor:
    if datatype == "BYTES":
        return Tensor(datatype, shape, values)
    return Tensor.of(np.array(values, np.float64 if datatype == "FP32" else np.int64).reshape(shape), datatype)


def columns_by_item(specs: Sequence[Spec], answers: Sequence[Sequence[Any]]) -> dict[str, Tensor]:
    """``columns`` for items with several rows each. The first tensor is ``ITEM``."""
    items = [index for index, rows in enumerate(answers) for _ in rows]
    return {
        ITEM.name: Tensor.of(np.array(items, np.int64), ITEM.datatype),
        **columns([spec for spec in specs if spec is not ITEM], [row for rows in answers for row in rows]),
    }
