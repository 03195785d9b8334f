"""The Open Inference Protocol, version 2, over REST.

The protocol: https://github.com/kserve/open-inference-protocol. Tensors are in the JSON or, with the binary tensor
extension, in the bytes after the JSON: https://github.com/triton-inference-server/server/blob/main/docs/protocol/
extension_binary_data.md. request.py reads bodies and answer.py writes them; both know nothing of texts, images or
models. task.py has the tensors of a task. token_rows.py checks token ids that a client made.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The front end sets this header to "infer" or "metadata", and removes it from the requests of clients
# (serving/front_end/java/frontend/OpenInference.java).
WANTED, INFER = "open-inference", "infer"
JSON_LENGTH = "Inference-Header-Content-Length"
JSON, BINARY = "application/json", "application/octet-stream"
BINARY_SIZE = "binary_data_size"
MOST_BYTES = 12 << 20  # of an answer: TorchServe ends a worker whose answer exceeds max_response_size, 16 MiB
DTYPES = {"UINT8": "<u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4"}
SIZE = struct.Struct("<I")  # before each element of a binary BYTES tensor


@dataclass(frozen=True)
class Spec:
    """An input or output tensor. In ``dims``, -1 stands for a size that the request chooses. ``also`` has further
    datatypes that are accepted."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    also: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """The tensor's entry in a model's metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.dims)}


@dataclass(frozen=True)
class Tensor:
    """A tensor's values: an array of ``shape``, or for BYTES a flat list. Its elements are ``str`` from JSON and
    ``bytes`` from a binary tensor."""

    datatype: str
    shape: tuple[int, ...]
    values: Any

    @classmethod
    def of(cls, array: np.ndarray, datatype: str) -> Tensor:
        """The tensor of an array, converted to ``datatype``."""
        return cls(datatype, array.shape, np.ascontiguousarray(array, DTYPES[datatype]))

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes; 0 for BYTES."""
        return 0 if self.datatype == "BYTES" else self.values.nbytes


@dataclass(frozen=True)
class InferenceRequest:
    """An inference request: its tensors by name, its options, and the form of its answer. ``outputs`` has the requested
    outputs and whether each is binary. If it is empty, all outputs are requested, and ``binary`` holds for all."""

    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, bool] = field(default_factory=dict)
    binary: bool = False
    identity: str | None = None
