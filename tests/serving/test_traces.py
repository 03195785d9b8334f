"""Traces and the request log of a real server: the spans at a real collector, the written lines, and that neither has a
client's data. No request fails because of a collector that is down or a full disk."""

import http.client
import json
import os
import signal
import subprocess
import sys
import uuid

import grpc
import pytest
import requests
from tritonclient.grpc.service_pb2 import ModelInferRequest

from tests import metrics
from tests.conftest import ROOT, free_ports
from tests.serving.collector import collector
from tests.trust.access import INFER, PREDICTIONS, field
from tests.trust.place import eventually, place

pytestmark = pytest.mark.served
NAME = "minilm-torchscript"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
STAGES = ["queue", "preprocess", "inference", "postprocess"]
RECORDS = {"trace_ratio": "0", "request_log": "-", "request_log_megabytes": "1"}
TOKENS = 4  # of "hello world": [CLS] hello world [SEP]
TIMES = {"receive_ms", "total_ms", *(f"{name}_ms" for name in STAGES)}
SERVER, INTERNAL = 2, 1  # OTLP's kinds of spans


class Watched:
    """A server in the foreground whose log goes to standard output, and the collector of its spans."""

    def __init__(self, made, spans, out):
        self.config, self.client, self.spans, self.out = made.config, made.client, spans, out
        self.log = made.directory.logs / "requests.jsonl"
        self.made = made

    def ask(self, path=f"predictions/{NAME}", body=b"hello world", token=None, **headers):
        headers = {"Authorization": f"Bearer {token or self.client.token()}", "Content-Type": "text/plain", **headers}
        return requests.post(f"{self.config.inference}/{path}", data=body, headers=headers)

    def line_of(self, key, value):
        """The one line of the log whose field has that value."""
        eventually(lambda: value in self.log.read_text())
        (found,) = [line for line in map(json.loads, self.log.read_text().splitlines()) if line.get(key) == value]
        return found

    def line(self, reply):
        return self.line_of("request_id", reply.headers["x-request-id"])

    def call(self, method, message, **headers):
        """A gRPC call: (status code, trailing metadata)."""
        number = {key: number for number, key in self.config.ports().items()}["grpc_inference_port"]
        metadata = {"authorization": f"Bearer {self.client.token()}", **headers}
        with grpc.insecure_channel(f"127.0.0.1:{number}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                _, made = channel.unary_unary(method).with_call(message, metadata=list(metadata.items()), timeout=15)
            except grpc.RpcError as error:
                made = error
            return made.code().name, dict(made.trailing_metadata())


def in_foreground(made, out, **environment):
    """make serve FOREGROUND=1, ready, with its output in the file ``out``."""
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "serve"], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, **made.environment, **SOON, **environment, "FOREGROUND": "1"},
        )  # fmt: skip
    eventually(lambda: "Ready after" in out.read_text() or process.poll() is not None, 120)
    assert process.poll() is None, out.read_text()
    return process


