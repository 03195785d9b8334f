"""make triton: Triton's own schema reads its config.pbtxt, it does not overwrite others' folders, and a real
tritonserver (PyPI's nvidia-pytriton) answers Triton's official clients as the library does."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
import yaml
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from deploy.triton import server
from deploy.triton.config import config
from export.catalog import EXACT, MODELS
from export.parity import compare
from export.tasks import TASKS
from export.weights import Choice, write_checkpoint
from openapi.models import of_each_task
from openapi.tensors import inputs, outputs
from serving.errors import ServingError
from serving.owned import MARKER
from tests.conftest import ROOT, run
from tests.serving import open_inference
from tests.serving.open_inference import as_served, file_of, pixels, refusal, texts_of, token_ids
from tests.side_by_side import free_ports

SETTINGS = {"minWorkers": 2, "batchSize": 8, "maxBatchDelay": 1, "deviceType": "cpu"}
SERVED = ("null", "minilm-onnx", "minilm-torchscript", "digits-onnx")
PREDICTING = [each for each in of_each_task() if each.predicts]
READY_S = 240


def parsed(text):
    """The text as read by Triton's own schema; a wrong field or value is an error."""
    return text_format.Parse(text, ModelConfig())


class TestConfig:
    @pytest.mark.parametrize("model", PREDICTING, ids=lambda each: each.task)
    def test_the_tensors_are_those_of_v2(self, model):
        found, batched = parsed(config(model, SETTINGS)), model.task not in (
            "fill-mask", "token-classification", "question-answering", "rerank",
        )  # fmt: skip
        assert (found.name, found.backend, found.max_batch_size) == (model.name, "python", 64 if batched else 0)
        taken, given = {each.name: each for each in inputs(model)[0]}, {each.name: each for each in outputs(model)[0]}
        assert {each.name for each in found.input} == set(taken) and {each.name for each in found.output} == set(given)
        for tensor in (*found.input, *found.output):
            dims = (taken | given)[tensor.name].dims
            assert tuple(tensor.dims) == ((dims[1:] or (1,)) if batched else dims)
        assert all(each.optional for each in found.input) == (len(found.input) > 1)
        assert found.HasField("dynamic_batching") == batched

    def test_settings_of_serving_are_tritons(self):
        model = next(each for each in PREDICTING if each.task == "embedding")
        plain = parsed(config(model, SETTINGS))
        assert list(plain.dynamic_batching.preferred_batch_size) == [8] and not plain.parameters
        assert plain.dynamic_batching.max_queue_delay_microseconds == 1000
        assert (plain.instance_group[0].count, plain.instance_group[0].kind) == (2, ModelInstanceGroup.KIND_CPU)
        other = parsed(config(model, {**SETTINGS, "batchSize": 1, "deviceType": "gpu"}, environment="/opt/env.tar.gz"))
        assert other.instance_group[0].kind == ModelInstanceGroup.KIND_GPU and not other.HasField("dynamic_batching")
        assert other.parameters["EXECUTION_ENV_PATH"].string_value == "/opt/env.tar.gz"


def made(store, out, **more):
    given = {"MODEL_STORE": str(store), "OUT": str(out), "MODELS": "", "VARIANTS": "", "ENVIRONMENT": "",
             "MODELS_FILE": str(out.parent / "models.toml"), **more}  # fmt: skip
    return run("deploy.triton", **given)


