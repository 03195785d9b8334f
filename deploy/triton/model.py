"""A model of Triton's Python backend: an archive's handler behind tensors. ``make triton`` copies this file to
``<model>/1/model.py``, beside the unpacked archive.

Knows Triton's requests and the context object of a handler. The handler reads and answers bodies of the Open Inference
Protocol, so each request is written as such a body. Its tensors are copied, not checked.
"""

from __future__ import annotations

import importlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
import yaml

ARCHIVE = Path(__file__).resolve().parent / "archive"
DATATYPES = {"object": "BYTES", "uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float32": "FP32"}
NUMBERS = {"UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32}
JSON_LENGTH = "Inference-Header-Content-Length"
SIZE = struct.Struct("<I")  # before each element of a BYTES tensor


class Context:
    """The context object that a handler reads. The handler sets status and headers of each answer in it."""

    def __init__(self, name: str, device: int | None) -> None:
        with (ARCHIVE / "model-config.yaml").open() as stream:
            self.model_yaml_config = yaml.safe_load(stream)
        self.manifest = json.loads((ARCHIVE / "MAR-INF" / "MANIFEST.json").read_text())
        self.model_name = name
        batch = self.model_yaml_config["batchSize"]
        self.system_properties = {"model_dir": str(ARCHIVE), "gpu_id": device, "batch_size": batch}
        self.begin([])

    def begin(self, headers: list[dict[str, str]]) -> None:
        """Begins the next batch. ``headers`` are those of its requests."""
        self._asked, self.statuses = headers, [200] * len(headers)
        self.headers: list[dict[str, str]] = [{} for _ in headers]

    def get_all_request_header(self, row: int) -> dict[str, str]:
        """The headers of a request."""
        return self._asked[row]

    def set_response_content_type(self, row: int, value: str) -> None:
        """Does nothing: Triton sets its own content type."""

    def set_response_header(self, row: int, name: str, value: str) -> None:
        """Keeps only the length of the JSON."""
        self.headers[row][name] = value

    def set_response_status(self, code: int, phrase: str, row: int) -> None:
        """Sets the HTTP status of an answer."""
        self.statuses[row] = code


class TritonPythonModel:
    """Answers Triton's batches."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads and warms up the archive; the model is ready after this. Triton logs an error's sentence."""
        config = json.loads(args["model_config"])
        self.outputs = {each["name"] for each in config["output"]}
        self.batched = int(config["max_batch_size"]) > 0
        device = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        self.context = Context(args["model_name"], device)
        sys.path.insert(0, str(ARCHIVE))
        module = importlib.import_module(Path(self.context.manifest["model"]["handler"]).stem)
        own = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
        (kind,) = [each for each in own if hasattr(each, "handle")]
        self.service = kind()
        self.service.initialize(self.context)

    def execute(self, requests: list[Any]) -> list[Any]:
        """An answer or an error for each request."""
        bodies = [self._body(request) for request in requests]
        self.context.begin([{"open-inference": "infer", JSON_LENGTH: str(length)} for _, length in bodies])
        answers = self.service.handle([{"body": body} for body, _ in bodies], self.context)
        return [self._response(row, answer) for row, answer in enumerate(answers)]

    def _body(self, request: Any) -> tuple[bytes, int]:
        """(the request as a body, the length of its JSON)."""
        described, parts = [], []
        for tensor in request.inputs():
            values = tensor.as_numpy()
            datatype = DATATYPES.get(values.dtype.name, values.dtype.name)
            raw = _elements(values) if datatype == "BYTES" else values.tobytes()
            parameters = {"binary_data_size": len(raw)}
            described.append({"name": tensor.name(), "datatype": datatype, "shape": values.shape,
                              "parameters": parameters})  # fmt: skip
            parts.append(raw)
        wanted = set(request.requested_output_names())  # all of the model's where the client names none
        document = {
            "inputs": described,
            "outputs": [] if wanted == self.outputs else [{"name": name} for name in sorted(wanted)],
            "parameters": {**json.loads(request.parameters() or "{}"), "binary_data_output": True},
        }
        head = json.dumps(document).encode()
        return b"".join((head, *parts)), len(head)

    def _response(self, row: int, answer: bytes) -> Any:
        if (status := self.context.statuses[row]) != 200:
            error = pb_utils.TritonError(json.loads(answer)["message"], _code(status))
            return pb_utils.InferenceResponse(error=error)
        at = int(self.context.headers[row].get(JSON_LENGTH, len(answer)))
        tensors = []
        for each in json.loads(answer[:at])["outputs"]:
            size = each["parameters"]["binary_data_size"]
            values = _values(each["datatype"], answer[at : at + size]).reshape(each["shape"])
            column = values.reshape(-1, 1) if self.batched and values.ndim == 1 else values
            tensors.append(pb_utils.Tensor(each["name"], column))
            at += size
        return pb_utils.InferenceResponse(tensors)


def _code(status: int) -> Any:
    """Triton's code, which its HTTP front end maps to a status: 503, 500, and 400 for every error of a client."""
    codes = {500: pb_utils.TritonError.INTERNAL, 503: pb_utils.TritonError.UNAVAILABLE}
    return codes.get(status, pb_utils.TritonError.INVALID_ARG)


def _elements(values: np.ndarray) -> bytes:
    texts = [each if isinstance(each, bytes) else str(each).encode() for each in values.ravel().tolist()]
    return b"".join(part for each in texts for part in (SIZE.pack(len(each)), each))


def _values(datatype: str, raw: bytes) -> np.ndarray:
    if datatype != "BYTES":
        return np.frombuffer(raw, NUMBERS[datatype])
    found, at = [], 0
    while at < len(raw):
        (size,) = SIZE.unpack_from(raw, at)
        found.append(raw[at + SIZE.size : at + SIZE.size + size])
        at += SIZE.size + size
    return np.array(found, dtype=object)
