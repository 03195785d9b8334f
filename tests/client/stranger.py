"""A program of a user who has the client and nothing else of this project; run by the Python of an empty environment.

Needs the addresses of the inference and the management API, the key file, and an image of a seven.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tsi_client
from tsi_client import AsyncClient, Client, KeyFile

inference, management, key_file, seven = *sys.argv[1:3], *map(Path, sys.argv[3:5])
TEXT, IMAGE = "minilm-torchscript", "digits-torchscript"


def fails(kind: type[tsi_client.Error], says: str, call: Any, *arguments: Any, **settings: Any) -> None:
    """The call raises exactly this error, with the server's message."""
    try:
        call(*arguments, **settings)
    except tsi_client.Error as error:
        assert type(error) is kind and says in str(error), repr(error)
    else:
        raise AssertionError(f"no {kind.__name__}")


def answers(client: Client) -> list[Any]:
    """Text, image, lists, options and tensors."""
    files = [seven, seven.read_bytes()]
    return [
        client.predict(TEXT, "hello world"),
        client.predict(TEXT, ["one", "two"]),
        client.predict(IMAGE, seven),
        client.predict(IMAGE, files, parameters={"top_k": 2}),
        client.infer(TEXT, {"text": ["one", "two"]}),
        client.infer(IMAGE, {"image": files}, outputs=["label"], parameters={"top_k": 1}),
        client.infer(IMAGE, {"pixels": np.zeros((1, 32, 32, 3), np.uint8)}),
        client.metadata(IMAGE),
        client.ready(TEXT),
        client.ready(),
        client.request("GET", "/ping").json(),
    ]


async def awaited(token: Any) -> list[Any]:
    """The same requests with the async client, all at once."""
    files = [seven, seven.read_bytes()]
    async with AsyncClient(inference, token) as client:
        try:
            await client.predict("nobody", "x")
        except tsi_client.NotFound as error:
            assert error.message == "Model not found: nobody"
        return await asyncio.gather(
            client.predict(TEXT, "hello world"),
            client.predict(TEXT, ["one", "two"]),
            client.predict(IMAGE, seven),
            client.predict(IMAGE, files, parameters={"top_k": 2}),
            client.infer(TEXT, {"text": ["one", "two"]}),
            client.infer(IMAGE, {"image": files}, outputs=["label"], parameters={"top_k": 1}),
            client.infer(IMAGE, {"pixels": np.zeros((1, 32, 32, 3), np.uint8)}),
            client.metadata(IMAGE),
            client.ready(TEXT),
            client.ready(),
            client.request("GET", "/ping"),
        )


def same(one: Any, other: Any) -> bool:
    """Whether two answers agree; batches of other sizes round differently."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, np.ndarray)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(abs(one - other) < 1e-3) if isinstance(one, (float, np.floating)) else bool(one == other)


keys = KeyFile(key_file, management)
with Client(inference, keys) as client:
    found = answers(client)
    assert len(found[0]["embedding"]) == 384 and len(found[1]["embeddings"]) == 2
    assert found[2]["predictions"][0]["label"] == "7" and [len(each) for each in found[3]["predictions"]] == [2, 2]
    assert found[4]["embedding"].shape == (2, 384) and found[4]["embedding"].dtype == np.float32
    assert same(found[4]["embedding"], np.array(found[1]["embeddings"]))
    assert {name: array.tolist() for name, array in found[5].items()} == {"label": [["7"], ["7"]]}
    assert found[6]["logits"].shape == (1, 10) and found[7]["name"] == IMAGE and found[8:10] == [True, True]

    fails(tsi_client.NotFound, "404: Model not found: nobody", client.predict, "nobody", "x")
    fails(tsi_client.BadRequest, "400: The text is blank", client.predict, TEXT, " ")
    fails(tsi_client.BadRequest, "it takes: text, input_ids", client.infer, TEXT, {"image": ["x"]})
    fails(tsi_client.TooLarge, "413: ", client.predict, TEXT, ["x"] * 65)
    fails(tsi_client.Unauthorized, "401: Token Authorization failed", Client(inference, "wrong").predict, TEXT, "x")
    fails(tsi_client.Unauthorized, "401: ", Client(inference).infer, TEXT, {"text": ["x"]})
    fails(tsi_client.Timeout, "within 1e-05 s", client.predict, TEXT, "x", timeout=1e-5)
    fails(tsi_client.ConnectionFailed, "refused", Client("http://127.0.0.1:9", retries=0).predict, TEXT, "x")

    # Another client renews the token meanwhile: the old one becomes invalid, and this client goes on.
    old = client.token()
    new = KeyFile(key_file, management).renew(old)
    assert new != old and same(client.predict(TEXT, "hello world"), found[0]) and client.token() == new
    fails(tsi_client.Unauthorized, "401: ", Client(inference, old).predict, TEXT, "x")

there = asyncio.run(awaited(keys))
assert all(same(one, other) for one, other in zip(found[:-1], there[:-1], strict=True)) and there[-1].ok
# One client, and a token that is renewed while it asks.
with Client(inference, keys) as client:
    until, asked = time.monotonic() + 1, 0
    while time.monotonic() < until or asked < 5:
        if asked % 5 == 2:
            KeyFile(key_file, management).renew(client.token())
        assert client.predict("null", "x") == {"predictions": []}
        asked += 1
print(*(name for name in ("torch", "ts", "requests", "serving", "handlers") if importlib.util.find_spec(name)), "fine")
