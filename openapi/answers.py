"""The answers of a model as JSON Schema. The fields have the names of the task's tensors."""

from __future__ import annotations

from typing import Any

from handlers.open_inference import Spec
from handlers.open_inference.answer import ITEM
from openapi.models import Model

Schema = dict[str, Any]
TYPES = {"BYTES": "string", "FP32": "number", "INT64": "integer"}
# The form of an item's records, by task. A task whose only tensor is a vector, or that has none, has no entry.
LIST, ONE_OR_LIST, LIST_OR_LISTS = "a list of records", "one record, or a list", "a list of records, or of such lists"
RECORDS = {
    "fill-mask": LIST_OR_LISTS, "image-classification": LIST, "question-answering": ONE_OR_LIST, "rerank": LIST,
    "text-classification": LIST, "token-classification": LIST,
}  # fmt: skip
DESCRIBED = {
    LIST: "Best first.", ONE_OR_LIST: "One record; with top_k above 1 a list of them, best first.",
    LIST_OR_LISTS: "Best first; of several masks, a list for each.",
}  # fmt: skip


def item_answer(model: Model) -> Schema:
    """The answer to one item."""
    if model.own_handler:
        return {"description": "The answer in the form that this archive's own handler gives it."}
    specs = [spec for spec in model.service.answer_specs if spec is not ITEM]
    if model.task not in RECORDS:
        return _vector(model, specs)
    how, record = RECORDS[model.task], _record(model, specs)
    records = {"type": "array", "items": record}
    forms: dict[str, Schema] = {
        LIST: records,
        ONE_OR_LIST: {"anyOf": [record, records]},
        LIST_OR_LISTS: {"anyOf": [records, {"type": "array", "items": records}]},
    }
    ordered = "" if model.task == "token-classification" else DESCRIBED[how]
    return {**forms[how], **({"description": ordered} if ordered else {})}


def _vector(model: Model, specs: list[Spec]) -> Schema:
    if not specs:
        return {"type": "array", "maxItems": 0}
    found: Schema = {"type": "array", "items": {"type": "number"}}
    width = model.settings.outputs[0].dims[-1] if model.settings else None
    return {**found, "minItems": width, "maxItems": width} if isinstance(width, int) else found


def _record(model: Model, specs: list[Spec]) -> Schema:
    fields = {spec.name: _field(model, spec) for spec in specs}
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}


def _field(model: Model, spec: Spec) -> Schema:
    found: Schema = {"type": TYPES[spec.datatype]}
    if spec.datatype == "INT64":
        found["minimum"] = 0
    if spec.name == "label" and model.labels:
        found["enum"] = list(model.labels)
    return found


def answer(model: Model) -> Schema:
    """The body of an answer of /predictions. Its form depends on the request's form."""
    service, item = model.service, item_answer(model)
    one = item if service.answer_key is None else _object("To one item", service.answer_key, item)
    if not service.shape.key:  # only KServe's form has a list
        return {"anyOf": [one, instances(model)]}
    several = _object("To several items", service.list_answer_key, {"type": "array", "items": item})
    forms = [one, several]
    if service.list_answer_key != "predictions":
        forms.append(instances(model))
    return {"anyOf": forms}


def instances(model: Model) -> Schema:
    """The body of an answer to KServe's instances."""
    return _object("KServe v1", "predictions", {"type": "array", "items": item_answer(model)})


def _object(title: str, key: str, value: Schema) -> Schema:
    return {
        "title": title,
        "type": "object",
        "required": [key],
        "properties": {key: value},
        "additionalProperties": False,
    }
