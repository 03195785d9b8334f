"""Requests that are wrong, one of each kind that users send: every one must be a 4xx and touch nobody else.

Knows bodies and content types by task. What each is answered with is the handlers' business.
"""

from __future__ import annotations

from export.catalog import Model
from loadtest.load.payloads import Payload, payloads

TEXT = (
    Payload("empty", b"", "text/plain"),
    Payload("not-utf-8", b"\xff\xfe\xfd", "text/plain"),
    Payload("half-json", b'{"text": ', "application/json"),
    Payload("a-number", b'{"text": 5}', "application/json"),
    Payload("too-many", b'{"text": [' + b'"a", ' * 64 + b'"a"]}', "application/json"),
    Payload("too-long", b"a " * 60_000, "text/plain"),
)
IMAGE = (
    Payload("empty", b"", "image/png"),
    Payload("no-image", b"not an image" * 100, "image/png"),
    Payload("no-base64", b'{"image": "%%"}', "application/json"),
    Payload("no-field", b'{"picture": ""}', "application/json"),
)


def bad_payloads(model: Model) -> tuple[Payload, ...]:
    """What ``model`` must refuse; for images also a real one cut short."""
    if model.kind != "image":
        return TEXT
    good = payloads(model)[0]
    return (*IMAGE, Payload("cut-short", good.body[: len(good.body) // 2], good.content_type))
