"""Records of requests to Ray Serve's front, without a server: the file of the log, traces' headers, lines."""

from __future__ import annotations

import json
import os
import uuid
from threading import Thread

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]', or make serve ENGINE=ray")

from deploy.ray.archive import Answer
from deploy.ray.watch.log_file import LogFile
from deploy.ray.watch.metrics import Metrics
from deploy.ray.watch.outbox import PLACES, Outbox
from deploy.ray.watch.record import Record, kind_of
from deploy.ray.watch.trace_context import TraceContext
from tests.trust.place import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LABELS = ("minilm", "torchscript", "1.0")


def record(identity="", path="/predictions/null"):
    made = Record(path, "POST", "10.0.0.1", identity, None)
    made.ends(200, 7, "")
    return made


def lines(metrics, result):
    return metrics.registry.get_sample_value("tsi_request_log_lines_total", {"result": result})


@pytest.mark.parametrize(
    ("headers", "ratio", "trace", "recorded"),
    [
        ([f"00-{TRACE}-{PARENT}-01"], 0.0, TRACE, True),
        ([f"00-{TRACE}-{PARENT}-00"], 1.0, TRACE, False),
        ([f"00-{TRACE}-{PARENT}-01"], None, TRACE, False),
        ([f"cc-{TRACE}-{PARENT}-01-more"], 0.0, TRACE, True),
        ([f"00-{TRACE}-{PARENT}-01-more"], 0.0, None, False),
        ([f"ff-{TRACE}-{PARENT}-01"], 0.0, None, False),
        ([f"00-{'0' * 32}-{PARENT}-01"], 0.0, None, False),
        ([f"00-{TRACE}-{'0' * 16}-01"], 0.0, None, False),
        ([f"00-{TRACE}-{PARENT}-01"] * 2, 0.0, None, False),
    ],
)
def test_a_valid_traceparent_decides_and_an_invalid_one_does_not(headers, ratio, trace, recorded):
    found = TraceContext.of(headers, [], ratio)
    assert (found.trace if found else None, bool(found and found.recorded)) == (trace, recorded)


def test_the_ratio_begins_new_traces():
    begun = TraceContext.of([], [], 1.0)
    assert begun and begun.recorded and begun.parent is None and int(begun.trace, 16) and len(begun.trace) == 32
    assert TraceContext.of([], [], 0.0) is None and TraceContext.of([], [], None) is None


def test_a_line_has_the_stages_of_a_replicas_answer_and_the_rest_is_the_wait():
    made = Record("/v2/models/m/infer", "POST", "10.0.0.1", str(uuid.uuid4()), None)
    made.received(5)
    made.hands(None)
    facts = {"x-preprocess-ms": "1.000", "x-inference-ms": "2.000", "x-postprocess-ms": "0.500", "x-tokens": "4",
             "x-batch-size": "2"}  # fmt: skip
    made.served(Answer(200, facts, b"{}", LABELS, busy_s=0.0))
    made.ends(200, 2, "")
    line = json.loads(made.line(clients=False))
    assert (line["api"], line["model"], line["inference_ms"], line["tokens"], line["batch_size"]) == (
        "v2", "minilm", 2.0, 4, 2)  # fmt: skip
    assert 0 <= line["queue_ms"] <= line["total_ms"] and "client" not in line and "error" not in line
    assert json.loads(made.line(clients=True))["client"] == "10.0.0.1"
    names = [name for name, _, _ in made.stages()]
    assert names == ["queue", "preprocess", "inference", "postprocess"]
    times = [at for _, begin, end in made.stages() for at in (begin, end)]
    assert times == sorted(times)


@pytest.mark.parametrize("identity", ["my secret", "A" * 36, "x" * 5_000, "7eccf870-59eb-4279-8ae6-8a98c8c48860\n"])
def test_an_id_that_a_client_has_made_up_is_in_no_line(identity):
    assert "request_id" not in json.loads(record(identity).line(clients=False))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(200, b"", ""), (400, b"", "bad_request"), (401, b"", "token"), (405, b"", "not_found"), (413, b"", "too_large"),
     (503, b'{"type": "OutOfMemory"}', "out_of_memory"), (503, b"", "busy"), (507, b"", "out_of_memory"),
     (500, b"", "internal")],
)  # fmt: skip
def test_an_answer_has_its_kind_of_error(status, body, kind):
    assert kind_of(status, body) == kind


def test_a_full_file_is_renamed_three_are_kept_and_no_line_is_lost(tmp_path):
    path, metrics = tmp_path / "log", Metrics()
    log, size = LogFile(str(path), 1_000, False, metrics), len(record().line(False)) + 1
    for _ in range(4 * (1_000 // size)):
        log.write([record()])
    files = [path, *(tmp_path / f"log.{age}" for age in (1, 2, 3))]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 1_000 and file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert sum(len(file.read_text().splitlines()) for file in files) == 4 * (1_000 // size) == lines(metrics, "written")


def test_a_file_that_another_program_has_moved_is_begun_anew(tmp_path):
    path, log = tmp_path / "log", LogFile(str(tmp_path / "log"), 1 << 20, False, Metrics())
    log.write([record()])
    path.rename(tmp_path / "moved")
    log.write([record(), record()])
    assert len(path.read_text().splitlines()) == 2


def test_a_full_disk_loses_lines_and_counts_them():
    metrics = Metrics()
    LogFile("/dev/full", 1 << 20, False, metrics).write([record(), record()])
    assert (lines(metrics, "dropped"), lines(metrics, "written")) == (2, 0)


class Slow:
    """A sink that blocks until the test releases it."""

    def __init__(self):
        self.written, self.lost, self.reading, self.writing = 0, 0, *os.pipe()

    def write(self, records):
        os.read(self.reading, 1)
        self.written += len(records)

    def lose(self, records):
        self.lost += len(records)


def test_adding_a_record_never_waits_and_a_full_queue_loses_it():
    sink = Slow()
    box = Outbox("test", sink)
    adds = Thread(target=lambda: [box.add(record()) for _ in range(2 * PLACES)], daemon=True)
    adds.start()
    adds.join(60)
    assert not adds.is_alive() and 0 < sink.lost <= PLACES and sink.written == 0
    os.write(sink.writing, b"x" * 100)
    eventually(lambda: sink.written == 2 * PLACES - sink.lost)
    box.drain(5)
