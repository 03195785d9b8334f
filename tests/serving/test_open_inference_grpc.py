"""The Open Inference Protocol over gRPC through a real TorchServe: Triton's official client gets the answers of /v2 and
its refusals, in raw tensors and in typed ones."""

import asyncio
import os
import re
import subprocess
import sys

import grpc
import numpy as np
import pytest
import requests
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc.service_pb2 import InferTensorContents, ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from export.cases import SENTENCES
from tests.conftest import ROOT, run
from tests.serving import open_inference
from tests.serving.open_inference import NAMES, as_served, file_of, pixels, strip, tensor, texts_of, token_ids

pytestmark = pytest.mark.served
LARGEST = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
# The field of a typed tensor's values, by datatype.
FIELDS = {"BYTES": "bytes_contents", "INT64": "int64_contents", "INT32": "int_contents", "UINT8": "uint_contents",
          "FP32": "fp32_contents"}  # fmt: skip


def address(served):
    return f"127.0.0.1:{served.config.properties['grpc_inference_port']}"


@pytest.fixture
def access(served):
    return {"authorization": f"Bearer {served.client.token()}"}


@pytest.fixture
def client(served):
    with triton.InferenceServerClient(address(served)) as made:
        yield made


@pytest.fixture
def rest(served):
    """Adds to the given headers."""
    with triton_http.InferenceServerClient(served.config.inference.removeprefix("http://")) as made:
        yield made


@pytest.fixture
def infer(served, access):
    """ModelInfer with a message of the test: its answer, or (status, sentence)."""
    with grpc.insecure_channel(address(served), LARGEST) as channel:
        stub = GRPCInferenceServiceStub(channel)

        def ask(model, *inputs, **fields):
            request = ModelInferRequest(model_name=model, inputs=inputs, **fields)
            try:
                return stub.ModelInfer(request, metadata=list(access.items()), timeout=60)
            except grpc.RpcError as error:
                return error.code().name, error.details()

        yield ask


def typed(name, datatype, shape, values, field=None):
    contents = InferTensorContents(**{field or FIELDS[datatype]: values})
    return ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=contents)


def values_of(output):
    """The values of an output in typed contents, in its shape."""
    return np.array(getattr(output.contents, FIELDS[output.datatype])).reshape(output.shape)


def assert_same(found, expected):
    assert found.shape == expected.shape
    if expected.dtype == object or expected.dtype.kind in "SU":
        assert texts_of(found) == texts_of(expected)
    else:
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_cases_are_answered_as_over_rest(client, rest, infer, access, name):
    (key, values) = as_served(name)
    over_rest = rest.infer(name, [tensor(triton_http, key, values)], headers={**access})
    described = over_rest.get_response()["outputs"]
    raw = client.infer(name, [tensor(triton, key, values)], request_id="golden", headers=access)
    message = raw.get_response()
    assert (message.id, message.model_name, message.model_version) == ("golden", name, "1.0")
    assert len(message.raw_output_contents) == len(message.outputs) == len(described)
    assert message.parameters["x-variant"].string_param == name.split("-")[1]
    in_fields = infer(name, typed(key, "BYTES", [len(values)], values))
    assert not in_fields.raw_output_contents and len(in_fields.outputs) == len(described)
    for expected, output in zip(described, in_fields.outputs, strict=True):
        assert (output.name, output.datatype, list(output.shape)) == tuple(
            expected[each] for each in ("name", "datatype", "shape")
        )
        assert_same(raw.as_numpy(output.name), over_rest.as_numpy(output.name))
        assert_same(values_of(output), over_rest.as_numpy(output.name))


def test_the_asyncio_client_is_answered_alike(served, client, access):
    given = tensor(triton, "text", ["hello world"])

    async def ask():
        async with triton_aio.InferenceServerClient(address(served)) as made:
            assert await made.is_model_ready("minilm-torchscript", headers=access)
            many = [made.infer("minilm-torchscript", [given], headers=access) for _ in range(8)]
            return [each.as_numpy("embedding") for each in await asyncio.gather(*many)]

    expected = client.infer("minilm-torchscript", [given], headers=access).as_numpy("embedding")
    for found in asyncio.run(ask()):
        assert found == pytest.approx(expected, abs=1e-5)


