"""From TorchServe's request dict to a payload: the raw body or the parsed JSON, and how to shape the answer.

Knows the wire formats (raw bytes, JSON, KServe v1, a form with one field) and nothing of texts or images.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
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
class Shape:
    """What an item of a task looks like in JSON: the value of ``key``, or an object that has all of ``fields``.

    A task may have either or both. Without a ``key`` a raw body is refused, since an item has several parts.
    """

    key: str = ""
    fields: tuple[str, ...] = ()

    def expected(self) -> str:
        """What to send, for an error's sentence."""
        objects = "{" + ", ".join(f'"{name}": ...' for name in self.fields) + "}"
        if not self.key:
            return f'JSON {objects} or {{"instances": [{objects}, ...]}}'
        raw = "UTF-8 text" if self.key == "text" else "the bytes of a JPEG, PNG, WebP, GIF or BMP"
        pair = f", {objects}" if self.fields else ""
        return f'{raw}, or JSON {{"{self.key}": ...}}{pair} or {{"instances": [...]}}'

    def how(self) -> str:
        """How to send it with curl, for an error's sentence."""
        as_json = f"as JSON with -H 'Content-Type: application/json': {self.expected()}"
        if not self.key:
            return as_json
        raw = "with -H 'Content-Type: text/plain'" if self.key == "text" else "with curl -T file"
        return f"raw {raw}, or {as_json}"


@dataclass(frozen=True)
class Payload:
    """A request's content: ``raw`` for a bare body, else ``items`` as found in the JSON, unchecked; and the options
    that the request gave, unchecked."""

    form: Form
    raw: bytes | None
    items: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def read_payload(
    request: dict[str, Any], content_type: str | None, shape: Shape, max_items: int, options: Collection[str] = ()
) -> Payload:
    """Returns the payload of one request.

    ``request`` maps parameter names to values as TorchServe's worker passes them: ``{"body": ...}`` for a plain
    body, one entry per field for a form, and one per parameter of the query string. Of those, the ones that
    ``options`` names are taken.

    Raises RequestError, TooLarge or UnsupportedMediaType.
    """
    given = {name: request[name] for name in options if name in request} if len(request) > 1 else {}
    if given:
        request = {name: value for name, value in request.items() if name not in given}
    value, media_type = _body(request, content_type, shape)
    if isinstance(value, (dict, list)):  # decoded by TorchServe already (decode_input_request=true)
        return _from_json(value, shape, max_items, given)
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
    if not raw:
        raise RequestError(f"The request body is empty; send {shape.expected()}.")
    if media_type == "application/json" or (media_type == "" and raw[:1] in b"{["):
        return _from_json(_parse(raw), shape, max_items, given)
    if not shape.key:
        raise UnsupportedMediaType(f"This model takes no raw body; send {shape.how()}.")
    return Payload(Form.SINGLE, raw=raw, options=given)


def _body(request: dict[str, Any], content_type: str | None, shape: Shape) -> tuple[Any, str]:
    media_type = (content_type or "").split(";")[0].strip().lower()
    if "body" in request:
        return request["body"], media_type
    fields = dict(request)
    if len(fields) == 1:
        value = next(iter(fields.values()))
        # curl -d 'some text' arrives as a form whose only field has that text as its name and no value.
        if value not in ("", b""):
            return value, ""
        raise UnsupportedMediaType(
            f"The body came as a form field without a value, as curl -d sends it; send it {shape.how()}."
        )
    for name in (shape.key, "data"):
        if name and fields.get(name):
            return fields[name], ""
    if not fields:
        raise RequestError(f"The request has no readable body; send it {shape.how()}.")
    named = f", or one named {shape.key!r}" if shape.key else ""
    raise RequestError(f"The form has {len(fields)} fields; send exactly one{named}.")


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"The body is not valid JSON: {error}.") from None


def _from_json(value: Any, shape: Shape, max_items: int, given: dict[str, Any]) -> Payload:
    if not isinstance(value, dict):
        raise RequestError(f"The JSON body is {kind_of(value)}; expected an object: {shape.expected()}.")
    if "parameters" in value:
        inside = value["parameters"]
        if not isinstance(inside, dict):
            raise RequestError(f'"parameters" is {kind_of(inside)}; expected an object.')
        given = given | inside
    form, items = _items(value, shape)
    if not items:
        raise RequestError("The list is empty; send at least one item.")
    if len(items) > max_items:
        raise TooLarge(f"The request has {len(items)} items; at most {max_items} are taken: split it.")
    return Payload(form, None, tuple(items), given)


def _items(value: dict[str, Any], shape: Shape) -> tuple[Form, list[Any]]:
    if "instances" in value:
        items = value["instances"]
        if not isinstance(items, list):
            raise RequestError(f'"instances" is {kind_of(items)}; expected a list.')
        return Form.INSTANCES, [_instance(item, shape) for item in items]
    if shape.fields and all(name in value for name in shape.fields):
        return Form.SINGLE, [value]
    if shape.key and shape.key in value:
        items = value[shape.key]
        return (Form.LIST, items) if isinstance(items, list) else (Form.SINGLE, [items])
    named = f'"{shape.key}"' if shape.key else " and ".join(f'"{name}"' for name in shape.fields)
    raise RequestError(f'The JSON body has no {named} and no "instances"; send {shape.expected()}.')


def _instance(item: Any, shape: Shape) -> Any:
    """An instance's item: an object with the task's fields stays whole, one with the key gives its value."""
    if not isinstance(item, dict) or not shape.key or (shape.fields and all(name in item for name in shape.fields)):
        return item
    return item.get(shape.key, item.get("b64"))


def kind_of(value: Any) -> str:
    """Names a JSON value's type as a client knows it; never shows the value, which may be private."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
