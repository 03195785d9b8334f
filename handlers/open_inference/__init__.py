"""The messages of the Open Inference Protocol, version 2, over REST, and a task's requests and answers as its tensors.

The protocol: https://github.com/kserve/open-inference-protocol. Tensors are in the JSON or, by the binary tensor
extension, behind it, one after the other: https://github.com/triton-inference-server/server/blob/main/docs/protocol/
extension_binary_data.md. request.py reads bodies and answer.py writes them; both know nothing of texts, images or
models. task.py has what a task says of its tensors, token_rows.py the token ids that a client made itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The front end's header: "infer" or "metadata". It removes what a client sends under that name
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
    """A tensor that a model takes or gives. ``dims``: -1 for a size that requests choose. ``also``: datatypes that are
    taken beside ``datatype``."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    also: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """As a model's metadata has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.dims)}


@dataclass(frozen=True)
class Tensor:
    """A tensor's values: an array of ``shape``, or for BYTES a flat list, with ``str`` elements where they came in JSON
    and ``bytes`` where they came as such."""

    datatype: str
    shape: tuple[int, ...]
    values: Any

    @classmethod
    def of(cls, array: np.ndarray, datatype: str) -> Tensor:
        """The array in that datatype."""
        return cls(datatype, array.shape, np.ascontiguousarray(array, DTYPES[datatype]))

    @property
    def nbytes(self) -> int:
        """Bytes of the values, where they are numbers."""
        return 0 if self.datatype == "BYTES" else self.values.nbytes


@dataclass(frozen=True)
class Asked:
    """A request: its tensors by name, its options, and how it wants its answer. ``outputs``: the wanted ones with
    whether each is binary; empty for all, which are binary where ``binary`` is set."""

    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, bool] = field(default_factory=dict)
    binary: bool = False
    identity: str | None = None
