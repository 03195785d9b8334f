"""Reads TorchServe's request dict: the raw body or the parsed JSON, and the form of the answer.

Knows the wire formats (raw bytes, JSON, KServe v1, HTML forms) and nothing of texts or images.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson

from handlers.errors import RequestError, TooLarge, UnsupportedMediaType

# TorchServe reads this field of /invocations to find the model, and passes it to the worker with the others.
ROUTING = "model_name"
PARAMETERS = "parameters"
NOT_JSON = "application/octet-stream"  # the media type of a form's field that has the item's name
GZIP = b"\x1f\x8b"  # no supported image format and no UTF-8 text begins with these bytes
# Names of an item in the APIs of other servers, for the suggestions in errors.
OTHER_NAMES = frozenset(("input", "inputs", "sentence", "sentences", "prompt", "photo", "picture", "file", "data"))
LONGEST_NAME, MOST_NAMES = 20, 10  # limits of the search for a misspelt key


class Form(Enum):
    """The form of a request, which is also the form of its answer."""

    SINGLE = "one item"
    LIST = "a list of items"
    INSTANCES = "KServe v1 instances"
    TENSORS = "tensors of the Open Inference Protocol"


@dataclass(frozen=True)
class Shape:
    """The form of a task's item in JSON: the value of ``key``, or an object with all of ``fields``.

    A task may have one of them or both. A task without a ``key`` refuses a raw body, since its item has several parts.
    """

    key: str = ""
    fields: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of an item."""
        return tuple(dict.fromkeys(filter(None, (self.key, *self.fields))))

    def expected(self) -> str:
        """The expected body, for an error message."""
        objects = "{" + ", ".join(f'"{name}": ...' for name in self.fields) + "}"
        if not self.key:
            return f'JSON {objects} or {{"instances": [{objects}, ...]}}'
        raw = "UTF-8 text" if self.key == "text" else "the bytes of a JPEG, PNG, WebP, GIF or BMP"
        pair = f", {objects}" if self.fields else ""
        return f'{raw}, or JSON {{"{self.key}": ...}}{pair} or {{"instances": [...]}}'

    def named(self) -> str:
        """The fields of a form that hold an item, for an error message."""
        return f'"{self.key}" or "data"' if self.key else _quoted(self.fields)

    def how(self) -> str:
        """How to send an item with curl, for an error message."""
        as_json = f"as JSON with -H 'Content-Type: application/json': {self.expected()}"
        if not self.key:
            return as_json
        raw = "with -H 'Content-Type: text/plain'" if self.key == "text" else "with curl -X POST -T file"
        return f"raw {raw}, or {as_json}"


@dataclass(frozen=True)
class Payload:
    """A request's content: the body ``raw``, or the unchecked ``items`` of a JSON body; and the unchecked options."""

    form: Form
    raw: bytes | None
    items: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def read_payload(
    request: dict[str, Any], content_type: str | None, shape: Shape, max_items: int, options: Collection[str] = ()
) -> Payload:
    """Returns the payload of one request.

    ``request`` maps parameter names to values, as TorchServe's worker passes them: ``{"body": ...}`` for a plain body,
    one entry per field of a form, and one entry per parameter of the query string. The entries named in ``options`` are
    options. A form has the item in the field ``shape.key``, a body in the field "data", or one field for each of
    ``shape.fields``. Any other field or key is an error, since it may be a misspelt name or a part of a text: curl -d
    sends every body as a form.

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
        raise RequestError("The body is gzip, but no header says so; send the header Content-Encoding: gzip.")
    if media_type == "application/json" or (media_type == "" and raw[:1] in b"{["):
        return _from_json(_parse(raw, media_type, shape), shape, max_items, given, options)
    if not shape.key:
        raise UnsupportedMediaType(f"This model takes no raw body; send {shape.how()}.")
    return Payload(Form.SINGLE, raw=raw, options=given)


def content_type_of(headers: dict[str, Any]) -> str | None:
    """The content type of a request's body; None for a body without one and for a form."""
    parameter = headers.get("body")
    return parameter.get("content-type") if isinstance(parameter, dict) else None


def _body(request: dict[str, Any], content_type: str | None, shape: Shape, options: Collection[str]) -> tuple[Any, str]:
    """(the body, or the item of a form; the media type, as ``_of_form`` returns it for a form)."""
    if "body" in request:
        return request["body"], (content_type or "").split(";")[0].strip().lower()
    return _of_form({name: value for name, value in request.items() if name != ROUTING}, shape, options)


def _of_form(fields: dict[str, Any], shape: Shape, options: Collection[str]) -> tuple[Any, str]:
    """(a form's item: the value of one field, or an object of all of ``shape.fields``; its media type). The media type
    is empty for the field "data", which may be JSON like a body."""
    if not fields:
        raise RequestError(f"The request has no readable body (curl -d calls any body a form); send it {shape.how()}.")
    known = ", ".join(dict.fromkeys((*shape.names, *options)))
    whole = _has_all_fields(fields, shape)
    alone = [name for name in (shape.key, "data") if name and fields.get(name, "") not in ("", b"")][:1]
    taken = shape.fields if whole else alone
    if not taken:
        unnamed = f"The form has no field {shape.named()} with content; curl -d calls any body a form"
        raise RequestError(f"{unnamed}: send yours {shape.how()}.")
    if len(fields) > len(taken):
        raise RequestError(f"The form has a field that this model does not know; it knows: {known}.")
    if whole:
        return {name: _field_text(name, fields[name]) for name in taken}, NOT_JSON
    return fields[taken[0]], NOT_JSON if taken[0] == shape.key else ""


