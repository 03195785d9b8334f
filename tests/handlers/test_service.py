"""A batch in a worker keeps its order and needs one forward pass. A bad request fails alone. No private data is
logged."""

import json
import logging
import time
from typing import ClassVar

import numpy as np
import pytest

from handlers.batch import Batch
from handlers.errors import RequestError
from handlers.explanations import no_explanations_message
from handlers.figures import BEGAN, TRACED
from handlers.options import Whole
from handlers.requests import Payload
from handlers.scores import best
from handlers.service import Service
from handlers.settings import Settings, TensorSpec

SECRET = "what the user wrote"


class Context:
    """The part of ts.context.Context that the handlers use."""

    model_name = "m-v"

    def __init__(self, count, header=None):
        self.headers = [{"body": {"content-type": "application/json"}, **(header or {})} for _ in range(count)]
        self.out, self.status = [{} for _ in range(count)], [200] * count

    def get_all_request_header(self, row):
        return self.headers[row]

    def set_response_header(self, row, key, value):
        self.out[row][key] = value

    def set_response_content_type(self, row, value):
        self.out[row]["content-type"] = value

    def set_response_status(self, code, phrase, row):
        self.status[row] = code


class Lengths(Service):
    """Answers a text with a multiple of its length. The runtime fails on a batch with the number 13."""

    options: ClassVar = {"times": Whole(1, 9)}

    def read(self, payload: Payload):
        if any(not isinstance(item, str) for item in payload.items):
            raise RequestError("expected strings")
        return list(payload.items)

    def collate(self, items):
        return Batch((np.array([[len(item)] for item in items]),))

    def answer(self, batch, index, outputs, options):
        return int(outputs["length"][index][0]) * options["times"]


@pytest.fixture
def service(tmp_path):
    calls = []

    def runtime(lengths):
        calls.append(len(lengths))
        if (lengths == 13).any():
            raise RuntimeError(f"boom with {SECRET}")
        return {"length": lengths.astype(np.float32)}

    made = Lengths()
    made.directory, made.runtime, made.calls = tmp_path, runtime, calls
    made.settings = Settings(
        "m", "v", "t", "cpu", "eager", "w", (), (TensorSpec("length", ("batch", 1)),), max_items=8,
        parameters={"times": 1},
    )  # fmt: skip
    return made


def ask(service, *bodies, header=None):
    context = Context(len(bodies), header)
    replies = service.handle([{"body": json.dumps(body).encode()} for body in bodies], context)
    return [json.loads(reply) for reply in replies], context


def test_answers_keep_their_order_and_form_in_one_forward(service):
    replies, context = ask(service, {"text": "ab"}, {"text": ["a", "abc"]}, {"instances": ["abcd"]})
    assert replies == [{"predictions": 2}, {"predictions": [1, 3]}, {"predictions": [4]}]
    assert service.calls == [4]
    assert {row["x-batch-size"] for row in context.out} == {"3"}  # requests, not items
    assert {"x-preprocess-ms", "x-inference-ms", "x-postprocess-ms", "x-variant"} <= context.out[0].keys()


def test_counts_of_a_request_are_headers_of_its_answer(service, monkeypatch):
    def read(payload):
        service.figures.add("pixels", sum(map(len, payload.items)))
        return list(payload.items)

    monkeypatch.setattr(service, "read", read)
    _, context = ask(service, {"text": "ab"}, {"text": ["a", "abc"]}, {})
    assert [row.get("x-pixels") for row in context.out] == ["2", "4", None]
    assert service.figures.taken(3) == "batch=3,pixels=6"


def test_only_a_traced_request_gets_the_start_of_its_batch(service):
    before = time.monotonic_ns()
    _, context = ask(service, {"text": "ab"}, header={TRACED: "1"})
    assert before <= int(context.out[0][BEGAN]) + 1000 and int(context.out[0][BEGAN]) <= time.monotonic_ns()
    _, context = ask(service, {"text": "ab"})
    assert BEGAN not in context.out[0]


def test_a_bad_request_leaves_its_batch_mates_alone(service):
    replies, context = ask(service, {"text": "ab"}, {"text": [5]}, {}, {"text": "abc"})
    assert context.status == [200, 400, 400, 200]
    assert replies[1] == {"code": 400, "type": "RequestError", "message": "expected strings"}
    assert replies[3] == {"predictions": 3}


def test_an_internal_error_fails_alone_with_500_and_logs_no_text(service, caplog):
    with caplog.at_level(logging.ERROR):
        replies, context = ask(service, {"text": "ab"}, {"text": "x" * 13}, {"text": "abc"})
    assert context.status == [200, 500, 200]
    assert SECRET not in replies[1]["message"]
    assert "RuntimeError" in caplog.text and SECRET not in caplog.text


def test_explanations_are_declined(service):
    replies, context = ask(service, {"text": "ab"}, header={"explain": "True"})
    assert context.status == [400] and replies[0]["message"] == no_explanations_message("m", "m-v")


def test_best_is_a_softmax_with_the_largest_first():
    logits = np.array([0.0, 3.0, 1.0, 2.0], dtype=np.float32)
    (top,) = best(logits[None], 3)
    assert [index for index, _ in top] == [1, 3, 2]
    assert top[0][1] == pytest.approx(np.exp(3) / np.exp(logits).sum(), rel=1e-5)
    assert len(best(logits[None], 9)[0]) == 4


def test_options_apply_only_to_their_own_request(service):
    context = Context(3)
    bodies = [{"body": b'{"text": "ab", "parameters": {"times": 3}}'}, {"body": b'{"text": "ab"}', "times": b"2"},
              {"body": b'{"text": "ab"}'}]  # fmt: skip
    assert [json.loads(reply) for reply in service.handle(bodies, context)] == [{"predictions": n} for n in (6, 4, 2)]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"times": 0}, '"times" must be a whole number from 1 to 9.'),
        ({"times": True}, '"times" must be'),
        ({"times": "x"}, '"times" must be'),
        ({"tmies": 1}, "it knows: times."),
        (5, '"parameters" is a number; expected an object.'),
    ],
)
def test_an_option_that_cannot_be_used_is_a_400(service, parameters, says):
    replies, context = ask(service, {"text": "ab", "parameters": parameters})
    assert context.status == [400] and says in replies[0]["message"]
