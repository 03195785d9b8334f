"""From TorchServe's request dict to a payload: the raw body or the parsed JSON, and how to shape the answer.

Knows the wire formats (raw bytes, JSON, KServe v1, a form) and nothing of texts or images.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson

from handlers.errors import RequestError, TooLarge, UnsupportedMediaType

# TorchServe reads this field of /invocations to find the model, and then hands it on with the others.
ROUTING = "model_name"
GZIP = b"\x1f\x8b"  # begins no image of ours and no UTF-8 text
# What other servers call an item; a key that is spelt almost right is found without.
OTHER_NAMES = frozenset(("input", "inputs", "sentence", "sentences", "prompt", "photo", "picture", "file", "data"))
LONGEST_NAME, MOST_NAMES = 20, 10  # of the keys that are looked at


class Form(Enum):
    """How the client asked, and so how it wants to be answered."""

    SINGLE = "one item"
    LIST = "a list of items"
    INSTANCES = "KServe v1 instances"
    TENSORS = "tensors of the Open Inference Protocol"


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

    def named(self) -> str:
        """The fields of a form that hold an item, for an error's sentence."""
        return f'"{self.key}" or "data"' if self.key else " and ".join(f'"{name}"' for name in self.fields)

    def how(self) -> str:
        """How to send it with curl, for an error's sentence."""
        as_json = f"as JSON with -H 'Content-Type: application/json': {self.expected()}"
        if not self.key:
            return as_json
        raw = "with -H 'Content-Type: text/plain'" if self.key == "text" else "with curl -X POST -T file"
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
    ``options`` names are taken. A form may have the item in the field ``shape.key`` or "data", or as one field for each
    of ``shape.fields``; any other field is an error, so that no misspelt one is dropped, and no part of a text that
    curl -d calls a form is taken for the whole.

    Raises RequestError, TooLarge or UnsupportedMediaType.
    """
    given = {name: request[name] for name in options if name in request} if len(request) > 1 else {}
    if given:
        request = {name: value for name, value in request.items() if name not in given}
    value, media_type = _body(request, content_type, shape, options)
    raw = _raw(value)
    if raw is None:  # decoded by TorchServe already (decode_input_request=true)
        return _from_json(value, shape, max_items, given, options)
    if not raw:
        raise RequestError(f"The request body is empty; send {shape.expected()}.")
    if raw.startswith(GZIP):
        raise RequestError("The body is gzip, which no header says; send the header Content-Encoding: gzip.")
    if media_type == "application/json" or (media_type == "" and raw[:1] in b"{["):
        return _from_json(_parse(raw), shape, max_items, given, options)
    if not shape.key:
        raise UnsupportedMediaType(f"This model takes no raw body; send {shape.how()}.")
    return Payload(Form.SINGLE, raw=raw, options=given)


def content_type_of(headers: dict[str, Any]) -> str | None:
    """The content type of a request's body; None where it has none, or is a form."""
    parameter = headers.get("body")
    return parameter.get("content-type") if isinstance(parameter, dict) else None


def _body(request: dict[str, Any], content_type: str | None, shape: Shape, options: Collection[str]) -> tuple[Any, str]:
    """(the body, or what a form has in its place; the media type, empty for a form)."""
    if "body" in request:
        return request["body"], (content_type or "").split(";")[0].strip().lower()
    return _of_form({name: value for name, value in request.items() if name != ROUTING}, shape, options), ""


def _of_form(fields: dict[str, Any], shape: Shape, options: Collection[str]) -> Any:
    """A form's item: the value of one field, or an object of all of ``shape.fields``."""
    if not fields:
        raise RequestError(f"The request has no readable body (curl -d calls any body a form); send it {shape.how()}.")
    known = ", ".join(dict.fromkeys(filter(None, (shape.key, *shape.fields, *options))))
    whole = bool(shape.fields) and all(name in fields for name in shape.fields)
    alone = [name for name in (shape.key, "data") if name and fields.get(name, "") not in ("", b"")][:1]
    taken = shape.fields if whole else alone
    if not taken:
        unnamed = f"The form has no field {shape.named()} with content; curl -d calls any body a form"
        raise RequestError(f"{unnamed}: send yours {shape.how()}.")
    if len(fields) > len(taken):
        raise RequestError(f"The form has a field that this model does not know; it knows: {known}.")
    return {name: _field_text(name, fields[name]) for name in taken} if whole else fields[taken[0]]


def _field_text(name: str, value: Any) -> Any:
    """A field's content as text; the value of one that is JSON stays as it is."""
    raw = _raw(value)
    try:
        return value if raw is None else raw.decode()
    except UnicodeDecodeError:
        raise RequestError(f'The field "{name}" is not UTF-8 text; encode it as UTF-8.') from None


def _raw(value: Any) -> bytes | None:
    """The bytes of a body or field; None for a value that TorchServe decoded from JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"The body is not valid JSON: {error}.") from None


def _from_json(value: Any, shape: Shape, max_items: int, given: dict[str, Any], options: Collection[str]) -> Payload:
    if not isinstance(value, dict):
        raise RequestError(f"The JSON body is {kind_of(value)}; expected an object: {shape.expected()}.")
    if misplaced := next((name for name in options if name in value), None):
        raise RequestError(f'"{misplaced}" is an option; send it as {{"parameters": {{"{misplaced}": ...}}}}.')
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
    raise RequestError(f'The JSON body has no {named} and no "instances"; {_meant(value, shape)} {shape.expected()}.')


def _meant(value: dict[str, Any], shape: Shape) -> str:
    """The word "send", after a question where the object has one of an item's keys under another name."""
    names = [name for name in (shape.key, *shape.fields) if name and name not in value]
    for given in itertools.islice((key for key in value if len(key) < LONGEST_NAME), MOST_NAMES):
        alike = names[:1] if given in OTHER_NAMES else difflib.get_close_matches(given, names, 1)
        if alike:
            return f'did you mean "{alike[0]}" by "{given}"? Send'
    return "send"


def _instance(item: Any, shape: Shape) -> Any:
    """An instance's item: an object with the task's fields stays whole, one with the key gives its value."""
    if not isinstance(item, dict) or not shape.key or (shape.fields and all(name in item for name in shape.fields)):
        return item
    return item.get(shape.key, item.get("b64"))


def kind_of(value: Any) -> str:
    """Names a JSON value's type as a client knows it; never shows the value, which may be private."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
