"""Explanations as JSON Schema: the requests to /explanations and their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from handlers.explanations.answers import HEADER, PNG
from handlers.explanations.serving import MOST_ITEMS
from openapi import bodies
from openapi.models import Model

Schema = dict[str, Any]
NUMBER: Schema = {"type": "number"}
PLACE: Schema = {"type": "integer", "minimum": 0}
SIDES = ("left", "top", "right", "bottom")


def asked(model: Model) -> Model:
    """The model with the options and the number of items of a request for explanations."""
    return replace(model, explanation=True, max_items=min(MOST_ITEMS, model.max_items))


def answer(model: Model) -> Schema:
    """The body of an answer: one explanation, or a list of them for a list of items."""
    one = explanation(model)
    return {"anyOf": [_object({"explanation": one}), instances(model)]}


def instances(model: Model) -> Schema:
    """The body of an answer to a list, or to KServe's instances."""
    return _object({"explanations": {"type": "array", "items": explanation(model)}})


def explanation(model: Model) -> Schema:
    """The explanation of one item."""
    error = {"absolute": {**NUMBER, "minimum": 0}, "relative": {"type": ["number", "null"], "minimum": 0}}
    options = {name: bodies.option_schema(model, name, each) for name, each in asked(model).options.items()}
    fields = {
        "prediction": {"type": "object", "description": "What is explained, as /predictions answers it."},
        "output": {"type": "string", "description": "The number that is explained, in words."},
        "value": {**NUMBER, "description": "That number for the item."},
        "baseline_value": {**NUMBER, "description": "That number for the baseline."},
        "completeness_error": {**_object(error), "description": "How far the sum is from the difference of the two."},
        "baseline": options["baseline"],
        "steps": {"type": "integer", "minimum": 1},
        **(_map() if model.kind == "image" else {"tokens": {"type": "array", "items": _token()}}),
    }
    optional = {} if model.kind == "image" else {"text": {"type": "string"}}
    return {**_object(fields), "properties": {**fields, **optional}}


def _token() -> Schema:
    fields = {"token": {"type": "string"}, "start": PLACE, "end": PLACE, "attribution": NUMBER}
    return {**_object(fields), "properties": {**fields, "part": {"type": "string"}},
            "description": "`start` and `end` are in characters of the text; `part` names one of two texts."}


def _map() -> Schema:
    rows = {"type": "array", "items": {"type": "array", "items": NUMBER}}
    return {
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
        "attributions": {**rows, "description": "Of each pixel that the model saw, by rows."},
        "frame": {**_object(dict.fromkeys(SIDES, NUMBER)),
                  "description": "The part of the upright image that the model saw, in shares of its sides."},
    }  # fmt: skip


def of_png() -> tuple[Schema, Schema]:
    """(the content of an answer as a picture, its headers)."""
    described = "For a PNG: the JSON of the explanation, without the attributions."
    header = {"description": described, "schema": {"type": "string"}}
    return {PNG: {"schema": {"contentMediaType": PNG}}}, {HEADER: header}


def _object(fields: Schema) -> Schema:
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}
