"""The protocol's messages. Requests of the official client are read, the client reads the answers, and malformed
requests are refused in one sentence."""

import json
import struct

import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from handlers.errors import RequestError, TooLarge
from handlers.open_inference import JSON_LENGTH, MOST_BYTES, InferenceRequest, Spec, Tensor
from handlers.open_inference.answer import Response, write_answer
from handlers.open_inference.request import read_request

LIMIT = 8
SPECS = (
    Spec("text", "BYTES", (-1,)), Spec("ids", "INT64", (-1, -1), ("INT32",)), Spec("pixels", "UINT8", (-1, 2, 3)),
)  # fmt: skip
QUICK = settings(deadline=None, max_examples=60)


def body_of(inputs, **options):
    """(body, headers) as the official client writes them. ``inputs`` maps a name to (array, whether it is binary)."""
    given = []
    for name, (values, binary) in inputs.items():
        datatype = triton._infer_input.np_to_triton_dtype(values.dtype)
        tensor = triton.InferInput(name, list(values.shape), datatype)
        given.append(tensor.set_data_from_numpy(values, binary_data=binary))
    body, length = triton.InferenceServerClient.generate_request_body(given, **options)
    return body, {} if length is None else {JSON_LENGTH: str(length)}


def read(body, headers=None):
    return read_request(body, headers or {}, SPECS, LIMIT)


texts = st.lists(st.text(st.characters(codec="utf-8"), max_size=9), min_size=1, max_size=LIMIT)
ids = arrays.arrays(st.sampled_from([np.int64, np.int32]), st.tuples(st.integers(1, LIMIT), st.integers(1, 5)))
pixels = arrays.arrays(np.uint8, st.tuples(st.integers(1, LIMIT), st.just(2), st.just(3)))


@QUICK
@given(texts, ids, pixels, st.tuples(st.booleans(), st.booleans(), st.booleans()), st.text("id-9", max_size=5))
def test_requests_of_the_official_client_are_read(words, numbers, image, binary, identity):
    named = {"text": np.array(words, dtype=object), "ids": numbers, "pixels": image}
    body, headers = body_of(
        {name: (values, flag) for (name, values), flag in zip(named.items(), binary, strict=True)},
        request_id=identity, parameters={"top_k": 2},
    )  # fmt: skip
    asked = read(body, headers)
    found = [each.decode() if isinstance(each, bytes) else each for each in asked.tensors["text"].values]
    assert found == words and asked.tensors["text"].shape == (len(words),)
    for name in ("ids", "pixels"):
        assert asked.tensors[name].values.dtype == named[name].dtype
        assert (asked.tensors[name].values == named[name]).all()
    assert (asked.identity, asked.options, asked.binary) == (identity or None, {"top_k": 2}, True)


@QUICK
@given(texts, arrays.arrays(np.float32, (2, 3), elements=st.floats(-9, 9, width=32)), ids, st.booleans(), st.booleans())
def test_the_official_client_reads_the_answers(words, scores, numbers, first, rest):
    outputs = {
        "label": Tensor("BYTES", (len(words),), words),
        "score": Tensor.of(scores, "FP32"),
        "index": Tensor.of(numbers, "INT64"),
    }
    asked = InferenceRequest({}, outputs={"index": rest, "label": first, "score": rest}, identity="a")
    written = write_answer(("m", "1.0"), asked, outputs)
    length = written.headers.get(JSON_LENGTH)
    answer = triton.InferenceServerClient.parse_response_body(written.body, header_length=length)
    said = answer.get_response()
    assert (said["id"], said["model_name"], said["model_version"]) == ("a", "m", "1.0")
    assert [each["name"] for each in said["outputs"]] == ["index", "label", "score"]
    assert (answer.as_numpy("score") == scores).all() and (answer.as_numpy("index") == numbers).all()
    found = [each.decode() if isinstance(each, bytes) else each for each in answer.as_numpy("label").tolist()]
    assert found == words
    assert written.content_type == ("application/octet-stream" if first or rest else "application/json")