def test_health_and_metadata_are_those_of_rest(client, rest, access):
    assert client.is_server_live(headers=access) and client.is_server_ready(headers=access)
    assert MessageToDict(client.get_server_metadata(headers=access)) == rest.get_server_metadata(headers={**access})
    for version in ("", "1.0"):
        assert client.is_model_ready("digits-torchscript", version, headers=access)
        said = MessageToDict(client.get_model_metadata("digits-torchscript", version, headers=access))
        for each in (*said["inputs"], *said["outputs"]):
            each["shape"] = [int(size) for size in each["shape"]]  # MessageToDict writes an int64 as a string
        assert said == rest.get_model_metadata("digits-torchscript", version, headers={**access})
        answer = client.infer("null", [tensor(triton, "input", ["x"])], version, headers=access).get_response()
        assert not answer.outputs and not answer.raw_output_contents


def test_own_token_ids_and_pixels_give_the_same_answers(client, infer, access, every_row, tmp_path):
    ids, mask = token_ids(every_row, tmp_path)
    given = [tensor(triton, "input_ids", ids), tensor(triton, "attention_mask", mask.astype(np.int32))]
    from_texts = client.infer("minilm-torchscript", [tensor(triton, "text", list(SENTENCES[:4]))], headers=access)
    from_ids = client.infer("minilm-torchscript", given, headers=access)
    in_fields = infer("minilm-torchscript", typed("input_ids", "INT64", ids.shape, ids.ravel()),
                      typed("attention_mask", "INT32", mask.shape, mask.ravel()))  # fmt: skip
    for found in (from_ids.as_numpy("embedding"), values_of(in_fields.outputs[0])):
        assert found == pytest.approx(from_texts.as_numpy("embedding"), abs=1e-5)
    own = pixels(every_row)
    logits = client.infer("digits-torchscript", [tensor(triton, "pixels", own)], headers=access).as_numpy("logits")
    assert logits.shape == (1, 10) and logits.argmax() == 7
    in_fields = infer("digits-torchscript", typed("pixels", "UINT8", own.shape, own.ravel().tolist()))
    assert values_of(in_fields.outputs[0]) == pytest.approx(logits, abs=1e-4)


def test_an_option_and_the_choice_of_outputs_reach_the_task(client, infer, access):
    image = tensor(triton, "image", [file_of("digits")])
    wanted = [triton.InferRequestedOutput("score")]
    answer = client.infer("digits-torchscript", [image], outputs=wanted, parameters={"top_k": 2}, headers=access)
    assert answer.as_numpy("score").shape == (1, 2) and answer.as_numpy("label") is None
    given = typed("image", "BYTES", [1], [file_of("digits")])
    request = ModelInferRequest(parameters={"binary_data_output": {"bool_param": True}, "top_k": {"int64_param": 1}})
    raw = infer("digits-torchscript", given, parameters=request.parameters)
    assert [len(each) for each in raw.raw_output_contents] == [5, 4]  # "7" after its length, and an FP32


