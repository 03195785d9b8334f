"""Ray Serve's records of requests, compared with TorchServe's of the same ones: headers, lines of the request log,
spans at a real collector, and metrics that a real Prometheus scrapes with the committed rules."""

from __future__ import annotations

import http.client
import json
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from export.cases import SAMPLES
from serving.state import await_ended
from tests import metrics
from tests.deploy.ray_fuzz import replicas
from tests.serving.collector import collector
from tests.serving.prometheus import MONITORING, prometheus
from tests.trust.place import eventually, halted, place

pytestmark = pytest.mark.served
pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]', or make serve ENGINE=ray")
NAME, LABELS = "digits-torchscript", 'model="digits",variant="torchscript",version="1.0"'
PNG = (SAMPLES / "seven.png").read_bytes()
PIXELS = int.from_bytes(PNG[16:20], "big") * int.from_bytes(PNG[20:24], "big")  # PNG's header
LARGEST = 1 << 20
SETTINGS = {"trace_ratio": "0", "request_log": "requests.jsonl", "max_request_size": str(LARGEST)}
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
DELAY_MS = 300
EVERY = "3s"  # each scrape asks Ray's controller
STAGES = ["queue", "preprocess", "inference", "postprocess"]
# Headers of HTTP itself, which uvicorn and Netty write in their own ways.
OF_HTTP = {"date", "server", "connection", "content-length", "transfer-encoding"}
TENSORS = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["no image"]}]}
ASKED = {
    "predictions": {},
    "another version": {"path": f"predictions/{NAME}/1.0"},
    "v1": {"path": f"v1/models/{NAME}:predict", "body": b'{"instances": []}', "Content-Type": "application/json"},
    "v2": {"path": f"v2/models/{NAME}/infer", "body": json.dumps(TENSORS).encode(), "Content-Type": "application/json"},
    "metadata": {"path": f"v2/models/{NAME}", "method": "GET", "body": b""},
    "no image": {"body": b"none"},
    "no answer of a model": {"path": "v2/health/live", "method": "GET", "body": b""},
    "wrong token": {"token": "wrong"},
    "no such model": {"path": "predictions/nobody"},
    "no such version": {"path": f"predictions/{NAME}/9"},
    "no such path": {"path": "nothing"},
    "wrong method": {"method": "GET"},
    "too large": {"body": b"x" * (LARGEST + 1)},
    "unknown coding": {"Content-Encoding": "br"},
}


class Engine:
    """A server and the collector of its spans."""

    def __init__(self, made, spans):
        self.made, self.config, self.spans = made, made.config, spans
        self.log = made.config.path.with_name("requests.jsonl")

    def ask(self, path=f"predictions/{NAME}", method="POST", body=PNG, token=None, **headers):
        token = token or self.made.client.token()
        given = {"Authorization": f"Bearer {token}", "Content-Type": "image/png", **headers}
        return requests.request(method, f"{self.config.inference}/{path}", data=body, headers=given, timeout=60)

    def line(self, reply):
        """The line of the log that has the answer's id."""
        identity = reply.headers["x-request-id"]
        eventually(lambda: identity in self.log.read_text())
        (found,) = [each for each in map(json.loads, self.log.read_text().splitlines())
                    if each.get("request_id") == identity]  # fmt: skip
        return found


def delayed(path):
    """A models.toml with a delay of null's batches."""
    path.write_text(f"[null]\nbatch_size = 4\nbatch_delay_ms = {DELAY_MS}\n")
    return path


@pytest.fixture(scope="module")
def engines(store, tmp_path_factory):
    """Ray Serve and TorchServe, each with the same archives and settings."""
    with collector() as one, collector() as other:
        folders = [tmp_path_factory.mktemp(name) for name in ("ray", "torchserve")]
        with place(folders[0], store, ["null", NAME], trace_endpoint=one.endpoint, **SETTINGS) as ray, place(
            folders[1], store, ["null", NAME], trace_endpoint=other.endpoint, **SETTINGS
        ) as torchserve:
            ray.serve(ENGINE="ray", MODELS_FILE=str(delayed(folders[0] / "models.toml")), **SOON)
            torchserve.serve(**SOON)
            yield Engine(ray, one), Engine(torchserve, other)
        assert ray.processes() == torchserve.processes() == []  # no exporter is left either


@pytest.fixture(scope="module")
def ray(engines):
    return engines[0]


def parent(sampled=True):
    """(trace, header traceparent) of a client that records or does not."""
    trace = uuid.uuid4().hex
    return trace, {"traceparent": f"00-{trace}-b7ad6b7169203331-{sampled:02x}"}


@pytest.mark.parametrize("what", ASKED)
def test_both_engines_answer_with_the_same_headers(engines, what):
    one, other = (engine.ask(**ASKED[what]) for engine in engines)
    assert one.status_code == other.status_code
    names = [{name.lower() for name in reply.headers} - OF_HTTP for reply in (one, other)]
    assert names[0] == names[1]
    same = names[0] - {"x-request-id", "x-model-version"} - {name for name in names[0] if name.endswith("-ms")}
    assert {name: one.headers[name] for name in same} == {name: other.headers[name] for name in same}