def test_a_column_of_texts_and_nested_data_are_accepted():
    column = {"inputs": [{"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [["a"], ["b"]]}]}
    assert read(orjson.dumps(column)).tensors["text"].values == ["a", "b"]
    nested = {"inputs": [{"name": "pixels", "shape": [1, 2, 3], "datatype": "UINT8", "data": [[[1, 2, 3], [4, 5, 6]]]}]}
    assert read(orjson.dumps(nested)).tensors["pixels"].values.tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_each_output_is_binary_as_it_says_or_as_the_request_says():
    document = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}],
        "outputs": [{"name": "x"}, {"name": "y", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True},
    }
    asked = read(orjson.dumps(document))
    assert asked.outputs == {"x": True, "y": False} and asked.options == {}


def test_an_answer_that_is_too_long_for_torchserve_is_refused():
    large = {"x": Tensor.of(np.zeros(MOST_BYTES // 4 + 1), "FP32")}
    with pytest.raises(TooLarge, match="has more than 12 MiB"):
        write_answer(("m", "1"), InferenceRequest({}), large)
    long = {"x": Tensor("BYTES", (1,), ["a" * MOST_BYTES])}
    for binary in (True, False):
        with pytest.raises(TooLarge):
            write_answer(("m", "1"), InferenceRequest({}, binary=binary), long)
    short = {**long, "y": Tensor("BYTES", (0,), [])}
    assert write_answer(("m", "1"), InferenceRequest({}, outputs={"y": False}), short).headers == {}


def text(**changed):
    return {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"], **changed}


def id_tensor(**changed):
    return {"name": "ids", "shape": [1, 2], "datatype": "INT64", "data": [1, 2], **changed}


def size(count, tensor=text):
    made = tensor(parameters={"binary_data_size": count})
    del made["data"]
    return made


def element(content):
    return struct.pack("<I", len(content)) + content


@pytest.mark.parametrize(
    ("inputs", "rest", "says"),
    [
        ([], b"", '"inputs" is empty; this model takes: text, ids, pixels.'),
        ([5], b"", 'a list of objects with a "name"'),
        ({"name": "text"}, b"", '"inputs" is an object'),
        ([text(name="txet")], b"", "it takes: text, ids, pixels."),
        ([text(), text()], b"", 'The input "text" is given twice.'),
        ([text(datatype="STRING")], b"", 'The input "text" has another datatype; expected BYTES.'),
        ([text(datatype=["BYTES"])], b"", "another datatype"),
        ([id_tensor(datatype="FP32")], b"", "expected INT64 or INT32"),
        ([text(shape=None)], b"", 'has no "shape" that is a list of whole numbers'),
        ([text(shape=[-1])], b"", "list of whole numbers"),
        ([text(shape=[True])], b"", "list of whole numbers"),
        ([text(shape=[1.0])], b"", "list of whole numbers"),
        ([text(shape=[])], b"", "another shape; expected [-1]"),
        ([text(shape=[2, 2])], b"", "another shape"),
        ([text(shape=[1] * 500)], b"", "another shape"),
        ([text(shape=[0], data=[])], b"", "is empty; send at least one item"),
        ([text(shape=[9], data=["a"] * 9)], b"", "has 9 items; at most 8 are accepted"),
        ([text(shape=[2**63])], b"", "at most 8 are accepted"),
        ([text(shape=[1])], b"", "has 2 values; its shape makes another number"),
        ([id_tensor(shape=[1, 2**62])], b"", "its shape makes another number"),
        ([id_tensor(data=[1, 2.5])], b"", "no list of whole numbers"),
        ([id_tensor(data=[1, True])], b"", "no list of whole numbers"),
        ([id_tensor(data=[1, "a" * 99])], b"", "no list of whole numbers"),
        ([id_tensor(data=[[[1, 2]]])], b"", "no list of whole numbers"),
        ([id_tensor(data=[[1], 2])], b"", "no list of whole numbers"),
        ([id_tensor(data=[1, 2**63])], b"", "a value beyond INT64"),
        ([id_tensor(datatype="INT32", data=[1, 2**31])], b"", "a value beyond INT32"),
        ([text(data=["a", 5])], b"", "no list of strings"),
        ([text(data="ab")], b"", "no list of strings"),
        ([text(data=None)], b"", "no list of strings"),
        ([text(parameters=[])], b"", 'The input "text"\'s "parameters" is a list'),
        ([text(parameters={"shared_memory_region": "x"})], b"", "in shared memory"),
        ([text(parameters={"binary_data_size": 3})], b"abc", 'needs either "data" or the parameter'),
        ([size(3)], b"", "at most the 0 that are left"),
        ([size(-1)], b"abc", "must be a number of bytes"),
        ([size(2**70)], b"abc", "must be a number of bytes"),
        ([size("3")], b"abc", "must be a number of bytes"),
        ([size(3)], b"abc", "is not the 2 elements of its shape"),
        ([size(5)], element(b"a"), "is not the 2 elements of its shape"),
        ([size(15)], element(b"a") * 3, "is not the 2 elements of its shape"),
        ([size(8)], b"\xff\xff\xff\xff" * 2, "is not the 2 elements of its shape"),
        ([size(10)], element(b"a") * 3, "5 bytes follow the binary tensors"),
        ([text()], b"x", "1 bytes follow the binary tensors"),
        ([size(15, id_tensor)], bytes(15), "has 15 bytes; its shape and datatype make another number"),
    ],
)  # fmt: skip
def test_a_tensor_that_cannot_be_read_is_refused_with_a_sentence(inputs, rest, says):
    document = json.dumps({"inputs": inputs}).encode()
    with pytest.raises(RequestError) as refused:
        read(document + rest, {JSON_LENGTH: str(len(document))})
    assert says in str(refused.value) and str(refused.value).endswith(".")


def wanting(parameters):
    return orjson.dumps({"inputs": [text()], "outputs": [{"name": "x", "parameters": parameters}]})


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "The request body is empty"),
        (b"[]", 'The JSON body is a list; expected an object {"inputs": [...]}.'),
        (b"{", "not valid JSON"),
        (b'{"inputs": [{"name": "\xff"}]}', "not valid JSON"),
        (b'{"text": "a"}', '"inputs" is null'),
        (b'{"inputs": [{}]}', 'a list of objects with a "name"'),
        (orjson.dumps({"inputs": [text()], "paramters": {"top_k": 1}}), "has an unknown key; it can have: id"),
        (orjson.dumps({"inputs": [text()], "id": 5}), '"id" is a number; expected a string.'),
        (orjson.dumps({"inputs": [text()], "parameters": 5}), '"parameters" is a number'),
        (orjson.dumps({"inputs": [text()], "parameters": {"binary_data_output": 1}}), "expected true or false"),
        (orjson.dumps({"inputs": [text()], "outputs": {"name": "x"}}), '"outputs" is an object'),
        (orjson.dumps({"inputs": [text()], "outputs": {}}), '"outputs" is an object'),
        (wanting({"classification": 3}), 'can have "binary_data" and nothing else'),
        (wanting({"binary_data": 3}), "expected true or false"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_read_is_refused_with_a_sentence(document, says):
    with pytest.raises(RequestError) as refused:
        read(document)
    assert says in str(refused.value)


@pytest.mark.parametrize("length", ["0", "-1", "999", "x", "٣", "1" * 40, "1.5", ""])
def test_a_wrong_length_of_the_json_is_refused(length):
    with pytest.raises(RequestError, match=f"{JSON_LENGTH} must be the bytes of the JSON, from 1 to the"):
        read(orjson.dumps({"inputs": [text()]}), {JSON_LENGTH.lower(): length})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["text", "ids", "pixels", "BYTES", "INT64", "UINT8", 2**31, -1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size", "inputs", "outputs"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@st.composite
def changed_requests(draw):
    """(body, headers) of a valid request with a few random changes."""
    document = {"inputs": [text(), size(16, id_tensor)], "outputs": [{"name": "x"}], "parameters": {}}
    for _ in range(draw(st.integers(1, 3))):
        inputs = document["inputs"] if isinstance(document["inputs"], list) else []
        place = draw(st.sampled_from([document, *(each for each in inputs if isinstance(each, dict) and each)]))
        place[draw(st.sampled_from(sorted(place)))] = draw(ANYTHING)
    head = orjson.dumps(document)
    length = draw(st.sampled_from([len(head)] * 4 + [len(head) - 1, len(head) + 3, 0]))
    return head + draw(st.binary(min_size=12, max_size=20)), {JSON_LENGTH: str(length)}


@settings(deadline=None, max_examples=400)
@given(changed_requests() | st.tuples(st.binary(max_size=40), st.just({})))
def test_every_request_is_read_or_refused(sent):
    try:
        asked = read(*sent)
    except RequestError as refused:
        assert str(refused).endswith(".") and len(str(refused)) < 300
    else:
        assert all(len(each.values) <= LIMIT for each in asked.tensors.values())


def test_an_error_has_the_content_type_of_json():
    assert Response().content_type == "application/json"