@pytest.fixture(scope="module")
def watched(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    names = ["null", NAME]
    with collector() as spans, place(folder, store, names, trace_endpoint=spans.endpoint, **RECORDS) as made:
        process = in_foreground(made, folder / "out")
        try:
            yield Watched(made, spans, folder / "out")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert made.processes() == []  # no exporter is left either


def parent(sampled=True):
    """(trace, header traceparent) of a client that records or does not."""
    trace = uuid.uuid4().hex
    return trace, {"traceparent": f"00-{trace}-b7ad6b7169203331-{sampled:02x}"}


def test_a_traced_request_gives_spans_of_the_request_and_of_each_stage_in_their_order(watched):
    trace, header = parent()
    reply = watched.ask(**header, tracestate="vendor=1")
    assert reply.ok and not {"x-began", "x-traced"} & {name.lower() for name in reply.headers}
    spans = watched.spans.await_trace(trace, 5)
    request, stages = spans["request"], [spans[name] for name in STAGES]
    assert (request.parent, request.kind, request.state) == ("b7ad6b7169203331", SERVER, "vendor=1")
    assert all((each.parent, each.kind) == (request.own, INTERNAL) for each in stages)
    times = [request.begin, *(at for each in stages for at in (each.begin, each.end)), request.end]
    assert times == sorted(times), spans
    took = [(each.end - each.begin) / 1e6 for each in stages]
    assert took == pytest.approx([float(reply.headers[f"x-{name}-ms"]) for name in STAGES], abs=2e-3)
    assert request.attributes == {
        "tsi.api": "predictions", "http.request.method": "POST", "http.response.status_code": 200,
        "tsi.model": "minilm", "tsi.variant": "torchscript", "tsi.version": "1.0", "tsi.batch_size": 1,
        "tsi.tokens": TOKENS, "tsi.request_id": reply.headers["x-request-id"],
    }  # fmt: skip
    assert (request.service, request.status) == ("torchscript-inference", 0)


def test_a_parent_that_is_not_sampled_gives_no_span_and_the_log_has_its_trace(watched):
    trace, header = parent(sampled=False)
    reply = watched.ask(**header)
    later, other = parent()
    watched.ask(**other)
    watched.spans.await_trace(later, 5)
    assert watched.spans.of(trace) == []
    assert watched.line(reply)["trace_id"] == trace


@pytest.mark.parametrize(
    "wrong",
    ["00-{}-b7ad6b7169203331-1", "ff-{}-b7ad6b7169203331-01", "00-{}-b7ad6b7169203331-01-x",
     "00-{}-0000000000000000-01", "00-x{}-b7ad6b7169203331-01"],
)  # fmt: skip
def test_an_invalid_traceparent_is_ignored(watched, wrong):
    reply = watched.ask(traceparent=wrong.format(uuid.uuid4().hex))
    assert reply.ok and "trace_id" not in watched.line(reply)


def test_a_later_version_of_the_header_counts(watched):
    trace, _ = parent()
    assert watched.line(watched.ask(traceparent=f"cc-{trace}-b7ad6b7169203331-01-more"))["trace_id"] == trace
    watched.spans.await_trace(trace, 5)


def test_a_refused_request_has_one_span_that_says_why(watched):
    trace, header = parent()
    assert watched.ask(token="wrong", **header).status_code == 401
    (request,) = watched.spans.await_trace(trace, 1).values()
    assert request.attributes["error.type"] == "token" and request.attributes["http.response.status_code"] == 401
    trace, header = parent()
    assert watched.ask(body=b" ", **header).status_code == 400  # by the worker
    spans = watched.spans.await_trace(trace, 2)
    assert spans["request"].attributes["error.type"] == "bad_request" and "queue" in spans


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        (f"predictions/{NAME}", {"text": ["hello world"] * 3}, 3 * TOKENS),
        (f"v1/models/{NAME}:predict", {"instances": ["hello world"]}, TOKENS),
        (f"v2/models/{NAME}/infer",
         {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello world"]}]}, TOKENS),
        (f"v2/models/{NAME}/infer",
         {"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [1, 5], "data": [1] * 5}]}, 5),
    ],
)  # fmt: skip
def test_every_protocol_has_the_headers_and_a_line(watched, path, body, tokens):
    reply = watched.ask(path, json.dumps(body).encode(), **{"Content-Type": "application/json"})
    assert reply.ok, reply.text
    assert reply.headers["x-tokens"] == str(tokens)
    parts = [float(reply.headers[f"x-{name}-ms"]) for name in STAGES]
    assert 0 < sum(parts) < float(reply.headers["x-total-ms"]) < reply.elapsed.total_seconds() * 1e3
    line = watched.line(reply)
    assert [line[f"{name}_ms"] for name in STAGES] == pytest.approx(parts)
    assert line.keys() == TIMES | {"time", "api", "method", "model", "variant", "version", "status", "batch_size",
                                   "tokens", "bytes_in", "bytes_out", "request_id"}  # fmt: skip
    assert (line["api"], line["status"], line["tokens"]) == (path.split("/")[0], 200, tokens)
    assert (line["model"], line["variant"], line["version"]) == ("minilm", "torchscript", "1.0")
    assert (line["bytes_in"], line["bytes_out"]) == (len(reply.request.body), len(reply.content))


@pytest.mark.parametrize(
    ("asked", "status", "error"),
    [
        ({"token": "wrong"}, 401, "token"),
        ({"path": "predictions/nobody"}, 404, "not_found"),
        ({"body": b" "}, 400, "bad_request"),
        ({"body": b"x" * ((1 << 24) + 1)}, 413, "too_large"),
        ({"Content-Encoding": "br"}, 415, "unsupported_media_type"),
        ({"body": b"{", "Content-Type": "application/json"}, 400, "bad_request"),
    ],
)
def test_a_refused_request_is_in_the_log_with_its_kind(watched, asked, status, error):
    reply = watched.ask(**asked)
    assert reply.status_code == status and float(reply.headers["x-total-ms"]) > 0
    line = watched.line(reply)
    assert (line["status"], line["error"]) == (status, error)
    assert "x-queue-ms" not in reply.headers or "queue_ms" in line


def test_grpc_calls_are_traced_logged_and_told_the_times(watched):
    trace, header = parent()
    given = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"hello world"]}}
    message = ModelInferRequest(model_name=NAME, inputs=[given]).SerializeToString()
    code, told = watched.call(INFER, message, **header)
    assert code == "OK" and told["x-tokens"] == str(TOKENS)
    assert 0 < float(told["x-queue-ms"]) < float(told["x-total-ms"])
    request = watched.spans.await_trace(trace, 5)["request"]
    assert (request.attributes["tsi.api"], request.attributes["tsi.tokens"]) == ("grpc", TOKENS)
    line = watched.line_of("trace_id", trace)
    assert line["status"] == 200 and line["bytes_in"] == len(message) and line.keys() > TIMES
    for name, text, status, error in ((NAME, " ", 400, "bad_request"), ("nobody", "x", 404, "not_found")):
        trace, header = parent(sampled=False)
        entry = field(3, field(1, "data").decode() + field(2, text).decode())
        code, told = watched.call(PREDICTIONS, field(1, name) + entry, **header)
        assert code != "OK" and float(told["x-total-ms"]) > 0
        line = watched.line_of("trace_id", trace)
        assert (line["status"], line["error"]) == (status, error)


