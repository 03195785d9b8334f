"""The config.pbtxt of an archive: its task's input and output tensors, and its serving settings.

The format: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from handlers.open_inference import Spec
from handlers.open_inference.answer import ITEM
from openapi.models import Model
from openapi.tensors import inputs, outputs

TYPES = {"BYTES": "TYPE_STRING", "UINT8": "TYPE_UINT8", "INT32": "TYPE_INT32", "INT64": "TYPE_INT64",
         "FP32": "TYPE_FP32"}  # fmt: skip
PER_ITEM = (-1,)


def config(model: Model, settings: Mapping[str, Any], environment: str = "") -> str:
    """The file's text. ``settings`` are those of model-config.yaml, with maxBatchDelay in milliseconds.

    ``environment``: the packed environment of Python that Triton unpacks for the model; "" for Triton's own Python.
    """
    items = model.max_items if is_batched(model) else 0
    blocks = [
        f"name: {json.dumps(model.name)}", 'backend: "python"', f"max_batch_size: {items}",
        f"input {_tensors(_inputs(model, bool(items)))}", f"output {_tensors(_outputs(model, bool(items)))}",
        f"instance_group [ {{ count: {settings['minWorkers']} kind: {_kind(settings)} }} ]",
    ]  # fmt: skip
    if items and (preferred := min(settings["batchSize"], items)) > 1:
        delay = round(settings["maxBatchDelay"] * 1000)
        blocks.append(
            f"dynamic_batching {{ preferred_batch_size: [ {preferred} ] max_queue_delay_microseconds: {delay} }}"
        )
    if environment:
        value = json.dumps(environment)
        blocks.append(f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: {value} }} }}')
    return "\n".join(blocks) + "\n"


def is_batched(model: Model) -> bool:
    """Whether Triton may batch requests. It batches along a tensor's first dimension, so that must be the items' in all
    inputs and outputs."""
    (given, _), (answered, _) = inputs(model), outputs(model)
    return all(each.dims == PER_ITEM for each in given) and ITEM not in answered


def _kind(settings: Mapping[str, Any]) -> str:
    return "KIND_GPU" if settings.get("deviceType") == "gpu" else "KIND_CPU"


def _inputs(model: Model, batched: bool) -> list[str]:
    """Every input may be left out, since a request has texts or files, or the model's own inputs."""
    given, own = inputs(model)
    several = " optional: true" if len(given) + len(own) > 1 else ""
    return [_tensor(each, batched, several + _ragged(each, batched)) for each in (*given, *own)]


def _ragged(spec: Spec, batched: bool) -> str:
    """Requests of different sizes are batched too; the handler pads them."""
    return " allow_ragged_batch: true" if batched and -1 in spec.dims[1:] else ""


def _outputs(model: Model, batched: bool) -> list[str]:
    given, own = outputs(model)
    return [_tensor(each, batched) for each in {each.name: each for each in (*given, *own)}.values()]


def _tensor(spec: Spec, batched: bool, more: str = "") -> str:
    """Triton adds the first dimension of a batched tensor itself and needs at least one more, so [N] becomes a
    column."""
    dims = (spec.dims[1:] or (1,)) if batched else spec.dims
    sizes = ", ".join(map(str, dims))
    return f"{{ name: {json.dumps(spec.name)} data_type: {TYPES[spec.datatype]} dims: [ {sizes} ]{more} }}"


def _tensors(each: Iterable[str]) -> str:
    listed = ",\n".join(f"  {tensor}" for tensor in each)
    return f"[\n{listed}\n]" if listed else "[ ]"
