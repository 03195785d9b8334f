"""From TorchServe's request dict to a payload: the raw body or the parsed JSON, and how to shape the answer.

Knows the wire formats (raw bytes, JSON, KServe v1, a form with one field) and nothing of texts or images.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from handlers.errors import RequestError, TooLarge, UnsupportedMediaType


class Form(Enum):
    """How the client asked, and so how it wants to be answered."""

    SINGLE = "one item"
    LIST = "a list of items"
    INSTANCES = "KServe v1 instances"


@dataclass(frozen=True)
class Payload:
    """A request's content: ``raw`` for a bare body, else ``items`` as found in the JSON, unchecked."""

    form: Form
    raw: bytes | None
    items: tuple[Any, ...] = ()


def read_payload(request: dict[str, Any], content_type: str | None, key: str, max_items: int) -> Payload:
    """Returns the payload of one request.

    ``request`` maps parameter names to values as TorchServe's worker passes them: ``{"body": ...}`` for a plain
    body, one entry per field for a form. ``key`` is the JSON key of an item ("text" or "image").

    Raises RequestError, TooLarge or UnsupportedMediaType.
    """
    value, media_type = _body(request, content_type, key)
    if isinstance(value, (dict, list)):  # decoded by TorchServe already (decode_input_request=true)
        return _from_json(value, key, max_items)
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
    if not raw:
        raise RequestError(f"The request body is empty; send {_expected(key)}.")
    if media_type == "application/json" or (media_type == "" and raw[:1] in b"{["):
        return _from_json(_parse(raw), key, max_items)
    return Payload(Form.SINGLE, raw=raw)


def _body(request: dict[str, Any], content_type: str | None, key: str) -> tuple[Any, str]:
    media_type = (content_type or "").split(";")[0].strip().lower()
    if "body" in request:
        return request["body"], media_type
    fields = dict(request)
    if len(fields) == 1:
        name, value = next(iter(fields.items()))
        # curl -d 'some text' arrives as a form whose only field has that text as its name and no value.
        if value not in ("", b""):
            return value, ""
        raise UnsupportedMediaType(
            f"The body came as a form field without a value, as curl -d sends it; send it {_how(key)}."
        )
    for name in (key, "data"):
        if fields.get(name):
            return fields[name], ""
    if not fields:
        raise RequestError(f"The request has no readable body; send it {_how(key)}.")
    raise RequestError(f"The form has {len(fields)} fields; send exactly one, or one named {key!r}.")


def _expected(key: str) -> str:
    raw = "UTF-8 text" if key == "text" else "the bytes of a JPEG, PNG, WebP, GIF or BMP"
    return f'{raw}, or JSON {{"{key}": ...}} or {{"instances": [...]}}'


def _how(key: str) -> str:
    raw = "with -H 'Content-Type: text/plain'" if key == "text" else "with curl -T file"
    return f"raw {raw}, or as JSON with -H 'Content-Type: application/json': {_expected(key)}"


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"The body is not valid JSON: {error}.") from None


def _from_json(value: Any, key: str, max_items: int) -> Payload:
    if not isinstance(value, dict):
        raise RequestError(f"The JSON body is {kind_of(value)}; expected an object: {_expected(key)}.")
    if "instances" in value:
        items = value["instances"]
        if not isinstance(items, list):
            raise RequestError(f'"instances" is {kind_of(items)}; expected a list.')
        form = Form.INSTANCES
        items = [item.get(key, item.get("b64")) if isinstance(item, dict) else item for item in items]
    elif key in value:
        items = value[key]
        form = Form.LIST if isinstance(items, list) else Form.SINGLE
        items = items if isinstance(items, list) else [items]
    else:
        raise RequestError(f'The JSON body has no "{key}" and no "instances"; send {_expected(key)}.')
    if not items:
        raise RequestError("The list is empty; send at least one item.")
    if len(items) > max_items:
        raise TooLarge(f"The request has {len(items)} items; at most {max_items} are taken: split it.")
    return Payload(form, raw=None, items=tuple(items))


def kind_of(value: Any) -> str:
    """Names a JSON value's type as a client knows it; never shows the value, which may be private."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
