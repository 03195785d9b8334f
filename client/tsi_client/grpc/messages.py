"""The messages of the protocol's gRPC service: writes requests and reads answers.

The message classes are made at import, from the table below, in a separate descriptor pool. So they work with every
version of protobuf, while generated code works with two. They do not collide with the classes that tritonclient or
kserve register under the same names. Fields that are neither sent nor read are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from tsi_client.errors import BadAnswer
from tsi_client.exchange import Call
from tsi_client.reply import Reply
from tsi_client.tensors import from_bytes, written

if TYPE_CHECKING:
    import numpy as np

PACKAGE = "inference"
SERVICE = f"/{PACKAGE}.GRPCInferenceService/"
# Each field as "type name"; its number is its place. A map is a list of keys and values, which is the same on the wire.
MESSAGES = {
    "Empty": (),
    "Choice": ("bool bool_param", "int64 int64_param", "string string_param", "double double_param"),
    "Parameter": ("string key", "Choice value"),
    "Named": ("string name", "string version"),
    "Readiness": ("bool ready",),
    "Described": ("string name", "string datatype", "*int64 shape", "*Parameter parameters"),
    "Wanted": ("string name",),
    "Metadata": ("string name", "*string versions", "string platform", "*Described inputs", "*Described outputs"),
    "InferRequest": (
        "string model_name", "string model_version", "string id", "*Parameter parameters", "*Described inputs",
        "*Wanted outputs", "*bytes raw_input_contents",
    ),
    "InferResponse": (
        "string model_name", "string model_version", "string id", "*Parameter parameters", "*Described outputs",
        "*bytes raw_output_contents",
    ),
}  # fmt: skip


def _field(number: int, said: str) -> descriptor_pb2.FieldDescriptorProto:
    kind, name = said.lstrip("*").split()
    field = descriptor_pb2.FieldDescriptorProto(name=name, number=number)
    field.label = field.LABEL_REPEATED if said.startswith("*") else field.LABEL_OPTIONAL
    if kind in MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
    return field


def _classes() -> dict[str, Any]:
    """The message classes by name. Their syntax is proto2, which sends every field that is set, even to its default."""
    file = descriptor_pb2.FileDescriptorProto(name="tsi_client.proto", package=PACKAGE, syntax="proto2")
    for name, fields in MESSAGES.items():
        file.message_type.add(name=name, field=[_field(at, each) for at, each in enumerate(fields, 1)])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in MESSAGES}
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


CLASSES = _classes()


def inference(
    model: str, inputs: Mapping[str, Any], outputs: Sequence[str] | None, version: str | None,
    parameters: Mapping[str, Any] | None, timeout: float | None,
) -> Call:  # fmt: skip
    """The call that sends ``inputs`` to ``model``. Raises TypeError for values that are no tensor or no parameter,
    ImportError without numpy."""
    asked = CLASSES["InferRequest"](model_name=model, model_version=version or "")
    for name, value in (parameters or {}).items():
        asked.parameters.add(key=name, value=_choice(name, value))
    for name, value in inputs.items():
        datatype, shape, data = written(name, value)
        asked.inputs.add(name=name, datatype=datatype, shape=shape)
        asked.raw_input_contents.append(data)
    for name in outputs or ():
        asked.outputs.add(name=name)
    return _call("ModelInfer", asked, timeout)


def _choice(name: str, value: Any) -> Any:
    for kind, field in ((bool, "bool_param"), (int, "int64_param"), (str, "string_param"), (float, "double_param")):
        if isinstance(value, kind):
            return CLASSES["Choice"](**{field: value})
    raise TypeError(f"The parameter {name} is {type(value).__name__}; gRPC takes a bool, an int, a float or a str")


def read_tensors(reply: Reply) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of an answer by name; BYTES are arrays of str. Raises StatusError or BadAnswer."""
    answer, found = _parsed("InferResponse", reply), {}
    try:
        for each, data in zip(answer.outputs, answer.raw_output_contents, strict=True):
            found[each.name] = from_bytes(each.datatype, list(each.shape), memoryview(data))
    except (ValueError, KeyError, struct.error) as error:
        raise BadAnswer(f"The answer's tensors cannot be read: {error!r}") from None
    return found


def about(model: str, version: str | None, timeout: float | None) -> Call:
    """The call that asks for a model's metadata."""
    return _call("ModelMetadata", CLASSES["Named"](name=model, version=version or ""), timeout)


def read_metadata(reply: Reply) -> dict[str, Any]:
    """A model's metadata, in the form of REST. Raises StatusError or BadAnswer."""
    said = _parsed("Metadata", reply)

    def described(tensors: Any) -> list[dict[str, Any]]:
        return [{"name": each.name, "datatype": each.datatype, "shape": list(each.shape)} for each in tensors]

    return {"name": said.name, "versions": list(said.versions), "platform": said.platform,
            "inputs": described(said.inputs), "outputs": described(said.outputs)}  # fmt: skip


def readiness(model: str | None, timeout: float | None) -> Call:
    """The call that asks whether a model, or all, can answer."""
    if model is None:
        return _call("ServerReady", CLASSES["Empty"](), timeout, retried=False)
    return _call("ModelReady", CLASSES["Named"](name=model), timeout, retried=False)


def read_readiness(reply: Reply) -> bool:
    """Whether the answer says that it is ready. Raises StatusError or BadAnswer."""
    return reply.status_code != 503 and bool(_parsed("Readiness", reply).ready)


def _call(method: str, asked: Any, timeout: float | None, retried: bool = True) -> Call:
    return Call("POST", SERVICE + method, asked.SerializeToString(), timeout=timeout, retried=retried)


def _parsed(name: str, reply: Reply) -> Any:
    try:
        return CLASSES[name].FromString(reply.checked().content)
    except message.DecodeError:
        raise BadAnswer("The answer is no message of the Open Inference Protocol.") from None