def test_a_client_that_hangs_up_is_in_the_log(watched):
    trace, header = parent()
    connection = http.client.HTTPConnection(watched.config.inference.removeprefix("http://"))
    texts = json.dumps({"text": [" ".join(["word"] * 200)] * 32}).encode()
    connection.request("POST", f"/predictions/{NAME}", texts, {
        "Authorization": f"Bearer {watched.client.token()}", "Content-Type": "application/json", **header})  # fmt: skip
    connection.close()
    line = watched.line_of("trace_id", trace)
    assert line["error"] == "client_gone" and "status" not in line


def test_probes_that_are_answered_are_in_neither(watched):
    token = {"Authorization": f"Bearer {watched.client.token()}"}
    trace, header = parent()
    replies = [requests.get(f"{watched.config.inference}/{path}", headers={**token, **header})
               for path in ("ping", "v2/health/ready", f"v2/models/{NAME}/ready")]  # fmt: skip
    assert all(reply.ok for reply in replies)
    watched.line(watched.ask())  # written after them
    assert trace not in watched.log.read_text()


def test_nothing_that_a_client_sends_is_in_the_log_or_in_a_span(watched):
    word, (trace, header) = f"Zq{uuid.uuid4().hex}", parent()
    token = watched.client.token()
    sent = {**header, "x-mine": word, "User-Agent": word, "Cookie": word}
    paths = (f"predictions/{NAME}", f"{NAME}/predict?text={word}", f"predictions/{word}", word, f"v2/{word}?{word}")
    for path in paths:
        watched.ask(path, f"hello {word}".encode(), **sent)
    last = watched.ask(f"predictions/{NAME}", f"{word}=".encode(), token=f"{word}{token}", **sent)
    assert last.status_code == 401
    watched.line(last)
    eventually(lambda: len([each for each in watched.spans.of(trace) if each.name == "request"]) == 6)
    log, spans = watched.log.read_text(), b"".join(watched.spans.raw)
    assert all(secret not in log and secret.encode() not in spans for secret in (word, token, "127.0.0.1"))


def test_in_the_foreground_the_lines_are_printed(watched):
    identity = watched.ask().headers["x-request-id"]
    eventually(lambda: f'"request_id":"{identity}"' in watched.out.read_text())