class TestRepository:
    def test_a_folder_has_the_archive_and_is_written_again(self, null_store, tmp_path):
        out = tmp_path / "repository"
        settings = "[null]\nworkers = 3\nbatch_size = 4\nbatch_delay_ms = 2.5\nthreads = 1\n"
        (tmp_path / "models.toml").write_text(settings)
        for _ in range(2):
            done = made(null_store, out)
            assert done.returncode == 0 and f"Written: {out / 'null'}" in done.stdout, done.stderr
            stray = out / "null" / "1" / "stray"
            assert not stray.exists()
            stray.touch()
        found = parsed((out / "null" / "config.pbtxt").read_text())
        assert found.instance_group[0].count == 3 and list(found.dynamic_batching.preferred_batch_size) == [4]
        assert found.dynamic_batching.max_queue_delay_microseconds == 2500
        archive = out / "null" / "1" / "archive"
        assert yaml.safe_load((archive / "model-config.yaml").read_text())["archive"]["threads"] == 1
        assert (archive / "handlers" / "service.py").exists() and (archive.parent / "model.py").exists()
        assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []

    def test_others_folders_stay_as_they_are(self, null_store, tmp_path):
        out = tmp_path / "repository"
        (out / "null").mkdir(parents=True)
        (out / "null" / "config.pbtxt").write_text("mine")
        refused = made(null_store, out)
        assert refused.returncode == 1 and "was not written by make triton" in refused.stderr
        assert refused.stderr.endswith("make triton OUT=...\n") and refused.stderr.count("\n") == 1
        assert (out / "null" / "config.pbtxt").read_text() == "mine" and len(list(out.iterdir())) == 1
        (out / "null").rename(out / "mine")
        done = made(null_store, out)
        assert done.returncode == 0 and f"{out / 'mine'} is not of this run; Triton serves it too" in done.stdout
        (out / "null").rename(out / "moved")
        assert (out / "moved" / MARKER).read_text() == f"{out / 'null'}\n"

    def test_mistakes_are_one_sentence(self, null_store, tmp_path):
        (tmp_path / "file").touch()
        for store, out, more, says in (
            (null_store, tmp_path / "file", {}, "is a file; name a folder: make triton OUT=..."),
            (null_store, tmp_path / "file" / "below", {"MODELS_FILE": ""}, "cannot be written (Not a directory)"),
            (null_store, tmp_path / "x", {"MODELS": "nobody"}, "run: make archive MODELS=nobody"),
            (tmp_path, tmp_path / "x", {}, "holds no archive; run: make archive"),
        ):
            done = made(store, out, **more)
            assert done.returncode == 1 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr

    def test_the_server_asks_for_a_repository(self, tmp_path):
        done = run("deploy.triton.server", str(tmp_path / "none"))
        assert done.returncode == 2 and done.stderr.startswith("Name a model repository"), done.stderr


@pytest.fixture(scope="module")
def tritonserver(store, tmp_path_factory):
    """A real tritonserver with ``SERVED``: the addresses of HTTP and gRPC."""
    try:
        server.install()
    except ServingError as error:
        pytest.skip(f"{error} (to try it by hand: python -m deploy.triton.server triton_repository)")
    folder = tmp_path_factory.mktemp("triton")
    done = made(store, folder / "repository", MODELS="null minilm digits", VARIANTS="onnx torchscript")
    assert done.returncode == 0, done.stderr
    http, rpc = free_ports(2)
    options = [f"--http-port={http}", f"--grpc-port={rpc}", "--allow-metrics=false", "--model-control-mode=explicit"]
    loaded = [f"--load-model={name}" for name in SERVED]
    command = [sys.executable, "-m", "deploy.triton.server", str(folder / "repository"), *options, *loaded]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            wait_until_ready(process, f"http://127.0.0.1:{http}/v2/health/ready", folder / "log")
            yield SimpleNamespace(http=f"127.0.0.1:{http}", grpc=f"127.0.0.1:{rpc}", log=folder / "log")
        finally:
            process.terminate()
            try:
                assert process.wait(60) == 0, (folder / "log").read_text(errors="replace")[-2000:]
            finally:
                process.kill()


def wait_until_ready(process, url, log):
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    pytest.fail(f"not ready within {READY_S} s: {log.read_text(errors='replace')[-3000:]}")


@pytest.fixture
def client(tritonserver):
    with triton.InferenceServerClient(tritonserver.http, concurrency=16) as made:
        yield made


def column(name, values, module=triton):
    """An input of texts or files in the form of Triton's batches, [N, 1]; numbers are unchanged."""
    values = np.array(values, dtype=object).reshape(-1, 1) if isinstance(values, list) else values
    return open_inference.tensor(module, name, values)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    def of(name):
        model = next(each for each in MODELS if each.name == name)
        checkpoint = write_checkpoint(model, Choice(), tmp_path_factory.mktemp(name), lambda text: None)
        cases = TASKS[model.task].cases(checkpoint)
        return cases, TASKS[model.task].reference(checkpoint, cases)

    return of


