"""Every endpoint of a server's five ports, and the keys that a client may send to them.

Endpoints are TorchServe 0.12's: its request handlers, the KServe paths, the workflows and the services of its protos.
"""

from __future__ import annotations

import json
from typing import Any

import grpc
import requests

from serving.config import Config
from tests.conftest import Served

INFERENCE = (
    ("GET", "/ping"), ("POST", "/predictions/null"), ("POST", "/predictions/null/1.0"),
    ("OPTIONS", "/predictions/null"),
    ("POST", "/explanations/null"), ("POST", "/invocations?model_name=null"), ("POST", "/models/null/invoke"),
    ("POST", "/null/predict"), ("POST", "/v1/models/null:predict"), ("POST", "/v1/models/null:explain"),
    ("POST", "/v2/models/null/infer"), ("POST", "/v2/models/null/explain"), ("GET", "/v2"), ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"), ("GET", "/v2/models/null"), ("GET", "/v2/models/null/ready"),
    ("POST", "/v2/models/null/versions/1.0/infer"), ("GET", "/v2/models/null/versions/1.0"),
    ("GET", "/v2/models/null/versions/1.0/ready"), ("POST", "/wfpredict/x"), ("GET", "/no/such/path"),
)  # fmt: skip
MANAGEMENT = (
    ("GET", "/models"), ("POST", "/models?url=null.mar"), ("GET", "/models/null"), ("GET", "/models/null/1.0"),
    ("GET", "/models/null/all"), ("GET", "/models/null?customized=true"), ("PUT", "/models/null?min_worker=1"),
    ("PUT", "/models/null/1.0/set-default"), ("DELETE", "/models/null"), ("DELETE", "/models/null/1.0"),
    ("OPTIONS", "/models/null"), ("GET", "/v1/models/null"), ("GET", "/workflows"), ("POST", "/workflows?url=x.war"),
    ("GET", "/workflows/x"), ("DELETE", "/workflows/x"), ("GET", "/token?type=inference"),
    ("GET", "/token?type=management"), ("POST", "/versions/null?archive=null.mar"),
    ("PUT", "/versions/null/1.0?workers=2"), ("DELETE", "/versions/null/1.0"),
    ("GET", "/no/such/path"),
)  # fmt: skip
# Open by TorchServe's design, whatever the token. Only the binding to loopback protects these.
OPEN = (
    ("inference", "OPTIONS", "/"), ("inference", "GET", "/api-description"),
    ("management", "OPTIONS", "/"), ("management", "GET", "/api-description"),
    ("metrics", "OPTIONS", "/"), ("metrics", "GET", "/api-description"), ("metrics", "GET", "/metrics"),
)  # fmt: skip

_INFERENCE_SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"
_MANAGEMENT_SERVICE = "/org.pytorch.serve.grpc.management.ManagementAPIsService/"
_OPEN_INFERENCE = "/inference.GRPCInferenceService/"
_OTHER_OPEN_INFERENCE = "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/"  # TorchServe's own
PREDICTIONS, STREAM = _INFERENCE_SERVICE + "Predictions", _INFERENCE_SERVICE + "StreamPredictions"
INFER = _OPEN_INFERENCE + "ModelInfer"
GRPC_INFERENCE = (
    *(_INFERENCE_SERVICE + name for name in ("Ping", "Predictions", "StreamPredictions", "StreamPredictions2")),
    *(_OPEN_INFERENCE + name for name in ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata",
                                          "ModelInfer")),
)  # fmt: skip
GRPC_MANAGEMENT = tuple(
    _MANAGEMENT_SERVICE + name
    for name in ("DescribeModel", "ListModels", "RegisterModel", "ScaleWorker", "SetDefault", "UnregisterModel")
)
# Services that are not offered at all: TorchServe's own form of the other protocol, and reflection.
GRPC_ABSENT = (
    _OTHER_OPEN_INFERENCE + "ServerLive", _OTHER_OPEN_INFERENCE + "ModelInfer", _OPEN_INFERENCE + "ModelStreamInfer",
    "/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)  # fmt: skip


def keys(served: Served) -> dict[str, str]:
    """The three keys on file: "inference", "management" and "API"."""
    return {kind: entry["key"] for kind, entry in json.loads(served.directory.key_file.read_text()).items()}


def wrong_credentials(found: dict[str, str], right: str) -> dict[str, str | None]:
    """Invalid Authorization headers for an API whose key is ``right``, by the kind of error."""
    others = {f"the {kind} key": f"Bearer {key}" for kind, key in found.items() if kind != right}
    key = found[right]
    return {
        "none": None, "empty": "", "wrong": "Bearer AAAAAAAA", "no scheme": key, "another scheme": f"Basic {key}",
        "a longer key": f"Bearer {key}A", "a shorter key": f"Bearer {key[:-1]}", "two keys": f"Bearer AAAAAAAA {key}",
        "the word null": "Bearer null", "no key": "Bearer ", **others,
    }  # fmt: skip


def http(base: str, method: str, path: str, authorization: str | None, **arguments: Any) -> requests.Response:
    """One request with that Authorization header, or none."""
    headers = {} if authorization is None else {"Authorization": authorization}
    return requests.request(method, base + path, headers=headers, timeout=30, **arguments)


def refused(reply: requests.Response) -> bool:
    """Whether the server refused the token."""
    if reply.status_code != 401:
        return False
    said = reply.json()
    return said.get("type") == "InvalidKeyException" or "Token Authorization failed" in said.get("error", "")


def call(config: Config, port: str, method: str, authorization: str | None, message: bytes = b"") -> tuple[str, str]:
    """One gRPC call with a ready-made message: (status code, its detail). Messages stay bytes: no stubs are needed."""
    metadata = [] if authorization is None else [("authorization", authorization)]
    number = {key: number for number, key in config.ports().items()}[port]
    with grpc.insecure_channel(f"127.0.0.1:{number}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            list(channel.stream_stream(method)(iter([message]), metadata=metadata, timeout=15))
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def field(number: int, text: str) -> bytes:
    """A protobuf string field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(text.encode())]) + text.encode()
