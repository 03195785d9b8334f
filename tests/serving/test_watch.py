"""A real Prometheus scrapes a real server after known requests: the metrics have the values that docs/monitoring.md
states."""

import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from tritonclient.grpc.service_pb2 import ModelInferRequest

from export.cases import SAMPLES
from serving import nvml
from tests import metrics
from tests.conftest import ROOT
from tests.serving.prometheus import MONITORING, prometheus
from tests.trust.access import INFER, call, field

pytestmark = pytest.mark.served
NAME, LABELS = "minilm-torchscript", 'model="minilm",variant="torchscript",version="1.0"'
IMAGE, OF_IMAGE = "digits-torchscript", 'model="digits",variant="torchscript"'
PNG = (SAMPLES / "seven.png").read_bytes()
TOKENS = 4  # of "hello world": [CLS] hello world [SEP]
PIXELS = int.from_bytes(PNG[16:20], "big") * int.from_bytes(PNG[20:24], "big")  # PNG's header
DURATION = "tsi_request_duration_seconds"
GPUS = nvml.java_options() != []


def took(stage, status, part="count"):
    return f'{DURATION}_{part}{{{LABELS},stage="{stage}",status="{status}"}}'


def errors(kind, labels=LABELS):
    return f'tsi_errors_total{{{labels},kind="{kind}"}}'


def say(served, body=b"hello world", name=NAME, content_type="text/plain"):
    return served.client.predict(name, body, content_type)


@pytest.fixture(scope="module")
def watched(served, tmp_path_factory):
    if not (program := shutil.which("prometheus")):
        pytest.skip("prometheus is not on PATH; on Debian: apt-get install prometheus")
    with prometheus(program, served.config, tmp_path_factory.mktemp("prometheus")) as made:
        yield made


@pytest.fixture
def growth(watched):
    """Starts to watch queries; returns a function that gives the growth of each since then."""

    def begin(*queries):
        before = watched.values(*queries)
        return lambda: [now - then for now, then in zip(watched.values(*queries), before, strict=True)]

    return begin


STAGES = ("total", "queue", "preprocess", "inference", "postprocess")


def test_good_requests_are_counted_and_timed_in_each_stage(served, growth):
    counts = growth(*(took(stage, "2xx") for stage in STAGES), took("total", "4xx"), took("total", "5xx"))
    seconds = growth(*(took(stage, "2xx", "sum") for stage in STAGES))
    began = time.monotonic()
    replies = [say(served) for _ in range(5)]
    elapsed = time.monotonic() - began
    assert all(reply.ok for reply in replies)
    assert counts() == [5] * len(STAGES) + [0, 0]
    total, *parts = seconds()
    assert 0 < sum(parts) < total < elapsed
    shown = sum(float(reply.headers["x-inference-ms"]) for reply in replies) / 1e3
    assert parts[STAGES.index("inference") - 1] == pytest.approx(shown, abs=1e-6)


def test_tokens_pixels_and_batches_of_one(served, growth):
    grown = growth(f"tsi_tokens_total{{{LABELS}}}", f"tsi_pixels_total{{{OF_IMAGE}}}",
                   f"tsi_batch_size_count{{{LABELS}}}", f"tsi_batch_size_sum{{{LABELS}}}")  # fmt: skip
    replies = [say(served), say(served, json.dumps({"text": ["hello world"] * 3}).encode(), NAME, "application/json")]
    replies += [say(served, PNG, IMAGE, "image/png") for _ in range(2)]
    assert all(reply.ok and "x-figures" not in reply.headers for reply in replies)
    assert grown() == [4 * TOKENS, 2 * PIXELS, 2, 2]


def test_requests_that_come_together_share_batches(served, growth):
    grown = growth(f"tsi_batch_size_sum{{{LABELS}}}", f"tsi_batch_size_count{{{LABELS}}}", took("total", "2xx"))
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda _: say(served), range(48)))
    assert all(reply.ok for reply in replies)
    requests_in_batches, batches, answered = grown()
    assert (requests_in_batches, answered) == (48, 48) and 1 <= batches < 48