def _field_text(name: str, value: Any) -> Any:
    """A field's content as text. A value that TorchServe decoded from JSON is returned unchanged."""
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


def _parse(raw: bytes, media_type: str, shape: Shape) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = "" if media_type or shape.key != "text" else "; send a text that begins so with Content-Type: text/plain"
        raise RequestError(f"The body is not valid JSON: {error}{text}.") from None


def _from_json(value: Any, shape: Shape, max_items: int, given: dict[str, Any], options: Collection[str]) -> Payload:
    if not isinstance(value, dict):
        raise RequestError(f"The JSON body is {kind_of(value)}; expected an object: {shape.expected()}.")
    if misplaced := next((name for name in options if name in value), None):
        raise RequestError(f'"{misplaced}" is an option; send it as {{"parameters": {{"{misplaced}": ...}}}}.')
    if PARAMETERS in value:
        inside = value[PARAMETERS]
        if not isinstance(inside, dict):
            raise RequestError(f'"parameters" is {kind_of(inside)}; expected an object.')
        given = given | inside
    form, items = _items(value, shape)
    if not items:
        raise RequestError("The list is empty; send at least one item.")
    if len(items) > max_items:
        raise TooLarge(f"The request has {len(items)} items; at most {max_items} are accepted: split it.")
    return Payload(form, None, tuple(items), given)


def _items(value: dict[str, Any], shape: Shape) -> tuple[Form, list[Any]]:
    if "instances" in value:
        items = value["instances"]
        if not isinstance(items, list):
            raise RequestError(f'"instances" is {kind_of(items)}; expected a list.')
        _require_only(value, ("instances",), shape, "The JSON body", PARAMETERS)
        return Form.INSTANCES, [_instance(item, shape, f"Instance {at}") for at, item in enumerate(items)]
    if _has_all_fields(value, shape):
        _require_only(value, shape.fields, shape, "The JSON body", PARAMETERS)
        return Form.SINGLE, [value]
    if shape.key and shape.key in value:
        items = value[shape.key]
        _require_only(value, (shape.key,), shape, "The JSON body", PARAMETERS)
        form, items = (Form.LIST, items) if isinstance(items, list) else (Form.SINGLE, [items])
        for at, item in enumerate(items):
            if _has_all_fields(item, shape):
                _require_only(item, shape.fields, shape, f"Item {at}")
        return form, items
    named = f'"{shape.key}"' if shape.key else _quoted(shape.fields)
    meant = _suggestion(value, [name for name in shape.names if name not in value], OTHER_NAMES)
    raise RequestError(
        f'The JSON body has no {named} and no "instances"; {f"{meant} Send" if meant else "send"} {shape.expected()}.'
    )


def _suggestion(keys: Iterable[str], names: list[str], others: Collection[str] = ()) -> str:
    """The question "did you mean ...?" if one of ``keys`` is similar to one of ``names`` or is one of ``others``; else
    an empty string. The suggestion for ``others`` is the first name."""
    for given in itertools.islice((key for key in keys if len(key) < LONGEST_NAME), MOST_NAMES):
        alike = names[:1] if given in others else difflib.get_close_matches(given, names, 1)
        if alike:
            return f'did you mean "{alike[0]}" by "{given}"?'
    return ""


def _has_all_fields(item: Any, shape: Shape) -> bool:
    """Whether ``item`` is an object with all fields of an item."""
    return isinstance(item, dict) and bool(shape.fields) and all(name in item for name in shape.fields)


def _require_only(value: dict[str, Any], taken: tuple[str, ...], shape: Shape, where: str, *also: str) -> None:
    """Raises RequestError for a key that would be ignored, since it may be misspelt."""
    left = [key for key in value if key not in taken and key not in also]
    if left:
        meant = _suggestion(left, [name for name in (*shape.names, *also) if name not in value])
        raise RequestError(f"{where} has another key besides {_quoted(taken)}; {meant or 'leave it out.'}")


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(f'"{name}"' for name in names)


def _instance(item: Any, shape: Shape, where: str) -> Any:
    """The item of an instance: the whole object if it has the task's fields, else the value of its key."""
    if not isinstance(item, dict):
        return item
    if _has_all_fields(item, shape):
        _require_only(item, shape.fields, shape, where)
        return item
    if not shape.key:
        return item  # the task reports the missing field
    if not (key := next((name for name in (shape.key, "b64") if name in item), "")):
        meant = _suggestion(item, list(shape.names), OTHER_NAMES)
        raise RequestError(f'{where} has no "{shape.key}"; {meant or f"expected {shape.expected()}."}')
    _require_only(item, (key,), shape, where)
    return item[key]


def kind_of(value: Any) -> str:
    """The name of a JSON value's type. The value itself may be private, so errors do not show it."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
