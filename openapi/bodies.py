"""The valid requests to a model, by media type, as JSON Schema. The handlers accept exactly these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.options import Number, OneOf, Option, Text, Whole
from openapi.models import Model

Schema = dict[str, Any]
IMAGES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp")
COMMON_MASK = "[MASK]"  # handlers.tasks.fill_mask understands it whatever the model's own mask is
NOT_BLANK = r"\S"


def request_body(model: Model) -> Schema:
    """A request body of /predictions."""
    content = {"application/json": {"schema": json_body(model)}}
    shape = model.service.shape
    if model.kind == "image":
        file = {"description": "The bytes of the image.", "format": "image-file", "type": "string"}
        content |= {kind: {"schema": {"contentMediaType": kind, **file}} for kind in IMAGES}
    elif shape.key:
        text = {"type": "string", "minLength": 1} if model.kind == "none" else text_schema(model)
        content["text/plain"] = {"schema": text, **_example(model.example.get("text"))}
    if model.kind != "none":
        content["multipart/form-data"] = {"schema": form(model)}
    return {"required": True, "content": content}


def _example(value: Any) -> Schema:
    return {} if value is None else {"example": value}


def json_body(model: Model) -> Schema:
    """A JSON body of /predictions: one item, a list of items, or KServe's instances."""
    service = model.service
    shape, item = service.shape, item_schema(model)
    if not shape.key:
        forms = [_parts("One item", model)]
    else:
        one = item or {"type": ["string", "number", "boolean", "object", "null"]}
        each = {"anyOf": [item, _record(_fields(model))]} if shape.fields else item
        forms = [_keyed("One item", model, one), _keyed("Several items", model, _list(model, each))]
        if shape.fields:
            forms.insert(1, _parts("One item of two parts", model))
    return {"anyOf": [*forms, instances(model)]}


def _keyed(title: str, model: Model, value: Schema) -> Schema:
    return _object(title, {model.service.shape.key: value}, model)


def _parts(title: str, model: Model) -> Schema:
    return _object(title, _fields(model), model)


def instances(model: Model) -> Schema:
    """KServe v1's body."""
    service = model.service
    item = item_schema(model)
    each: list[Schema] = [item or {"type": ["string", "number", "boolean", "array", "null"]}]  # an object is a record
    if service.shape.key:
        names = [service.shape.key, *(["b64"] if model.kind == "image" else [])]
        each += [_record({name: item}) for name in names]
    if service.shape.key and service.shape.fields:
        each.insert(1, _record(_fields(model)))
    item = each[0] if len(each) == 1 else {"anyOf": each}
    return _object("KServe v1", {"instances": _list(model, item)}, model)


def item_schema(model: Model) -> Schema:
    """One item in JSON."""
    if model.kind == "none":
        return {}
    if model.kind == "image":
        described = "The file in base64: JPEG, PNG, WebP, GIF or BMP. A data: URL is accepted too."
        return {
            "type": "string",
            "format": "image-base64",
            "minLength": 1,
            "contentEncoding": "base64",
            "description": described,
        }
    return text_schema(model) if model.service.shape.key else _record(_fields(model))


def text_schema(model: Model) -> Schema:
    """A text; for fill-mask, one with a mask."""
    found = {"type": "string", "minLength": 1, "maxLength": model.max_chars, "pattern": NOT_BLANK}
    if model.mask:
        masks = dict.fromkeys((COMMON_MASK, model.mask))
        found["pattern"] = "|".join(each.replace("[", r"\[").replace("]", r"\]") for each in masks)
        found["description"] = f"A text with one {model.mask} or several."
    return found


def _fields(model: Model) -> dict[str, Schema]:
    """The parts of an item. If an item has one of one part and several of another, by its tensors, the latter is a
    list."""
    service = model.service
    one = {spec.name for spec in service.input_specs() if spec.dims == (1,)}
    text = text_schema(model)
    return {name: _list(model, text) if one and name not in one else text for name in service.shape.fields}


def _record(fields: Mapping[str, Schema]) -> Schema:
    """An object of these fields, which are all required, and no others."""
    return {"type": "object", "required": list(fields), "properties": dict(fields), "additionalProperties": False}


def _list(model: Model, item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": model.max_items}


def _object(title: str, fields: Mapping[str, Schema], model: Model) -> Schema:
    """A body with these fields and the options."""
    record = _record(fields)
    return {"title": title, **record, "properties": {**record["properties"], "parameters": parameters(model)}}


def parameters(model: Model) -> Schema:
    """The object of options in a JSON body."""
    found = {name: option_schema(model, name, each) for name, each in model.options.items()}
    return {"type": "object", "properties": found, "additionalProperties": model.own_handler}


def option_schema(model: Model, name: str, option: Option) -> Schema:
    """An option's value: a number, or its digits in a string."""
    if isinstance(option, Text):
        named = model.labels and "classification" in model.task and name == "target"
        text = {"minLength": 1, "maxLength": option.longest, "pattern": NOT_BLANK}
        return {"type": "string", **({"enum": list(model.labels)} if named else text)}
    if isinstance(option, Whole):
        number = {"type": "integer", "minimum": option.low, "maximum": option.high}
        pattern = f"^0{{0,4}}(?:{digits(option.low, option.high)})$"
        return {"anyOf": [number, {"type": "string", "pattern": pattern}]}
    if isinstance(option, Number):
        return {"type": ["number", "string"], "minimum": option.low, "maximum": option.high}
    if isinstance(option, OneOf):
        return {"type": "string", "enum": list(option.values)}
    return {}


def digits(low: int, high: int) -> str:
    """A regular expression of the whole numbers from ``low`` to ``high``. If ``low`` is above 1, it matches any."""
    if low > 1:
        return "[0-9]+"
    most = str(high)
    found = ["0"] * (low == 0) + [f"[1-9][0-9]{{0,{len(most) - 2}}}"] if len(most) > 1 else []
    for at, digit in enumerate(most):
        least = 0 if at else 1
        if int(digit) > least:
            found.append(f"{most[:at]}[{least}-{int(digit) - 1}][0-9]{{{len(most) - at - 1}}}")
    return "|".join([*found, most])


def form(model: Model) -> Schema:
    """A multipart form: a field for each part of an item, and one for each option."""
    service = model.service
    fields: dict[str, Schema]
    if model.kind == "image":
        fields = {"image": {"type": "string", "format": "image-file", "minLength": 1, "contentMediaType": "image/jpeg"}}
    elif service.shape.key:
        fields = {service.shape.key: text_schema(model)}
    else:
        fields = _fields(model)
    options = {name: option_schema(model, name, each) for name, each in model.options.items()}
    return {**_record(fields), "properties": {**fields, **options}}