def test_the_examples_of_the_page_run_with_the_stubs_that_it_generates(served, tmp_path):
    made = run("serving.grpc_stubs", str(tmp_path / "stubs"))
    assert made.returncode == 0 and str(tmp_path / "stubs" / "inference_pb2_grpc.py") in made.stdout, made.stderr
    page = (ROOT / "docs" / "grpc.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "TOKEN": served.client.token(), "GRPC_VERBOSITY": "NONE"}
    for example, said in zip(examples, ("(2, 384)\n", "384\n1\n"), strict=True):
        code = example.replace("127.0.0.1:7070", address(served))
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_stubs_that_cannot_be_written_are_said_so(tmp_path):
    (tmp_path / "file").touch()
    refused = run("serving.grpc_stubs", str(tmp_path / "file"))
    assert refused.returncode == 1 and refused.stderr.endswith("name another folder.\n"), refused.stderr
    assert run("serving.grpc_stubs").returncode == 2


def refusal(call, *arguments, **more):
    status, said = open_inference.refusal(call, *arguments, **more)
    return status.removeprefix("StatusCode."), said


def test_mistakes_are_said_in_the_sentence_of_rest(client, rest, access):
    texts = {"not UTF-8": ["a", b"\xff"], "blank": ["a", " "], "too many": ["a"] * 65}
    cases = [("minilm-eager", "text", values, {}) for values in texts.values()]
    cases += [("minilm-eager", "image", ["a"], {}), ("minilm-eager", "text", np.zeros(1, np.float32), {}),
              ("digits-torchscript", "image", [file_of("digits"), b"nothing"], {}),
              ("digits-torchscript", "image", [strip(9_000, 9_000)], {}),
              ("digits-torchscript", "image", [file_of("digits")], {"priority": 3}),
              ("nobody", "text", ["a"], {}), ("null", "text", ["a"], {"model_version": "9"})]  # fmt: skip
    codes = {"400": "INVALID_ARGUMENT", "404": "NOT_FOUND", "413": "RESOURCE_EXHAUSTED"}
    for model, key, values, more in cases:
        status, said = refusal(rest.infer, model, [tensor(triton_http, key, values)], headers={**access}, **more)
        found = refusal(client.infer, model, [tensor(triton, key, values)], headers=access, **more)
        assert found == (codes[status], said), (model, key)
    assert refusal(client.is_model_ready, "nobody", headers=access) == ("NOT_FOUND", "Model not found: nobody")
    assert refusal(client.get_model_metadata, "nobody", headers=access)[0] == "NOT_FOUND"
    assert refusal(client.infer, "", [tensor(triton, "text", ["a"])], headers=access)[0] == "INVALID_ARGUMENT"
    for call, arguments in ((client.infer, ("null", [])), (client.is_server_live, ()), (client.is_model_ready, ("x",))):
        status, said = refusal(call, *arguments)
        assert status == "UNAUTHENTICATED" and said.endswith("send the metadata authorization: Bearer <token>.")


def test_a_message_that_contradicts_itself_is_refused(infer):
    def refused(model, *inputs, **fields):
        status, said = infer(model, *inputs, **fields)
        assert status == "INVALID_ARGUMENT"
        return said

    def bare(datatype, shape):
        return ModelInferRequest.InferInputTensor(name="text", datatype=datatype, shape=shape)

    text, name = typed("text", "BYTES", [1], [b"a"]), "minilm-eager"
    assert "beside its raw_input_contents" in refused(name, text, raw_input_contents=[b"\x01\0\0\0a"])
    assert "2 entries for 1 inputs" in refused(name, bare("BYTES", [1]), raw_input_contents=[b"", b""])
    assert "BYTES belongs into bytes_contents" in refused(name, typed("text", "BYTES", [1], [1], "int64_contents"))
    assert "into raw_input_contents" in refused(name, typed("text", "FP16", [1], [1.0], "fp32_contents"))
    assert "a value beyond UINT8" in refused("digits-torchscript", typed("pixels", "UINT8", [1], [256]))
    assert "expected BYTES" in refused(name, bare("FP16", [1]))
    for raw in (b"", b"\x02\0\0\0a", b"\x01\0\0\0aa"):
        assert "each after its length" in refused(name, bare("BYTES", [1]), raw_input_contents=[raw])
    assert "is not the 2 elements" in refused(name, typed("text", "BYTES", [2], [b"a"]))
    shared = {"shared_memory_region": {"string_param": "x"}}
    tensor_elsewhere = ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1], parameters=shared)
    assert "is in shared memory" in refused(name, tensor_elsewhere)
    assert '"inputs" is empty' in refused(name)


def test_a_message_that_would_take_much_memory_or_is_none_is_refused_unread(served, infer, access):
    many = typed("input_ids", "INT64", [1, 1], [1] * ((1 << 20) + 1))
    assert infer("minilm-eager", many) == (
        "RESOURCE_EXHAUSTED", "The contents have more than 1048576 numbers; send them as raw_input_contents.",
    )  # fmt: skip
    empty = typed("text", "BYTES", [1], [b""] * (1 << 18))
    assert infer("minilm-eager", empty) == (
        "RESOURCE_EXHAUSTED", "The message has more than 262144 fields; split the request.",
    )  # fmt: skip
    status, said = infer("minilm-eager", typed("text", "BYTES", [1], [bytes(17 << 20)]))
    assert status == "RESOURCE_EXHAUSTED" and "max_request_size" in said
    with grpc.insecure_channel(address(served)) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for message in (b"\xff\xff", b"\x2a\x05ab", b"\x0b" * 100_000, b"\x0a\x01\xff"):
            with pytest.raises(grpc.RpcError) as refused:
                ask(message, metadata=list(access.items()), timeout=60)
            assert refused.value.code().name == "INVALID_ARGUMENT"
            assert refused.value.details() == "The message is no ModelInferRequest."
    reply = requests.get(f"{served.config.inference}/v2/models/minilm-eager/ready", headers=access)
    assert reply.status_code == 200