def test_errors_are_counted_by_kind_and_by_model_if_known(served, growth):
    nobody = 'model="",variant="",version=""'
    grown = growth(took("total", "4xx"), took("queue", "4xx"), errors("bad_request"), errors("too_large"),
                   errors("internal"), errors("not_found", nobody),
                   errors("token", nobody), took("total", "2xx"))  # fmt: skip
    for body in (b"", b"\xff", b"{"):
        assert say(served, body, content_type="application/json").status_code == 400
    assert say(served, json.dumps({"text": ["a"] * 65}).encode(), NAME, "application/json").status_code == 413
    assert say(served, b"a=b", NAME, "application/x-www-form-urlencoded").status_code == 400
    assert say(served, name="nobody").status_code == 404
    assert requests.post(f"{served.config.inference}/predictions/{NAME}", data=b"a").status_code == 401
    assert grown() == [5, 5, 4, 1, 0, 1, 1, 0]


def test_open_inference_and_kserve_v1_count_as_predictions_do(served, growth):
    nobody = 'model="",variant="",version=""'
    grown = growth(took("total", "2xx"), took("inference", "2xx"), took("total", "4xx"),
                   f"tsi_tokens_total{{{LABELS}}}", f"tsi_batch_size_sum{{{LABELS}}}",
                   errors("bad_request"), errors("not_found", nobody), errors("token", nobody),
                   errors("bad_request", nobody))  # fmt: skip
    access = {"Authorization": f"Bearer {served.client.token()}"}

    def ask(path, body=None, headers=access):
        url = f"{served.config.inference}/{path}"
        reply = requests.post(url, json=body, headers=headers) if body else requests.get(url, headers=headers)
        assert "x-figures" not in reply.headers
        return reply.status_code

    def inputs(name, datatype, values):
        return {"inputs": [{"name": name, "datatype": datatype, "shape": [1, len(values)], "data": values}]}

    text = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello world"]}]}
    assert ask(f"v2/models/{NAME}/infer", text) == 200
    assert ask(f"v2/models/{NAME}/versions/1.0/infer", text) == 200
    ones = inputs("input_ids", "INT64", [1] * TOKENS)["inputs"]
    ones += inputs("attention_mask", "INT64", [1] * TOKENS)["inputs"]
    assert ask(f"v2/models/{NAME}/infer", {"inputs": ones}) == 200
    assert ask(f"v2/models/{NAME}/infer", inputs("no_such_input", "INT64", [1])) == 400
    assert ask(f"v1/models/{NAME}:predict", {"instances": ["hello world"]}) == 200
    assert ask("v2/models/nobody/infer", text) == 404
    assert ask(f"v2/models/{NAME}/infer", text, {}) == 401
    assert (ask("v2/health/ready"), ask(f"v2/models/{NAME}/ready"), ask(f"v2/models/{NAME}")) == (200, 200, 200)
    # The metadata is a worker's answer too, without a forward pass.
    assert grown() == [5, 4, 1, 4 * TOKENS, 6, 1, 1, 1, 0]


def test_pixels_that_come_as_a_tensor_are_counted(served, growth):
    grown = growth(f"tsi_pixels_total{{{OF_IMAGE}}}")
    url = f"{served.config.inference}/v2/models/{IMAGE}"
    access = {"Authorization": f"Bearer {served.client.token()}"}
    (own,) = [each for each in requests.get(url, headers=access).json()["inputs"] if each["datatype"] != "BYTES"]
    height, width, channels = own["shape"][1:]
    given = {**own, "shape": [2, height, width, channels], "data": [0] * (2 * height * width * channels)}
    assert requests.post(f"{url}/infer", json={"inputs": [given]}, headers=access).ok
    assert grown() == [2 * height * width]


