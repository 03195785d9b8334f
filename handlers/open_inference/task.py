"""What a task says of its tensors: those that it takes and gives, and how items and answers are made of them.

A request has either BYTES tensors (texts, image files), which are answered as /predictions answers them, or the model's
own inputs (token ids, pixels), which are answered with the model's own outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from handlers.errors import RequestError
from handlers.open_inference import Asked, Spec, Tensor
from handlers.open_inference.answer import columns
from handlers.open_inference.request import read_request
from handlers.requests import Shape
from handlers.settings import Settings, TensorSpec

DATATYPES = {"int64": "INT64", "uint8": "UINT8", "float32": "FP32"}
# What a user's own handler answers, as JSON: its postprocess may give an answer any form.
ANSWER = Spec("answer", "BYTES", (-1,))
NARROWER = {"INT64": ("INT32",)}  # taken as well


def spec_of(tensor: TensorSpec) -> Spec:
    """A tensor of the model's own."""
    datatype = DATATYPES[tensor.dtype]
    dims = tuple(each if isinstance(each, int) else -1 for each in tensor.dims)
    return Spec(tensor.name, datatype, dims, NARROWER.get(datatype, ()))


def as_texts(answers: Iterable[bytes]) -> dict[str, Tensor]:
    """The tensor ``ANSWER`` of JSON texts, one for each item."""
    values = [each.decode() for each in answers]
    return {ANSWER.name: Tensor(ANSWER.datatype, (len(values),), values)}


class Tensors:
    """What of a service speaks in tensors. ``answer_specs`` are the tensors that BYTES inputs are answered with; by
    default each is a field of the records that an item's answer is a list of."""

    settings: Settings
    shape: ClassVar[Shape]
    answer_specs: ClassVar[tuple[Spec, ...]] = ()

    @property
    def changes_answers(self) -> bool:
        """Whether a user's own handler changes the answers (handlers.hooks.Hooks)."""
        raise NotImplementedError

    @property
    def given_specs(self) -> tuple[Spec, ...]:
        """The tensors that BYTES inputs are answered with here."""
        return (ANSWER,) if self.changes_answers else self.answer_specs

    def input_specs(self) -> tuple[Spec, ...]:
        """The BYTES tensors that are taken."""
        return tuple(Spec(name, "BYTES", (-1,)) for name in self.shape.names)

    def items_of(self, tensors: dict[str, Tensor]) -> tuple[Any, ...]:
        """The items of BYTES tensors, as a JSON body has them. Raises RequestError."""
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
        """The answers to the items of a request as tensors."""
        return columns(self.answer_specs, answers)

    def read_own(self, tensors: dict[str, Tensor]) -> list[Any]:
        """The items of the model's own inputs. Raises RequestError."""
        raise NotImplementedError

    def own_outputs(self, items: Sequence[Any], asked: Asked, outputs: dict[str, np.ndarray]) -> dict[str, Tensor]:
        """The model's outputs for these items of one request, by name."""
        return {spec.name: Tensor.of(outputs[spec.name], "FP32") for spec in self.settings.outputs}

    def metadata(self, name: str, version: str) -> dict[str, Any]:
        """The model as the protocol describes one."""
        inputs = [*self.input_specs(), *map(spec_of, self.settings.inputs)]
        outputs = {each.name: each for each in (*self.given_specs, *map(spec_of, self.settings.outputs))}
        return {
            "name": name,
            "versions": [version],
            "platform": self.settings.runtime,
            "inputs": [each.described() for each in inputs],
            "outputs": [each.described() for each in outputs.values()],
        }

    def asked(self, body: Any, headers: dict[str, Any]) -> tuple[Asked, bool]:
        """(the request, whether its tensors are the model's own). Raises RequestError or TooLarge."""
        own = tuple(map(spec_of, self.settings.inputs))
        asked = read_request(body, headers, (*self.input_specs(), *own), self.settings.max_items)
        names = {each.name for each in own} & set(asked.tensors)
        if names and len(names) < len(asked.tensors):
            raise RequestError("The inputs are of two kinds; send either BYTES tensors or the model's own inputs.")
        if names and asked.options:
            raise RequestError('"parameters" has an option; the model\'s own inputs are answered without options.')
        has = [each.name for each in (self.settings.outputs if names else self.given_specs)]
        if set(asked.outputs) - set(has):
            raise RequestError(f"An output is asked for that these inputs do not give; they give: "
                               f"{', '.join(has) or 'none'}.")  # fmt: skip
        return asked, bool(names)
