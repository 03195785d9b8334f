"""The replacement of parts of TorchServe's worker, and its handling of batches."""

import logging
import struct
from types import ModuleType, SimpleNamespace

import pytest
import ts
import ts.service
from ts.context import Context

from handlers import worker
from handlers.figures import HEADER, Figures
from handlers.worker_protocol import Received

EMPTY = b"I" + struct.pack("!i", -1)


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr(ts.service.Service, "predict", ts.service.Service.predict)


class Connection:
    """A connection that receives ``data``."""

    def __init__(self, data):
        self.data = data

    def recv(self, most):
        piece, self.data = self.data[:most], self.data[most:]
        return piece


def program(file, **names):
    module = ModuleType("__main__")
    module.__file__ = file
    for key, value in names.items():
        setattr(module, key, value)
    return module


def test_only_the_worker_of_the_known_torchserve_version_is_changed(caplog, monkeypatch):
    before = ts.service.Service.predict
    other = program("/project/export/__main__.py", retrieve_msg=len)
    assert not worker.install(other, Figures()) and other.retrieve_msg is len
    assert not worker.install(ModuleType("__main__"), Figures())
    assert not caplog.text
    assert not worker.install(program("/ts/model_service_worker.py"), Figures()) and "slower reader" in caplog.text
    monkeypatch.setattr(ts, "__version__", "0.13.0")
    assert not worker.install(program("/ts/model_service_worker.py", retrieve_msg=len), Figures())
    assert "0.13.0" in caplog.text
    assert ts.service.Service.predict is before


def test_a_new_connection_starts_with_an_empty_buffer():
    changed = program("/ts/model_service_worker.py", retrieve_msg=len)
    assert worker.install(changed, Figures())
    first, second = Connection(EMPTY + b"I"), Connection(EMPTY)
    assert changed.retrieve_msg(first) == (b"I", [])
    assert changed.retrieve_msg(second) == (b"I", [])


def predict(handle, batches=1, figures=None, describe="True"):
    """(answers, logged durations of batches) of a worker with the handler ``handle``."""
    assert worker.install(program("/ts/model_service_worker.py", retrieve_msg=len), figures or Figures())
    metrics = SimpleNamespace(written=[])
    metrics.add_time = lambda name, value: metrics.written.append((name, value, metrics.request_ids))
    context = Context("model", "", {}, 1, None, "", metrics=metrics)
    service = SimpleNamespace(context=context, cl_socket=None, _entry_point=handle)
    batch = [Received(b"id", {"describe": describe}, {"body": b"hi"})]
    return [ts.service.Service.predict(service, batch) for _ in range(batches)], metrics.written


def test_a_handler_gets_torchserves_arguments_and_the_duration_is_logged_once_a_second():
    def handle(requests, context):
        assert context.get_request_id(0) == "id" and context.get_all_request_header(0) == {"describe": "True"}
        context.set_response_header(0, "x-answer", "yes")
        return [requests[0]["body"]]

    replies, written = predict(handle, batches=3)
    assert len(set(replies)) == 1 and b"x-answer" in replies[0] and b"hi" in replies[0]
    ((name, value, identities),) = written
    assert name == "PredictionTime" and value >= 0 and identities == {0: "id"}


def test_the_counts_of_a_batch_are_in_its_first_answer_and_not_in_a_description():
    figures = Figures()

    def handle(requests, context):
        figures.add("tokens", 3)
        figures.add("tokens", 4)
        return [b"body"]

    (reply,), _ = predict(handle, figures=figures)
    assert HEADER.encode() not in reply
    (first, second), _ = predict(handle, batches=2, figures=figures, describe="False")
    assert HEADER.encode() in first and b"batch=1,tokens=14" in first  # the description's as well
    assert b"batch=1,tokens=7" in second


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("CUDA out of memory"), 507), (MemoryError(), 507), (KeyError("a text"), 503)]
)
def test_an_error_of_the_whole_handler_fails_its_batch_and_logs_no_text(error, code, caplog):
    def handle(requests, context):
        raise error

    with caplog.at_level(logging.ERROR):
        (reply,), _ = predict(handle)
    assert struct.unpack_from("!i", reply) == (code,) and b"error" in reply
    assert type(error).__name__ in caplog.text and "a text" not in caplog.text


@pytest.mark.parametrize("bodies", [[], [b"one", b"two"], ["no bytes"], None])
def test_a_wrong_number_of_answers_fails_the_batch_and_not_the_worker(bodies):
    (reply,), _ = predict(lambda requests, context: bodies)
    assert struct.unpack_from("!i", reply) == (503,)