def test_grpc_calls_count_as_http_requests_do(served, growth):
    grown = growth(took("total", "2xx"), took("inference", "2xx"), took("total", "4xx"), errors("bad_request"),
                   errors("not_found", 'model=""'), errors("token", 'model=""'))  # fmt: skip
    method = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"

    token = served.client.token()

    def predict(name, text, token):
        entry = field(3, field(1, "data").decode() + field(2, text).decode())
        return call(served.config, "grpc_inference_port", method, f"Bearer {token}", field(1, name) + entry)[0]

    def infer(name, text, token, datatype="BYTES"):
        contents = {"bytes_contents": [text.encode()]}
        given = {"name": "text", "datatype": datatype, "shape": [1], "contents": contents}
        message = ModelInferRequest(model_name=name, inputs=[given]).SerializeToString()
        return call(served.config, "grpc_inference_port", INFER, f"Bearer {token}", message)[0]

    assert predict(NAME, "hello", token) == "OK"
    assert predict(NAME, "", token) == "INVALID_ARGUMENT"
    assert predict("nobody", "hello", token) == "NOT_FOUND"
    assert predict(NAME, "hello", "wrong") == "UNAUTHENTICATED"
    assert grown() == [1, 1, 1, 1, 1, 1]
    assert infer(NAME, "hello", token) == "OK"
    assert infer(NAME, " ", token) == "INVALID_ARGUMENT"  # by the worker
    assert infer(NAME, "hello", token, "INT64") == "INVALID_ARGUMENT"  # by the front end
    assert infer("nobody", "hello", token) == "NOT_FOUND"
    assert infer(NAME, "hello", "wrong") == "UNAUTHENTICATED"
    assert grown() == [2, 2, 3, 3, 2, 2]


def test_workers_queues_loads_and_tokens_are_looked_up(served, watched):
    (expires,) = watched.values('tsi_token_expiry_timestamp_seconds{token="inference"} - time()')
    assert 0 < expires <= 3600
    assert watched.value("tsi_token_expiry_timestamp_seconds") > time.time()
    for each in ("tsi_workers_ready", "tsi_workers_wanted", "tsi_model_load_seconds > 0", "tsi_queue_length == 0"):
        assert len(watched.samples(each)) == len(served.names), each
    assert watched.value("tsi_workers_ready") == len(served.names)
    assert watched.value(f"tsi_queue_capacity{{{LABELS}}}") == 100
    assert watched.value(f"tsi_worker_restarts_total{{{LABELS}}}") == 0


def test_rules_and_dashboard_work_on_what_prometheus_has(served, watched):
    say(served)
    watched.values("up")
    rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == 20
    assert all(rule["health"] in ("ok", "unknown") and not rule.get("lastError") for rule in rules), rules
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            watched.samples(target["expr"].replace("$model", ".*"))
    for record in ("model_status:tsi_requests:rate5m", "model:tsi_tokens:rate5m"):
        assert watched.value(f"{record}{{{LABELS}}}") > 0
    firing = [each["labels"]["alertname"] for each in watched.get("alerts")["alerts"] if each["state"] == "firing"]
    assert set(firing) <= {"TorchServeTokenExpires"}  # the tests have used the server for an hour


def test_the_page_lists_what_the_endpoint_has_and_the_endpoint_has_nothing_empty(served):
    text = metrics.text(served.config)
    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    page = (ROOT / "docs" / "monitoring.md").read_text()
    ours = {name.removesuffix("_total") for name in re.findall(r"^\| `(tsi_\w+)`", page, re.MULTILINE)}
    absent = set() if GPUS else {name for name in ours if name.startswith("tsi_gpu_")}
    assert {name.removesuffix("_total") for name in families if name.startswith("tsi_")} == ours - absent
    own = page.partition("TorchServe's own metrics")[2].partition("###")[0]
    theirs = set(re.findall(r"^\| `(\w+)`", own, re.MULTILINE))
    assert {name for name in families if not name.startswith("tsi_")} == theirs
    sampled = {name for name, _, _ in metrics.SAMPLE.findall(text)}
    empty = {name for name in families if not any(each.startswith(name) for each in sampled)}
    assert empty <= {"Requests4XX", "Requests5XX"}  # TorchServe's own, until the first such answer


def test_clients_data_is_no_label(served):
    word = f"Zq{time.time_ns()}"
    say(served, name=word)
    say(served, f"{word}=".encode())
    requests.get(f"{served.config.inference}/{word}", headers={"Authorization": f"Bearer {served.client.token()}"})
    assert word not in metrics.text(served.config)
