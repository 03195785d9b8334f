"""Turns a text, an image or a document into a prediction, as a ``Call``."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tsi_client.exchange import Call

EXPECTED = "a text, an image file (a path, or its bytes), a dict that is sent as JSON, or a list of one of these"
BYTES = (bytes, bytearray, memoryview)


def prediction(
    model: str, data: Any, version: str | None, parameters: Mapping[str, Any] | None, timeout: float | None
) -> Call:
    """The call that asks ``model`` about ``data``. Raises TypeError for other kinds of data, OSError for an unreadable
    file."""
    path = f"/predictions/{quote(model, safe='')}" + (f"/{quote(version, safe='')}" if version else "")
    content, content_type = _raw(data) if not parameters else None, ""
    if content is None:
        document = {**_document(data), **({"parameters": dict(parameters)} if parameters else {})}
        return Call("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"}, timeout=timeout)
    content_type = "text/plain; charset=utf-8" if isinstance(data, str) else "application/octet-stream"
    return Call("POST", path, content, {"Content-Type": content_type}, timeout=timeout)


def _raw(data: Any) -> bytes | None:
    """The bytes of a text or a file; None for data that is sent as JSON."""
    if isinstance(data, str):
        return data.encode()
    return file_bytes(data) if isinstance(data, (*BYTES, os.PathLike)) else None


def file_bytes(data: Any) -> bytes:
    """The bytes of the file at a path. Bytes are returned as they are."""
    return Path(data).read_bytes() if isinstance(data, os.PathLike) else bytes(data)


def _document(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return dict(data)
    many = isinstance(data, Sequence) and not isinstance(data, (str, *BYTES))
    items = list(data) if many else [data]
    if items and all(isinstance(each, Mapping) for each in items):
        return {"instances": items}
    if items and all(isinstance(each, str) for each in items):
        return {"text": items if many else data}
    if items and all(isinstance(each, (*BYTES, os.PathLike)) for each in items):
        images = [base64.b64encode(file_bytes(each)).decode() for each in items]
        return {"image": images if many else images[0]}
    found = f"a list of {len(items)} items of other or mixed kinds" if many else type(data).__name__
    raise TypeError(f"data is {found}; expected {EXPECTED}")
