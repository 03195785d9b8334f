"""A gRPC program of a user who has the client with its extra and nothing else of this project; run by the Python of an
empty environment.

Needs the addresses of the gRPC port, the inference and the management API, the key file, and an image of a seven.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

import tsi_client
from tsi_client import Client, KeyFile
from tsi_client.grpc import AsyncGrpcClient, GrpcClient

port, inference, management, key_file, seven = *sys.argv[1:4], *map(Path, sys.argv[4:6])
TEXT, IMAGE = "minilm-torchscript", "digits-torchscript"
FILES = [seven, seven.read_bytes()]
IDS = {"input_ids": np.array([[101, 7592, 102]]), "attention_mask": np.ones((1, 3), np.int32)}
ASKED: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("infer", TEXT, {"text": ["one", "déjà vu"]}, {}),
    ("infer", IMAGE, {"image": FILES}, {"outputs": ["label", "score"], "parameters": {"top_k": 1}}),
    ("infer", IMAGE, {"pixels": np.zeros((1, 32, 32, 3), np.uint8)}, {"version": "1.0"}),
    ("infer", TEXT, IDS, {}),
    ("metadata", IMAGE, {}, {}),
    ("ready", TEXT, {}, {}),
]
FAILING: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("nobody", {"text": ["x"]}, {}), (TEXT, {"text": ["x"]}, {"version": "9"}), (TEXT, {"text": ["a", " "]}, {}),
    (TEXT, {"image": ["x"]}, {}), (TEXT, {"text": ["x"] * 65}, {}), (TEXT, {"text": ["x"]}, {"parameters": {"a": 1}}),
]  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two answers agree; batches of other sizes round differently."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, np.ndarray)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(abs(one - other) < 1e-3) if isinstance(one, (float, np.floating)) else bool(one == other)


def refusal(call: Any, *arguments: Any, **settings: Any) -> tuple[type, str]:
    """The error of a call."""
    try:
        call(*arguments, **settings)
    except tsi_client.Error as error:
        return type(error), str(error)
    raise AssertionError("no error")


async def awaited(token: Any) -> list[Any]:
    """The same requests with the async client, all at once."""
    async with AsyncGrpcClient(port, token) as client:
        try:
            await client.infer("nobody", {"text": ["x"]})
        except tsi_client.NotFound as error:
            assert error.message == "Model not found: nobody"
        calls = [getattr(client, call)(name, *filter(None, [given]), **more) for call, name, given, more in ASKED]
        return await asyncio.gather(*calls, client.ready())


keys = KeyFile(key_file, management)
with GrpcClient(port, keys) as client, Client(inference, keys) as rest:
    found = [getattr(client, call)(name, *filter(None, [given]), **more) for call, name, given, more in ASKED]
    over_rest = [getattr(rest, call)(name, *filter(None, [given]), **more) for call, name, given, more in ASKED]
    assert all(same(one, other) for one, other in zip(found, over_rest, strict=True)), (found, over_rest)
    assert found[0]["embedding"].shape == (2, 384) and found[0]["embedding"].dtype == np.float32
    assert found[1]["label"].tolist() == [["7"], ["7"]] and client.ready() is True
    for name, given, more in FAILING:
        ours = refusal(client.infer, name, given, **more)
        assert ours == refusal(rest.infer, name, given, **more), ours
    assert refusal(client.ready, "nobody")[0] is tsi_client.NotFound
    wrong = refusal(GrpcClient(port, "wrong").infer, TEXT, {"text": ["x"]})
    assert wrong[0] is tsi_client.Unauthorized and "401: Token Authorization failed" in wrong[1], wrong
    assert refusal(GrpcClient(port).metadata, TEXT)[0] is tsi_client.Unauthorized
    assert refusal(client.infer, TEXT, {"text": ["x"]}, timeout=1e-5)[0] is tsi_client.Timeout
    elsewhere = refusal(GrpcClient(inference, keys, retries=0).metadata, TEXT)  # the HTTP port
    assert elsewhere[0] is tsi_client.ConnectionFailed, elsewhere
    # Another client renews the token meanwhile: the old one becomes invalid, and this client goes on.
    old = rest.token()
    assert KeyFile(key_file, management).renew(old) != old
    assert same(client.infer(TEXT, {"text": ["one", "déjà vu"]}), found[0])
    assert refusal(GrpcClient(port, old).metadata, TEXT)[0] is tsi_client.Unauthorized

there = asyncio.run(awaited(keys))
assert all(same(one, other) for one, other in zip([*found, True], there, strict=True))
print(*(name for name in ("torch", "tritonclient", "grpc_tools", "serving") if importlib.util.find_spec(name)), "fine")
