"""The Open Inference Protocol through a real TorchServe, by Triton's official client: the golden cases of /predictions,
health and metadata, and errors."""

import asyncio
import base64
import json
import re

import numpy as np
import pytest
import requests
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

from export.cases import SENTENCES
from tests.conftest import ROOT
from tests.serving import open_inference
from tests.serving.open_inference import NAMES, as_served, file_of, pixels, refusal, strip, texts_of, token_ids

pytestmark = pytest.mark.served


@pytest.fixture
def access(served):
    return {"Authorization": f"Bearer {served.client.token()}"}


@pytest.fixture
def client(served):
    with triton.InferenceServerClient(served.config.inference.removeprefix("http://")) as made:
        yield made


def tensor(name, values, binary=True):
    return open_inference.tensor(triton, name, values, binary_data=binary)


def outputs(binary, *names):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_cases_are_answered_as_predictions_and_kserve_v1_answer_them(served, client, access, name):
    key, values = as_served(name)
    words = [base64.b64encode(each).decode() if key == "image" else each.decode() for each in values]
    in_json, binary, body = tensor(key, words, False), tensor(key, values), {key: words}
    plain = served.client.predict(name, json.dumps(body).encode(), "application/json").json()
    instances = {"instances": next(iter(body.values()))}
    v1 = requests.post(f"{served.config.inference}/v1/models/{name}:predict", headers=access, json=instances).json()
    for given, how in ((in_json, True), (binary, True), (binary, False)):
        names = ("embedding",) if name.startswith("minilm") else ("token",) if name.startswith("bert") else ("label",)
        wanted = outputs(how, *names, *(() if "embedding" in names else ("score",)))
        answer = client.infer(name, [given], outputs=wanted, request_id="golden", headers=access)
        assert answer.get_response()["id"] == "golden" and answer.get_response()["model_name"] == name
        if names == ("embedding",):
            assert answer.as_numpy("embedding") == pytest.approx(np.array(plain["embeddings"]), abs=1e-5)
            assert answer.as_numpy("embedding") == pytest.approx(np.array(v1["predictions"]), abs=1e-5)
            continue
        records = [each for row in plain["predictions"] for each in row]
        assert texts_of(answer.as_numpy(names[0])) == [each[names[0]] for each in records]
        assert answer.as_numpy("score").ravel() == pytest.approx([each["score"] for each in records], rel=1e-3)
        assert [len(row) for row in v1["predictions"]] == [answer.as_numpy("score").shape[1]] * len(v1["predictions"])


def test_the_asyncio_client_is_answered_alike(served, client, access):
    given = tensor("text", ["hello world"])

    async def ask():
        async with triton_aio.InferenceServerClient(served.config.inference.removeprefix("http://")) as made:
            assert await made.is_model_ready("minilm-torchscript", headers=access)
            many = [made.infer("minilm-torchscript", [given], headers=access) for _ in range(8)]
            return [each.as_numpy("embedding") for each in await asyncio.gather(*many)]

    expected = client.infer("minilm-torchscript", [given], headers=access).as_numpy("embedding")
    for found in asyncio.run(ask()):
        assert found == pytest.approx(expected, abs=1e-5)


def test_health_and_metadata(served, client, access):
    assert client.is_server_live(headers=access) and client.is_server_ready(headers=access)
    assert client.get_server_metadata(headers=access) == {
        "name": "torchserve", "version": "0.12.0", "extensions": ["binary_tensor_data"],
    }  # fmt: skip
    for version in ("", "1.0"):
        assert client.is_model_ready("digits-eager", version, headers=access)
        said = client.get_model_metadata("digits-eager", version, headers=access)
        assert (said["name"], said["versions"], said["platform"]) == ("digits-eager", ["1.0"], "eager")
        assert {each["name"]: (each["datatype"], each["shape"][0]) for each in said["inputs"]} == {
            "image": ("BYTES", -1), "pixels": ("UINT8", -1),
        }  # fmt: skip
        answer = client.infer("null", [tensor("input", ["x"])], version, headers=access)
        assert answer.get_response()["outputs"] == []
    assert not client.is_model_ready("nobody", headers=access)
    assert not client.is_model_ready("null", "9.9", headers=access)


def test_own_token_ids_and_pixels_give_the_same_answers(served, client, access, every_row, tmp_path):
    numbers, mask = token_ids(every_row, tmp_path)
    ids = [tensor("input_ids", numbers), tensor("attention_mask", mask.astype(np.int32))]
    from_ids = client.infer("minilm-torchscript", ids, headers=access).as_numpy("embedding")
    from_texts = client.infer("minilm-torchscript", [tensor("text", list(SENTENCES[:4]))], headers=access)
    assert from_ids == pytest.approx(from_texts.as_numpy("embedding"), abs=1e-5)
    own = tensor("pixels", pixels(every_row))
    logits = client.infer("digits-torchscript", [own], headers=access).as_numpy("logits")
    assert logits.shape == (1, 10) and logits.argmax() == 7


