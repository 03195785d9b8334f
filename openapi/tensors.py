"""Requests and answers of the Open Inference Protocol, as JSON Schema. The binary tensors behind the JSON are described
in words only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.open_inference import DTYPES, Spec
from handlers.open_inference.task import ANSWER, spec_of
from handlers.open_inference.token_rows import IDS, MASK, PLACE, TYPES
from handlers.options import Option
from openapi.bodies import item_schema, option_schema, text_schema
from openapi.models import Model

Schema = dict[str, Any]
OPTIONAL = (MASK, TYPES, PLACE)


def inputs(model: Model) -> tuple[list[Spec], list[Spec]]:
    """(the tensors of texts or image files, the model's own inputs, where they are known)."""
    own = [spec_of(each) for each in model.settings.inputs] if model.settings else []
    return list(model.service.input_specs()), own


def outputs(model: Model) -> tuple[list[Spec], list[Spec]]:
    """(the outputs of texts, the model's own outputs, where they are known)."""
    own = [spec_of(each) for each in model.settings.outputs] if model.settings else []
    return [ANSWER] if model.own_handler else list(model.service.answer_specs), own


def request(model: Model) -> Schema:
    """The JSON of an inference request: with texts or image files, or with the model's own inputs."""
    (given, own), (answered, raw) = inputs(model), outputs(model)
    first = {"text": "Texts", "image": "Image files"}.get(model.kind, "Anything")
    forms = [_form(model, first, given, answered, model.options)]
    if own:
        forms.append(_form(model, "The model's own inputs", own, raw, {}))
    return {"anyOf": forms} if len(forms) > 1 else forms[0]


def _form(model: Model, title: str, specs: list[Spec], answered: list[Spec], options: Mapping[str, Option]) -> Schema:
    found = {name: option_schema(model, name, each) for name, each in options.items()}
    parameters = {
        "type": ["object", "null"],
        "properties": {**found, "binary_data_output": {"type": ["boolean", "null"]}},
        "additionalProperties": model.own_handler and bool(options),
    }
    return {
        "title": title,
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": _inputs(model, specs),
            "outputs": {"type": ["array", "null"], "items": _wanted(answered)},
            "parameters": parameters,
            "id": {"type": ["string", "null"]},
            **{name: {"description": "Not read: the URL has it."} for name in ("model_name", "model_version")},
        },
        "additionalProperties": False,
    }


def _inputs(model: Model, specs: list[Spec]) -> Schema:
    """All tensors of texts or files are required, each once. Some of the model's own inputs are optional."""
    each = [_tensor(model, spec) for spec in specs]
    shape = model.service.shape
    left_out = (*OPTIONAL, *(name for name in shape.fields if shape.key and name != shape.key))
    needed = [spec.name for spec in specs if spec.name not in left_out]
    contained = [{"contains": {"properties": {"name": {"const": spec.name}}, "required": ["name"]},
                  "minContains": int(spec.name in needed), "maxContains": 1} for spec in specs]  # fmt: skip
    found = {"type": "array", "minItems": len(needed), "maxItems": len(each),
             "items": each[0] if len(each) == 1 else {"anyOf": each}}  # fmt: skip
    return {**found, "allOf": contained} if len(each) > 1 else found


def _tensor(model: Model, spec: Spec) -> Schema:
    value = _value(model, spec)
    nested = {"type": "array", "minItems": 1, "items": value}
    fields = {
        "name": {"const": spec.name},
        "datatype": {"enum": [spec.datatype, *spec.also]},
        "shape": _given_shape(model, spec),
        "data": {"type": "array", "minItems": 1, "items": {"anyOf": [value, nested]},
                 "description": "The values, flat or nested as the shape."},
    }  # fmt: skip
    return {"title": spec.name, "type": "object", "required": list(fields), "properties": fields}


def _given_shape(model: Model, spec: Spec) -> Schema:
    first = (
        {"const": spec.dims[0]} if spec.dims[0] > 0 else {"type": "integer", "minimum": 1, "maximum": model.max_items}
    )
    longest = model.settings.text.max_length if model.settings and model.settings.text else None
    tokens = {"type": "integer", "minimum": 1, **({"maximum": longest} if longest else {})}
    sizes = [first, *({"const": size} if size > 0 else tokens for size in spec.dims[1:])]
    found = _sizes(sizes)
    return {"anyOf": [found, _sizes([first, {"const": 1}])]} if len(sizes) == 1 else found


def _sizes(sizes: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}


def _value(model: Model, spec: Spec) -> Schema:
    if spec.datatype == "BYTES":
        return (
            item_schema(model)
            if model.kind == "image"
            else {"type": "string"}
            if model.kind == "none"
            else text_schema(model)
        )
    most = 255 if spec.datatype == "UINT8" else None
    if spec.name == IDS and model.settings and model.settings.text:
        most = model.settings.text.vocabulary - 1
    if spec.name in (MASK, TYPES):
        most = 1
    return {"type": "integer", "minimum": 0, **({} if most is None else {"maximum": most})}


def _wanted(specs: list[Spec]) -> Schema:
    binary = {"type": ["object", "null"], "properties": {"binary_data": {"type": ["boolean", "null"]}},
              "additionalProperties": False}  # fmt: skip
    name: Schema = {"enum": [spec.name for spec in specs]} if specs else {"not": {}}
    return {"type": "object", "required": ["name"], "properties": {"name": name, "parameters": binary}}


def answer(model: Model) -> Schema:
    """The JSON of an inference answer."""
    given, own = outputs(model)
    found = {spec.name: spec for spec in (*given, *own)}
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"const": model.name},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {
                "type": "array",
                "items": {"anyOf": [_answered(each) for each in found.values()]} if found else {},
            },
        },
        "additionalProperties": False,
    }


def _answered(spec: Spec) -> Schema:
    values = {"type": {"BYTES": "string", "FP32": "number"}.get(spec.datatype, "integer")}
    return {
        "title": spec.name,
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": spec.datatype},
            "shape": _shape(spec),
            "data": {"type": "array", "items": values},
            "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}},
        },
        "additionalProperties": False,
    }


def _shape(spec: Spec) -> Schema:
    size = {"type": "integer", "minimum": 0}
    return {"type": "array", "items": size, "minItems": len(spec.dims), "maxItems": len(spec.dims)}


def metadata(model: Model) -> Schema:
    """A model's metadata."""
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": ["BYTES", *DTYPES]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
        },
        "additionalProperties": False,
    }
    fields = {
        "name": {"const": model.name}, "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"}, "inputs": {"type": "array", "items": tensor},
        "outputs": {"type": "array", "items": tensor},
    }  # fmt: skip
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}