@pytest.mark.served
class TestServer:
    @pytest.mark.parametrize("name", ["minilm-onnx", "minilm-torchscript"])
    def test_texts_are_answered_as_sentence_transformers_does(self, client, checkpoints, name):
        cases, reference = checkpoints("minilm")
        answer = client.infer(name, [column("text", [each.body for each in cases])]).as_numpy("embedding")
        parity = compare([{"embedding": row} for row in answer],
                         [{"embedding": each["embedding"].ravel()} for each in reference],
                         EXACT, classes=False)  # fmt: skip
        print(name, parity.summary())
        assert parity.passed, parity.failures

    def test_images_are_answered_as_torchvision_does(self, client, checkpoints):
        cases, reference = checkpoints("digits")
        bodies, every = [each.body for each in cases], {"top_k": 10}
        found = [client.infer("digits-onnx", [column("image", [each])], parameters=every) for each in bodies]
        scores = [dict(zip(texts_of(each.as_numpy("label")), each.as_numpy("score").ravel(), strict=True))
                  for each in found]  # fmt: skip
        exponents = [np.exp(each["logits"].ravel() - each["logits"].max()) for each in reference]
        parity = compare([{"score": np.array([each[str(digit)] for digit in range(10)])} for each in scores],
                         [{"score": each / each.sum()} for each in exponents], EXACT, classes=True)  # fmt: skip
        print("digits-onnx", parity.summary())
        assert parity.passed, parity.failures

    def test_golden_cases_and_own_inputs_over_http_and_grpc(self, client, tritonserver, store, tmp_path):
        ids, mask = token_ids(store, tmp_path)
        from_texts = client.infer("minilm-onnx", [column(*as_served("minilm-onnx"))]).as_numpy("embedding")
        from_ids = client.infer("minilm-onnx", [column("input_ids", ids), column("attention_mask", mask)])
        assert from_ids.as_numpy("embedding") == pytest.approx(from_texts, abs=1e-5)
        logits = client.infer("digits-onnx", [column("pixels", pixels(store))]).as_numpy("logits")
        assert logits.shape == (1, 10) and logits.argmax() == 7
        with triton_grpc.InferenceServerClient(tritonserver.grpc) as rpc:
            texts = column(*as_served("minilm-onnx"), module=triton_grpc)
            assert rpc.infer("minilm-onnx", [texts]).as_numpy("embedding") == pytest.approx(from_texts, abs=1e-5)
            image = column("image", [file_of("digits")], module=triton_grpc)
            answer = rpc.infer("digits-onnx", [image], parameters={"top_k": 2})
            assert texts_of(answer.as_numpy("label"))[0] == "7" and answer.as_numpy("score").shape == (1, 2)
        assert client.infer("null", [column("input", ["x"])]).get_response()["outputs"] == []

    def test_requests_are_batched_and_a_bad_one_touches_no_other(self, client, tritonserver):
        def count():
            (found,) = client.get_inference_statistics("minilm-onnx")["model_stats"]
            return found["inference_count"], found["execution_count"]

        def ask(text):
            try:
                return rpc.infer("minilm-onnx", [column("text", [text], triton_grpc)]).as_numpy("embedding")[0]
            except triton.InferenceServerException as error:
                return error.status(), error.message()

        before, texts = count(), ["hello world", "hello world", "hello world", " "] * 16
        # One gRPC client, since threads may share it.
        with triton_grpc.InferenceServerClient(tritonserver.grpc) as rpc, ThreadPoolExecutor(16) as pool:
            answers, alone = list(pool.map(ask, texts)), ask("hello world")
        answered, executed = (after - first for after, first in zip(count(), before, strict=True))
        assert answered == len(texts) + 1 and executed < answered
        for text, answer in zip(texts, answers, strict=True):
            if text == " ":
                assert answer == ("StatusCode.INVALID_ARGUMENT", "The text is blank; send at least one character.")
            else:
                assert answer == pytest.approx(alone, abs=1e-5)

    def test_mistakes_are_said_in_the_sentences_of_v2(self, client):
        def asked(name, key, values, **more):
            return refusal(client.infer, name, [column(key, values)], **more)

        assert asked("minilm-onnx", "text", ["a", b"\xff"]) == (
            "400", 'Element 1 of "text" is not UTF-8 text (byte 0 is 0xff); encode it as UTF-8.',
        )  # fmt: skip
        assert asked("digits-onnx", "image", [file_of("digits"), b"nothing"])[1].startswith("Image 1: ")
        assert asked("digits-onnx", "image", [open_inference.strip(9_000, 9_000)])[0] == "400"
        assert "it knows: top_k." in asked("digits-onnx", "image", [file_of("digits")], parameters={"other": 1})[1]
        logits = [triton.InferRequestedOutput("logits")]
        status, said = asked("digits-onnx", "image", [file_of("digits")], outputs=logits)
        assert status == "400" and said.endswith("for these inputs are: label, score.")
        assert asked("minilm-onnx", "text", ["a"] * 65)[0] == "400"  # Triton's own: batch-size must be <= 64
