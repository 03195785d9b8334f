"""The Open Inference Protocol, version 2, with binary tensors: writes arrays to a request, reads arrays from an answer.

numpy is imported when it is needed: the rest of the package works without it.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tsi_client.bodies import BYTES, file_bytes
from tsi_client.errors import BadAnswer
from tsi_client.exchange import Call
from tsi_client.reply import Reply

if TYPE_CHECKING:
    import numpy as np

JSON_LENGTH = "Inference-Header-Content-Length"
BINARY_SIZE = "binary_data_size"
DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_SIZE = struct.Struct("<I")  # before each element of a BYTES tensor


def model_path(model: str, version: str | None) -> str:
    """The path of a model and, where it is given, its version."""
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def inference(
    model: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None, version: str | None,
    parameters: Mapping[str, Any] | None, timeout: float | None,
) -> Call:  # fmt: skip
    """The call that sends ``inputs`` to ``model``. Raises TypeError for values that are no tensor, ImportError without
    numpy."""
    tensors = {name: written(name, value) for name, value in inputs.items()}
    document: dict[str, Any] = {
        "inputs": [
            {"name": name, "shape": shape, "datatype": datatype, "parameters": {BINARY_SIZE: len(data)}}
            for name, (datatype, shape, data) in tensors.items()
        ],
        "parameters": {**(parameters or {}), "binary_data_output": True},
    }
    if outputs is not None:
        document["outputs"] = [{"name": name} for name in outputs]
    head = json.dumps(document).encode()
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}
    content = b"".join((head, *(data for _, _, data in tensors.values())))
    return Call("POST", f"{model_path(model, version)}/infer", content, headers, timeout=timeout)


def written(name: str, value: Any) -> tuple[str, list[int], bytes]:
    """(a tensor's datatype, its shape, its bytes). Raises TypeError, and ImportError without numpy."""
    array = _array(value)
    if array.dtype.kind in "USO":
        datatype, data = "BYTES", b"".join(map(_element, array.ravel().tolist()))
    else:
        names = [each for each, code in DTYPES.items() if array.dtype.newbyteorder("<") == _numpy().dtype(code)]
        if not names:
            raise TypeError(f"{name} has the dtype {array.dtype}; expected texts, files, whole numbers or floats")
        datatype = names[0]
        data = array.astype(DTYPES[datatype]).tobytes()
    return datatype, list(array.shape), data


def _array(value: Any) -> np.ndarray[Any, Any]:
    """The value as an array. Texts and files stay objects, since numpy's own strings drop zeros at the end."""
    if isinstance(value, (str, os.PathLike, *BYTES)):
        value = [value]  # one text or file
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    array: np.ndarray[Any, Any] = _numpy().asarray(
        value, dtype=object if isinstance(first, (str, os.PathLike, *BYTES)) else None
    )
    return array


def _element(each: Any) -> bytes:
    if not isinstance(each, (str, os.PathLike, *BYTES)):
        raise TypeError(f"A tensor has an element of {type(each).__name__}; expected a text, a path or bytes")
    data = each.encode() if isinstance(each, str) else file_bytes(each)
    return _SIZE.pack(len(data)) + data


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError("infer() needs numpy; run: pip install numpy") from None
    return numpy


def read_tensors(reply: Reply) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of an answer by name; BYTES are arrays of str. Raises StatusError or BadAnswer."""
    body = reply.checked().content
    try:
        length = int(reply.headers.get(JSON_LENGTH) or len(body))
        rest, found = memoryview(body)[length:], {}
        for each in json.loads(body[:length])["outputs"]:
            size = each.get("parameters", {}).get(BINARY_SIZE)
            found[each["name"]] = (
                _from_json(each) if size is None else from_bytes(each["datatype"], each["shape"], rest[:size])
            )
            rest = rest[size or 0 :]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise BadAnswer(f"The answer is no message of the Open Inference Protocol: {error!r}") from None
    return found


def _from_json(tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    datatype = tensor["datatype"]
    array: np.ndarray[Any, Any] = _numpy().array(tensor["data"], object if datatype == "BYTES" else DTYPES[datatype])
    return array.reshape(tensor["shape"])


def from_bytes(datatype: str, shape: Sequence[int], data: memoryview) -> np.ndarray[Any, Any]:
    """A binary tensor as an array. Raises ValueError, KeyError or struct.error for invalid data."""
    elements: np.ndarray[Any, Any]
    if datatype != "BYTES":
        elements = _numpy().frombuffer(data, DTYPES[datatype])
        return elements.reshape(shape).copy()  # frombuffer's array cannot be written to
    elements, at = _numpy().empty(math.prod(shape), object), 0
    for index in range(elements.size):
        (size,) = _SIZE.unpack_from(data, at)
        elements[index] = bytes(data[at + _SIZE.size : at + _SIZE.size + size]).decode()
        at += _SIZE.size + size
    return elements.reshape(shape)
