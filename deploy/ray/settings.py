"""Checks the settings for Ray Serve. A setting that it does not support is refused by name, never ignored.

Knows the keys of config.properties and models.toml, and imports nothing of Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving import request_log, tracing
from serving.config import ADDRESSES, LARGEST_REQUEST, OPEN_PING, TOKEN_FILE, Config
from serving.errors import ServingError
from serving.plan import Plan
from serving.request_log import RequestLog
from serving.tracing import Tracing

TAKEN = {
    "inference_address", "metrics_address", "job_queue_size", "token_expiration_min", "disable_token_authorization",
    "blacklist_env_vars", LARGEST_REQUEST[0], OPEN_PING, TOKEN_FILE, request_log.FILE, request_log.MEGABYTES,
    request_log.CLIENTS, tracing.ENDPOINT, tracing.RATIO,
}  # fmt: skip
# Keys of which Ray Serve supports one value.
ONLY = {
    "enable_model_api": "false", "install_py_dep_per_model": "false", "decode_input_request": "false",
    "fair_queue": "false", "metrics_mode": "prometheus", "disable_system_metrics": "true",
}  # fmt: skip
# Limits that Ray Serve lacks, with the defaults of the committed config.properties. A default is not refused, since no
# user has set it.
COMMITTED = {"fair_queue": "true", "max_connections": "1000", "max_response_size": "16777216"}
# Settings of Java and of APIs that Ray Serve lacks, and settings that each archive has itself. A start reports that
# they have no effect.
WITHOUT_EFFECT = (
    "vmargs", "async_logging", "default_response_timeout", "management_address", "grpc_inference_address",
    "grpc_inference_port", "grpc_management_address", "grpc_management_port",
)  # fmt: skip
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
MODEL_KEYS = {"startup_timeout_s": "Ray waits for a replica as long as it takes to start"}


def check(config: Config, plan: Plan) -> list[str]:
    """Notices for the user. Raises ServingError for a setting that Ray Serve does not support."""
    for key, value in config.properties.items():
        if problem := _problem(key, value):
            raise ServingError(f"{config.path}: {key}={value}: {problem} (docs/ray.md)")
    for name, settings in plan.settings.items():
        for key in settings.keys() & MODEL_KEYS.keys():
            raise ServingError(
                f"models.toml: {key} of {name}: with Ray Serve, {MODEL_KEYS[key]}; remove the key (docs/ray.md)"
            )
    given = config.properties
    unused = [key for key, value in given.items() if value and (key in WITHOUT_EFFECT or COMMITTED.get(key) == value)]
    return [f"{', '.join(unused)}: no effect with Ray Serve (docs/ray.md)"] if unused else []


def _problem(key: str, value: str) -> str:
    """Why Ray Serve does not support the property's value; "" if it does, or if the value asks for nothing."""
    if key in TAKEN or not value or value in (ONLY.get(key), COMMITTED.get(key)):
        return ""
    if key in ONLY:
        return f"Ray Serve supports only {key}={ONLY[key]}; write that, or remove the line"
    if key not in WITHOUT_EFFECT:
        return "Ray Serve has no such setting; remove the line, or serve with TorchServe"
    if key.endswith("_address") and (urlsplit(value).hostname or value) not in LOOPBACK:
        return "Ray Serve has no such API to open to other machines; write 127.0.0.1, or remove the line"
    return ""


def address(config: Config, key: str) -> tuple[str, int]:
    """(host, port) of an API. Raises ServingError for https, which is not supported here."""
    given = config.properties.get(key) or f"http://127.0.0.1:{ADDRESSES[key]}"
    parts = urlsplit(given)
    if parts.scheme != "http":
        raise ServingError(f"{key}={given}: Ray Serve has no TLS here; write http://, and end TLS in a proxy before it")
    return parts.hostname or "127.0.0.1", parts.port or ADDRESSES[key]


def watch(config: Config, environment: Mapping[str, str], logs: Path | None) -> dict[str, Any]:
    """The settings of metrics, request log and traces that each front gets (deploy/ray/watch/__init__.py). ``logs`` is
    the folder for the request log "-", which is printed; None on a cluster, which has none. Raises ServingError."""
    beside = config.path.resolve().parent
    traces, log = Tracing.of(config.properties, environment), RequestLog.of(config.properties, beside, logs or beside)
    if log and log.printed and logs is None:
        raise ServingError("request_log=-: on a cluster nobody would see it; name a file, which each machine has")
    host, port = address(config, "metrics_address")
    found: dict[str, Any] = {"metrics": {"host": host, "port": port}}
    if log:
        found["log"] = {"path": str(log.path), "most": log.size, "clients": log.clients}
    if traces:
        named = {key: environment[key] for key in (tracing.BASE, tracing.EXACT) if environment.get(key)}
        found["traces"] = {"ratio": traces.ratio, "environment": {**named, **traces.environment}}
    return found