@pytest.mark.parametrize("what", [each for each in ASKED if each != "no answer of a model"])
def test_both_engines_write_the_same_fields_into_the_log(engines, what):
    lines = [engine.line(engine.ask(**ASKED[what])) for engine in engines]
    assert lines[0].keys() == lines[1].keys()
    times = {key for key in lines[0] if key.endswith("_ms")}
    same = lines[0].keys() - times - {"time", "request_id", "bytes_out", "bytes_in"}
    assert {key: lines[0][key] for key in same} == {key: lines[1][key] for key in same}


def test_the_times_of_an_answer_are_parts_of_what_its_client_waited(ray):
    reply = ray.ask()
    parts = [float(reply.headers[f"x-{name}-ms"]) for name in STAGES]
    assert 0 < sum(parts) < float(reply.headers["x-total-ms"]) < reply.elapsed.total_seconds() * 1e3
    line = ray.line(reply)
    assert [line[f"{name}_ms"] for name in STAGES] == pytest.approx(parts, abs=2e-3)
    assert (line["pixels"], line["bytes_in"], line["bytes_out"]) == (PIXELS, len(PNG), len(reply.content))
    assert int(reply.headers["x-pixels"]) == PIXELS


def test_a_wait_for_the_replica_is_the_queue_and_not_the_model(ray):
    """The replica is halted for a while with an earlier request."""
    assert ray.ask().ok
    [replica] = map(psutil.Process, replicas(NAME, ray.made.state.pid))
    with ThreadPoolExecutor(1) as pool:
        with halted(replica):
            asked = pool.submit(ray.ask)
            time.sleep(1)
        reply = asked.result()
    assert float(reply.headers["x-queue-ms"]) > 500 > float(reply.headers["x-inference-ms"])


def test_a_batch_waits_for_further_requests_as_long_as_models_toml_says(ray):
    assert float(ray.ask("predictions/null").headers["x-queue-ms"]) >= DELAY_MS


def test_a_traced_request_gives_the_spans_that_it_gives_elsewhere(engines):
    found = []
    for engine in engines:
        trace, header = parent()
        reply = engine.ask(**header, tracestate="vendor=1")
        spans = engine.spans.await_trace(trace, 5)
        request, stages = spans["request"], [spans[name] for name in STAGES]
        times = [request.begin, *(at for each in stages for at in (each.begin, each.end)), request.end]
        assert times == sorted(times), spans
        took = [(each.end - each.begin) / 1e6 for each in stages]
        assert took == pytest.approx([float(reply.headers[f"x-{name}-ms"]) for name in STAGES], abs=2e-3)
        assert all(each.parent == request.own for each in stages)
        assert request.attributes.pop("tsi.request_id") == reply.headers["x-request-id"]
        found.append((request.parent, request.kind, request.state, request.status, request.service, request.attributes))
    assert found[0] == found[1] and found[0][0] == "b7ad6b7169203331"


def test_a_parent_that_is_not_sampled_gives_no_span_and_the_log_has_its_trace(ray):
    trace, header = parent(sampled=False)
    reply = ray.ask(**header)
    later, other = parent()
    assert ray.ask(token="wrong", **other).status_code == 401
    (request,) = ray.spans.await_trace(later, 1).values()
    assert request.attributes["error.type"] == "token"
    assert ray.spans.of(trace) == [] and ray.line(reply)["trace_id"] == trace


def test_nothing_that_a_client_sends_is_in_the_log_or_in_a_span(ray):
    word, (trace, header) = f"Zq{uuid.uuid4().hex}", parent()
    sent = {**header, "x-mine": word, "x-request-id": word, "User-Agent": word, "Cookie": word}
    for path in (f"predictions/{NAME}?top_k={word}", f"predictions/{word}", word, f"v2/{word}"):
        ray.ask(path, **sent)
    assert ray.ask(token=word, **sent).status_code == 401
    eventually(lambda: len([each for each in ray.spans.of(trace) if each.name == "request"]) == 5)
    eventually(lambda: ray.log.read_text().count(trace) == 5)
    log, spans = ray.log.read_text(), b"".join(ray.spans.raw)
    assert word not in log and word.encode() not in spans and "127.0.0.1" not in log


def test_a_client_that_hangs_up_is_in_the_log_and_in_the_metrics(ray):
    trace, header = parent(sampled=False)
    gone = metrics.value(ray.config, "tsi_errors_total", kind="client_gone", model="digits")
    [replica] = map(psutil.Process, replicas(NAME, ray.made.state.pid))
    with halted(replica):
        connection = http.client.HTTPConnection(ray.config.inference.removeprefix("http://"))
        token = {"Authorization": f"Bearer {ray.made.client.token()}", "Content-Type": "image/png", **header}
        connection.request("POST", f"/predictions/{NAME}", PNG, token)
        time.sleep(0.5)  # the front has it
        connection.close()
        eventually(lambda: trace in ray.log.read_text())
    (line,) = [each for each in map(json.loads, ray.log.read_text().splitlines()) if each.get("trace_id") == trace]
    assert line["error"] == "client_gone" and "status" not in line
    assert metrics.value(ray.config, "tsi_errors_total", kind="client_gone", model="digits") == gone + 1