def test_the_documents_example_runs(served, access, monkeypatch, capsys):
    page = (ROOT / "docs" / "api.md").read_text()
    (example,) = re.findall(r"```python\n((?:(?!```).)*tritonclient.*?)```", page, re.DOTALL)
    monkeypatch.setenv("TOKEN", access["Authorization"].removeprefix("Bearer "))
    exec(example.replace("127.0.0.1:8080", served.config.inference.removeprefix("http://")), {})
    assert capsys.readouterr().out == "(2, 384)\n"


def test_mistakes_are_said_in_a_sentence_that_the_official_client_shows(client, access):
    def asked(name, *inputs, **more):
        return refusal(client.infer, name, list(inputs), headers=access, **more)

    text = tensor("text", ["a"])
    assert asked("nobody", text) == ("404", "Model not found: nobody")
    assert asked("null", text, model_version="9")[0] == "404"
    assert asked("minilm-eager", tensor("text", ["a", b"\xff"])) == (
        "400", 'Element 1 of "text" is not UTF-8 text (byte 0 is 0xff); encode it as UTF-8.',
    )  # fmt: skip
    assert asked("minilm-eager", tensor("text", ["a", " "])) == ("400", "Text 1 is blank; send at least one character.")
    assert asked("minilm-eager", tensor("text", ["a"] * 65))[0] == "413"
    assert "it takes: text, input_ids, attention_mask." in asked("minilm-eager", tensor("image", ["a"]))[1]
    assert "expected BYTES" in asked("minilm-eager", tensor("text", np.zeros(1, np.float32)))[1]
    assert "for these inputs are: embedding." in asked("minilm-eager", text, outputs=outputs(True, "label"))[1]
    assert "it knows: top_k." in asked("bert-eager", tensor("text", ["[MASK]"]), priority=3)[1]
    assert asked("digits-eager", tensor("image", [file_of("digits"), b"nothing"]))[1].startswith("Image 1: ")
    assert "Token Authorization failed" in refusal(client.infer, "null", [text])[1]
    assert "Token Authorization failed" in refusal(client.get_server_metadata)[1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/v2/models/null/infer", b"", 405, "method"),
        ("POST", "/v2/models/null", b"{}", 405, "method"),
        ("POST", "/v2/health/live", b"", 405, "method"),
        ("GET", "/v2/no/such/path", b"", 404, ""),
        ("POST", "/v2/models/minilm-eager/infer", b"{", 400, "not valid JSON"),
        ("POST", "/v2/models/minilm-eager/infer", b"", 400, "empty"),
        ("POST", "/v2/models/minilm-eager/explain", b"{}", 400, "no explanations"),
        ("POST", "/v2/models/minilm-eager/infer", b"a" * (16 << 20) + b"a", 413, "max_request_size"),
    ],
)
def test_every_error_has_the_protocols_form(served, access, method, path, body, status, says):
    reply = requests.request(method, served.config.inference + path, headers=access, data=body)
    assert reply.status_code == status and reply.headers["content-type"] == "application/json"
    assert reply.json().keys() == {"error"} and says in reply.json()["error"]


def test_an_image_beyond_the_limit_of_pixels_is_refused_and_its_worker_lives(served, client, access):
    before = [worker["pid"] for worker in served.client.workers("digits-eager")]
    status, said = refusal(client.infer, "digits-eager", [tensor("image", [strip(9_000, 9_000)])], headers=access)
    assert status == "413" and "9000x9000" in said
    assert before == [worker["pid"] for worker in served.client.workers("digits-eager")]


def test_the_header_between_front_end_and_worker_is_no_clients(served, access):
    forged = {**access, "Open-Inference": "metadata", "open-inference": "metadata", "Content-Type": "text/plain"}
    reply = requests.post(f"{served.config.inference}/predictions/minilm-eager", data=b"hi", headers=forged)
    assert reply.json().keys() == {"embedding"}


def test_an_answer_in_json_has_no_binary_header_and_one_in_bytes_has(served, access):
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hi"]}]}
    url = f"{served.config.inference}/v2/models/minilm-eager/infer"
    plain = requests.post(url, headers=access, json=body)
    assert plain.headers["content-type"] == "application/json" and "x-variant" in plain.headers
    assert "inference-header-content-length" not in plain.headers and len(plain.json()["outputs"][0]["data"]) == 384
    binary = requests.post(url, headers=access, json={**body, "parameters": {"binary_data_output": True}})
    length = int(binary.headers["inference-header-content-length"])
    assert binary.headers["content-type"] == "application/octet-stream" and len(binary.content) == length + 384 * 4