def test_the_metrics_count_spans_and_lines(watched):
    trace, header = parent()
    watched.line(watched.ask(**header))
    watched.spans.await_trace(trace, 5)

    def agree():
        sent = metrics.value(watched.config, "tsi_trace_spans_total", result="exported")
        written = metrics.value(watched.config, "tsi_request_log_lines_total", result="written")
        return (sent, written) == (len(watched.spans.spans), len(watched.log.read_text().splitlines()))

    eventually(agree)
    for name in ("tsi_trace_spans_total", "tsi_request_log_lines_total"):
        assert metrics.value(watched.config, name, result="dropped") == 0


def test_a_file_of_its_size_is_renamed_and_no_line_is_lost(watched):
    def written():
        return metrics.value(watched.config, "tsi_request_log_lines_total", result="written")

    connection = http.client.HTTPConnection(watched.config.inference.removeprefix("http://"))
    headers = {"Authorization": f"Bearer {watched.client.token()}", "Content-Type": "text/plain"}

    def identity():
        connection.request("POST", "/predictions/null", b"x", headers)
        reply = connection.getresponse()
        assert reply.read() and reply.status == 200
        return reply.headers["x-request-id"]

    first = identity()
    eventually(lambda: first in watched.log.read_text())  # no line of an earlier request waits
    eventually(lambda: len(watched.log.read_text().splitlines()) == written())
    before, identities = written(), []
    old = watched.log.with_name(f"{watched.log.name}.1")
    assert not old.exists()
    while not old.exists():
        identities.append(identity())
    eventually(watched.log.exists)  # made a moment after the other was renamed
    eventually(lambda: identities[-1] in watched.log.read_text() + old.read_text())
    assert old.stat().st_size <= 1 << 20 and old.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for file in (old, watched.log) for line in file.read_text().splitlines()]
    assert [line.get("request_id") for line in lines][-len(identities):] == identities
    assert len(lines) == written() == before + len(identities)


def test_a_file_that_another_program_has_moved_is_begun_anew(watched):
    watched.log.rename(watched.log.with_name("moved"))
    reply = watched.ask()
    eventually(watched.log.exists)
    assert watched.line(reply)["status"] == 200


def test_an_exporter_that_ends_is_started_again_and_no_request_fails(watched):
    (exporter,) = exporters(watched.made)
    exporter.kill()
    exporter.wait(10)

    def arrives():
        trace, header = parent()
        assert watched.ask(**header).ok
        return any(watched.spans.of(each) for each in sent) or sent.append(trace)

    sent = []
    eventually(arrives, every_s=0.2)
    assert [each.pid for each in exporters(watched.made)] != [exporter.pid]


def exporters(made):
    return [each for each in made.processes() if any("tracing/export.py" in word for word in each.cmdline()[1:2])]


@pytest.fixture(scope="module")
def troubled(null_store, tmp_path_factory):
    """A server whose log is on a full disk and whose collector is down."""
    (port,) = free_ports(1)
    settings = {"trace_endpoint": f"http://127.0.0.1:{port}", "request_log": "/dev/full"}
    with place(tmp_path_factory.mktemp("troubled"), null_store, **settings) as made:
        made.serve(**SOON)
        yield made, port


def test_a_full_disk_and_a_collector_that_is_down_cost_no_request_and_are_counted(troubled):
    made, port = troubled
    assert all(made.client.predict("null", b"x", "text/plain").ok for _ in range(20))
    eventually(lambda: metrics.value(made.config, "tsi_request_log_lines_total", result="dropped") >= 20)
    eventually(lambda: metrics.value(made.config, "tsi_trace_spans_total", result="dropped") >= 20 * 5)
    assert metrics.value(made.config, "tsi_trace_spans_total", result="exported") == 0
    log = (made.directory.logs / "ts_log.log").read_text()
    assert log.count("request log cannot be written") == 1
    assert made.directory.console.read_text().count("The collector of spans does not take them") == 1
    with collector(port) as spans:  # it is up again, and a request without a parent begins a trace
        eventually(lambda: made.client.predict("null", b"x", "text/plain").ok and spans.spans, every_s=0.2)
        request = next(span for span in spans.spans if span.name == "request")
    assert request.parent == "" and request.attributes["tsi.model"] == "null"


def test_such_a_server_stops_as_soon_as_any(troubled):
    made, _ = troubled
    assert made.client.predict("null", b"x", "text/plain").ok
    assert made.verb("stop").returncode == 0
    assert made.processes() == []