def test_the_metrics_count_spans_and_lines(ray):
    trace, header = parent()
    ray.line(ray.ask(**header))
    ray.spans.await_trace(trace, 5)

    def agree():
        sent = metrics.value(ray.config, "tsi_trace_spans_total", result="exported")
        written = metrics.value(ray.config, "tsi_request_log_lines_total", result="written")
        return (sent, written) == (len(ray.spans.spans), len(ray.log.read_text().splitlines()))

    eventually(agree)


@pytest.fixture(scope="module")
def watched(ray, tmp_path_factory):
    if not (program := shutil.which("prometheus")):
        pytest.skip("prometheus is not on PATH; on Debian: apt-get install prometheus")
    with prometheus(program, ray.config, tmp_path_factory.mktemp("prometheus"), EVERY) as made:
        yield made


def took(stage, status, part="count"):
    return f'tsi_request_duration_seconds_{part}{{{LABELS},stage="{stage}",status="{status}"}}'


def errors(kind, labels=LABELS):
    return f'tsi_errors_total{{{labels},kind="{kind}"}}'


def test_a_real_prometheus_sees_the_requests_that_were_sent(ray, watched):
    nobody = 'model="",variant="",version=""'
    queries = [*(took(stage, "2xx") for stage in ("total", *STAGES)), took("total", "4xx"), errors("bad_request"),
               errors("not_found", nobody), errors("token", nobody), f"tsi_pixels_total{{{LABELS}}}",
               f"tsi_batch_size_sum{{{LABELS}}}"]  # fmt: skip
    before = watched.values(*queries)
    with ThreadPoolExecutor(8) as pool:
        assert all(reply.ok for reply in pool.map(lambda _: ray.ask(), range(16)))
    assert ray.ask(body=b"none").status_code == 400
    assert ray.ask(path="predictions/nobody").status_code == 404
    assert ray.ask(token="wrong").status_code == 401
    grown = [now - then for now, then in zip(watched.values(*queries), before, strict=True)]
    assert grown == [16] * 5 + [1, 1, 1, 1, 16 * PIXELS, 17]


def test_replicas_queues_loads_and_tokens_are_looked_up(ray, watched):
    (expires,) = watched.values('tsi_token_expiry_timestamp_seconds{token="inference"} - time()')
    assert 0 < expires <= 3600
    for each in ("tsi_workers_ready == 1", "tsi_workers_wanted == 1", "tsi_model_load_seconds > 0",
                 "tsi_queue_capacity == 100"):  # fmt: skip
        assert {sample["metric"]["model"] for sample in watched.samples(each)} == {"digits", "null"}, each


def test_rules_and_dashboard_work_on_what_prometheus_has(ray, watched):
    assert ray.ask().ok
    watched.values("up")
    rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
    assert all(rule["health"] in ("ok", "unknown") and not rule.get("lastError") for rule in rules), rules
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            watched.samples(target["expr"].replace("$model", ".*"))
    for record in ("model_status:tsi_requests:rate5m", "model:tsi_pixels:rate5m"):
        assert watched.value(f"{record}{{{LABELS}}}") > 0
    assert [each for each in watched.get("alerts")["alerts"] if each["state"] == "firing"] == []


def test_the_names_are_those_of_torchserve_but_for_restarts_and_the_queue(engines):
    def ours(engine):
        lines = metrics.text(engine.config).splitlines()
        return {line.split()[2].removesuffix("_total") for line in lines if line.startswith("# TYPE tsi_")}

    one, other = map(ours, engines)
    assert other - one == {"tsi_worker_restarts", "tsi_queue_length"} and one <= other


def test_a_setting_that_ray_cannot_honour_is_refused_by_name(store, tmp_path):
    with place(tmp_path, store, ["null"], max_connections="50") as made:
        done = made.verb("serve", ENGINE="ray")
        assert done.returncode == 1 and "max_connections=50: Ray Serve has no such setting" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_exporter_that_ends_is_started_again_and_no_request_fails(ray):
    def exporters():
        return [each for each in ray.made.processes() if any("tracing/export.py" in word for word in each.cmdline())]

    (exporter,) = exporters()
    exporter.kill()
    await_ended([exporter], 10)
    sent = []

    def arrives():
        trace, header = parent()
        assert ray.ask(**header).ok
        return any(ray.spans.of(each) for each in sent) or sent.append(trace)

    eventually(arrives, every_s=0.2)
    assert [each.pid for each in exporters()] != [exporter.pid]
