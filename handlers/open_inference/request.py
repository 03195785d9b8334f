"""Reads the body of an inference request into tensors by name. All of it is checked, and errors do not quote it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from handlers.errors import RequestError, TooLarge
from handlers.open_inference import BINARY_SIZE, DTYPES, JSON_LENGTH, SIZE, InferenceRequest, Spec, Tensor
from handlers.requests import kind_of

# The keys of a request. Some clients send the model's name; it is ignored, since the URL has it as well.
KEYS = {"id", "inputs", "outputs", "parameters", "model_name", "model_version"}


def read_request(body: Any, headers: Mapping[str, Any], inputs: Sequence[Spec], max_items: int) -> InferenceRequest:
    """Reads an inference request. A tensor's first size is its number of items, at most ``max_items``.

    Raises RequestError or TooLarge.
    """
    if not isinstance(body, (bytes, bytearray)):
        raise RequestError('The body is no JSON document; send {"inputs": [...]} as application/json.')
    document, rest = _parts(bytes(body), headers)
    parameters = _object(document.get("parameters"), '"parameters"')
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise RequestError(f'"id" is {kind_of(identity)}; expected a string.')
    options = {name: value for name, value in parameters.items() if name != "binary_data_output"}
    binary = _flag(parameters.get("binary_data_output"), "binary_data_output", False)
    tensors = _Inputs(inputs, max_items, rest).read(document.get("inputs"))
    if not document.keys() <= KEYS:
        raise RequestError(f"The JSON body has an unknown key; it can have: {', '.join(sorted(KEYS))}.")
    return InferenceRequest(tensors, options, _outputs(document.get("outputs"), binary), binary, identity)


def _parts(body: bytes, headers: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """(the JSON document, the bytes of the binary tensors after it)"""
    given = next((value for name, value in headers.items() if name.lower() == JSON_LENGTH.lower()), None)
    length = len(body)
    if given is not None:
        number = str(given).strip()
        if not (number.isascii() and number.isdigit() and len(number) < 12 and 0 < int(number) <= length):
            raise RequestError(f"{JSON_LENGTH} must be the bytes of the JSON, from 1 to the {length} of the body.")
        length = int(number)
    if not length:
        raise RequestError('The request body is empty; send {"inputs": [...]}.')
    try:
        document = orjson.loads(body[:length])
    except orjson.JSONDecodeError as error:
        binary = "" if given is not None else f"; if binary tensors follow the JSON, send its length as {JSON_LENGTH}"
        raise RequestError(f"The body is not valid JSON: {error}{binary}.") from None
    return _object(document, "The JSON body", expected='an object {"inputs": [...]}'), body[length:]


def _object(value: Any, name: str, expected: str = "an object") -> dict[str, Any]:
    """``value``, or an empty object for null."""
    if not isinstance(value, (dict, type(None))):
        raise RequestError(f"{name} is {kind_of(value)}; expected {expected}.")
    return value or {}


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) and isinstance(each.get("name"), str)
                                              for each in value):  # fmt: skip
        found = "a list with something else" if isinstance(value, list) else kind_of(value)
        raise RequestError(f'{name} is {found}; expected a list of objects with a "name".')
    return value


def _flag(value: Any, name: str, default: bool) -> bool:
    if value is not None and not isinstance(value, bool):
        raise RequestError(f'"{name}" is {kind_of(value)}; expected true or false.')
    return default if value is None else value


def _outputs(given: Any, binary: bool) -> dict[str, bool]:
    """The requested outputs. Their names are checked later."""
    found = {}
    for each in [] if given is None else _list(given, '"outputs"'):
        parameters = _object(each.get("parameters"), "An output's \"parameters\"")
        for name in parameters:
            if name != "binary_data":
                raise RequestError('An output\'s "parameters" can have "binary_data" and nothing else.')
        found[each["name"]] = _flag(parameters.get("binary_data"), "binary_data", binary)
    return found


class _Inputs:
    """Reads the tensors of a request. ``rest`` has its binary tensors, one after the other."""

    def __init__(self, specs: Sequence[Spec], max_items: int, rest: bytes) -> None:
        self._specs, self._max_items = {each.name: each for each in specs}, max_items
        self._rest, self._at = rest, 0

    def read(self, given: Any) -> dict[str, Tensor]:
        """The tensors by name. Raises RequestError or TooLarge."""
        if not (given := _list(given, '"inputs"')):
            raise RequestError(f'"inputs" is empty; this model takes: {", ".join(self._specs)}.')
        found: dict[str, Tensor] = {}
        for each in given:
            if each["name"] not in self._specs:
                raise RequestError(f"There is an input that this model does not take; it takes: "
                                   f"{', '.join(self._specs)}.")  # fmt: skip
            if each["name"] in found:
                raise RequestError(f'The input "{each["name"]}" is given twice.')
            found[each["name"]] = self._tensor(each, self._specs[each["name"]])
        if (left := len(self._rest) - self._at) > 0:
            raise RequestError(f'{left} bytes follow the binary tensors; "{BINARY_SIZE}" of each must add up.')
        return found

    def _tensor(self, given: dict[str, Any], spec: Spec) -> Tensor:
        name, datatype = f'The input "{spec.name}"', given.get("datatype")
        if datatype not in (spec.datatype, *spec.also):
            raise RequestError(f"{name} has another datatype; expected {' or '.join((spec.datatype, *spec.also))}.")
        shape = self._shape(given.get("shape"), spec, name)
        parameters = _object(given.get("parameters"), f'{name}\'s "parameters"')
        if any(each.startswith("shared_memory") for each in parameters):
            raise RequestError(f"{name} is in shared memory, which this server does not read; send its data.")
        if (BINARY_SIZE in parameters) == ("data" in given):
            raise RequestError(f'{name} needs either "data" or the parameter "{BINARY_SIZE}".')
        if BINARY_SIZE in parameters:
            return Tensor(datatype, shape, self._binary(parameters[BINARY_SIZE], datatype, shape, name))
        return Tensor(datatype, shape, _from_json(given["data"], datatype, shape, name))

    def _shape(self, shape: Any, spec: Spec, name: str) -> tuple[int, ...]:
        if not isinstance(shape, list) or not all(type(each) is int and each >= 0 for each in shape):
            raise RequestError(f'{name} has no "shape" that is a list of whole numbers.')
        # Texts may also have the shape [n, 1]: clients of servers that batch by the first size send it.
        dims = (*spec.dims, 1) if len(spec.dims) == 1 and len(shape) == 2 else spec.dims
        if len(shape) != len(dims) or any(want not in (-1, size) for size, want in zip(shape, dims, strict=True)):
            raise RequestError(f"{name} has another shape; expected {list(spec.dims)}, -1 for any size.")
        if shape[0] > self._max_items:
            raise TooLarge(f"{name} has {shape[0]} items; at most {self._max_items} are accepted: split the request.")
        if 0 in shape:
            raise RequestError(f"{name} is empty; send at least one item.")
        return tuple(shape)

    def _binary(self, size: Any, datatype: str, shape: tuple[int, ...], name: str) -> Any:
        left = len(self._rest) - self._at
        if type(size) is not int or not 0 <= size <= left:
            raise RequestError(f'{name}\'s "{BINARY_SIZE}" must be a number of bytes, at most the {left} that are left '
                               f"after the JSON; check {JSON_LENGTH}, the length of the JSON.")  # fmt: skip
        data = self._rest[self._at : self._at + size]
        self._at += size
        if datatype == "BYTES":
            return _elements(data, math.prod(shape), name)
        dtype = np.dtype(DTYPES[datatype])
        if size != math.prod(shape) * dtype.itemsize:
            raise RequestError(f"{name} has {size} bytes; its shape and datatype make another number.")
        return np.frombuffer(data, dtype).reshape(shape)


def _elements(data: bytes, count: int, name: str) -> list[bytes]:
    """The elements of a binary BYTES tensor. Each follows its length in four bytes, little-endian."""
    at = 0
    found: list[bytes] = []
    while at + SIZE.size <= len(data) and len(found) < count:
        start = at + SIZE.size
        at = start + SIZE.unpack_from(data, at)[0]
        found.append(data[start:at])
    if at != len(data) or len(found) != count:
        raise RequestError(f"{name} is not the {count} elements of its shape, each after its length in four bytes, "
                           "little-endian.")  # fmt: skip
    return found


def _from_json(data: Any, datatype: str, shape: tuple[int, ...], name: str) -> Any:
    """The values of a JSON tensor, flat or nested."""
    wanted, kind = (str, "strings") if datatype == "BYTES" else (int, "whole numbers")
    flat = _flat(data, wanted, shape)
    if flat is None:
        raise RequestError(f'{name}\'s "data" is no list of {kind}, flat or nested as its shape.')
    if len(flat) != math.prod(shape):
        raise RequestError(f"{name} has {len(flat)} values; its shape makes another number.")
    if wanted is str:
        return flat
    limits = np.iinfo(DTYPES[datatype])
    if min(flat) < limits.min or max(flat) > limits.max:
        raise RequestError(f"{name} has a value beyond {datatype}, which is from {limits.min} to {limits.max}.")
    return np.array(flat, DTYPES[datatype]).reshape(shape)


def _flat(data: Any, wanted: type, shape: tuple[int, ...]) -> list[Any] | None:
    """The values of a flat list, or of lists nested as ``shape``, in order. None for other values."""
    if not isinstance(data, list):
        return None
    kinds = set(map(type, data))
    if kinds <= {wanted}:
        return data
    if kinds != {list} or len(shape) == 1 or len(data) != shape[0]:
        return None
    found: list[Any] = []
    for each in data:
        if (part := _flat(each, wanted, shape[1:])) is None:
            return None
        found += part
    return found
