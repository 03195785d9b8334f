"""The tensors of a task, and their conversion to items and from answers.

A request has one of two kinds of tensors. BYTES tensors (texts, image files) get the answers of /predictions. The
model's own inputs (token ids, pixels) get the model's own outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from handlers.errors import RequestError
from handlers.open_inference import InferenceRequest, Spec, Tensor
from handlers.open_inference.answer import columns
from handlers.open_inference.request import read_request
from handlers.requests import Shape
from handlers.settings import Settings, TensorSpec

DATATYPES = {"int64": "INT64", "uint8": "UINT8", "float32": "FP32"}
# The answers of a user's own handler, as JSON texts, since its postprocess may return any JSON value.
ANSWER = Spec("answer", "BYTES", (-1,))
NARROWER = {"INT64": ("INT32",)}  # further accepted datatypes


def spec_of(tensor: TensorSpec) -> Spec:
    """The specification of one of the model's own inputs or outputs."""
    datatype = DATATYPES[tensor.dtype]
    dims = tuple(each if isinstance(each, int) else -1 for each in tensor.dims)
    return Spec(tensor.name, datatype, dims, NARROWER.get(datatype, ()))


def as_texts(answers: Iterable[bytes]) -> dict[str, Tensor]:
    """The tensor ``ANSWER`` of JSON texts, one for each item."""
    values = [each.decode() for each in answers]
    return {ANSWER.name: Tensor(ANSWER.datatype, (len(values),), values)}


class Tensors:
    """The part of a task for the Open Inference Protocol. ``answer_specs`` are the tensors of an answer to BYTES
    inputs. By default an item's answer is a list of records, and each tensor is a field of the records."""

    settings: Settings
    shape: ClassVar[Shape]
    answer_specs: ClassVar[tuple[Spec, ...]] = ()

    @property
    def changes_answers(self) -> bool:
        """Whether a user's own handler changes the answers (handlers.hooks.Hooks)."""
        raise NotImplementedError

    @property
    def response_specs(self) -> tuple[Spec, ...]:
        """The tensors of an answer to BYTES inputs, with a user's own handler taken into account."""
        return (ANSWER,) if self.changes_answers else self.answer_specs

    def input_specs(self) -> tuple[Spec, ...]:
        """The accepted BYTES tensors."""
        return tuple(Spec(name, "BYTES", (-1,)) for name in self.shape.names)

    def items_of(self, tensors: dict[str, Tensor]) -> tuple[Any, ...]:
        """The items of BYTES tensors, in the form that a JSON body has. Raises RequestError."""
        if set(tensors) == {self.shape.key}:
            return tuple(tensors[self.shape.key].values)
        fields = self.shape.fields
        if missing := [name for name in fields if name not in tensors]:
            raise RequestError(f'The input "{missing[0]}" is missing; send {" and ".join(fields)}.')
        if len({len(tensors[name].values) for name in fields}) > 1:
            raise RequestError(f"The inputs {' and '.join(fields)} have different numbers of items.")
        rows = zip(*(tensors[name].values for name in fields), strict=True)
        return tuple(dict(zip(fields, row, strict=True)) for row in rows)

    def tensors_of(self, answers: list[Any]) -> dict[str, Tensor]:
        """The answers to a request's items, as tensors."""
        return columns(self.answer_specs, answers)

    def read_own(self, tensors: dict[str, Tensor]) -> list[Any]:
        """The items of a request with the model's own inputs. Raises RequestError."""
        raise NotImplementedError

    def own_outputs(
        self, items: Sequence[Any], request: InferenceRequest, outputs: dict[str, np.ndarray]
    ) -> dict[str, Tensor]:
        """The model's outputs for the items of one request, by name."""
        return {spec.name: Tensor.of(outputs[spec.name], "FP32") for spec in self.settings.outputs}

    def metadata(self, name: str, version: str) -> dict[str, Any]:
        """The model's metadata, as the protocol defines it."""
        inputs = [*self.input_specs(), *map(spec_of, self.settings.inputs)]
        outputs = {each.name: each for each in (*self.response_specs, *map(spec_of, self.settings.outputs))}
        return {
            "name": name,
            "versions": [version],
            "platform": self.settings.runtime,
            "inputs": [each.described() for each in inputs],
            "outputs": [each.described() for each in outputs.values()],
        }

    def read_inference(self, body: Any, headers: dict[str, Any]) -> tuple[InferenceRequest, bool]:
        """(the request, whether its tensors are the model's own). Raises RequestError or TooLarge."""
        own = tuple(map(spec_of, self.settings.inputs))
        request = read_request(body, headers, (*self.input_specs(), *own), self.settings.max_items)
        names = {each.name for each in own} & set(request.tensors)
        if names and len(names) < len(request.tensors):
            raise RequestError("The inputs are of two kinds; send either BYTES tensors or the model's own inputs.")
        if names and request.options:
            raise RequestError('"parameters" has an option; the model\'s own inputs are answered without options.')
        has = [each.name for each in (self.settings.outputs if names else self.response_specs)]
        if set(request.outputs) - set(has):
            raise RequestError(f"The request has an unknown output; the outputs for these inputs are: "
                               f"{', '.join(has) or 'none'}.")  # fmt: skip
        return request, bool(names)
