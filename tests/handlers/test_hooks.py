"""The hooks of a user's own handler: their arguments and results. An error in a hook fails only one request."""

import json
import logging

import numpy as np
import pytest

from handlers.options import Number, OneOf, Whole
from handlers.tasks.text_classification import TextClassification
from tests.handlers.test_service import SECRET, Context, Lengths, service  # noqa: F401 - service is a fixture


class Own(Lengths):
    """Doubles a text and answers its length in words. The option "fail" selects the hook that fails."""

    options = {"fail": OneOf(("preprocess", "postprocess", "json", "kind", "none", "exit"))}  # noqa: RUF012

    def preprocess(self, item, options):
        if options.get("fail") == "preprocess":
            raise KeyError(item)
        return item.encode() if options.get("fail") == "kind" else item * 2

    def postprocess(self, answer, options):
        if options.get("fail") == "postprocess":
            raise KeyError(SECRET)
        if options.get("fail") == "exit":
            raise SystemExit(SECRET)
        return {"json": {answer}, "none": None}.get(options.get("fail"), f"{answer} characters")


@pytest.fixture
def own(service):  # noqa: F811
    service.__class__ = Own
    service.options = service.all_options()
    return service


def ask(own, *bodies):
    context = Context(len(bodies))
    replies = own.handle([{"body": json.dumps(body).encode()} for body in bodies], context)
    return [json.loads(reply) for reply in replies], context


def test_each_item_passes_both_hooks(own):
    replies, _ = ask(own, {"text": "ab"}, {"text": ["a", "abc"], "parameters": {"times": 2}})
    assert replies == [{"predictions": "4 characters"}, {"predictions": ["4 characters", "12 characters"]}]


@pytest.mark.parametrize(
    ("fail", "kind", "forward"),
    [("preprocess", "KeyError", 2), ("kind", "HookError", 2), ("postprocess", "KeyError", 3), ("json", "HookError", 3),
     ("none", "HookError", 3), ("exit", "SystemExit", 3)],
)  # fmt: skip
def test_an_error_in_a_hook_fails_its_request_alone_and_in_the_same_forward_pass(own, caplog, fail, kind, forward):
    with caplog.at_level(logging.ERROR):
        replies, context = ask(
            own, {"text": "ab"}, {"text": SECRET, "parameters": {"fail": fail}}, {"text": "abc"}
        )
    assert context.status == [200, 500, 200] and own.calls == [forward]
    assert replies[0] == {"predictions": "4 characters"} and replies[2] == {"predictions": "6 characters"}
    assert SECRET not in json.dumps(replies) and SECRET not in caplog.text
    (record,) = caplog.records
    assert replies[1]["type"] == kind and record.getMessage().startswith(f"A request failed with {kind}:\n")
    assert fail not in ("preprocess", "postprocess") or "test_hooks.py\", line" in record.getMessage()


def test_a_hook_cannot_change_the_options_of_other_requests(own, monkeypatch):
    monkeypatch.setattr(Own, "postprocess", lambda self, answer, options: options.update(times=9))
    _, context = ask(own, {"text": "ab"})
    monkeypatch.undo()
    replies, _ = ask(own, {"text": "ab"})
    assert context.status == [500] and replies == [{"predictions": "4 characters"}]


def test_options_are_added_to_those_of_the_task():
    class Mine(TextClassification):
        options = {"threshold": Number(0, 1, default=0.5)}  # noqa: RUF012

    assert Mine().all_options() == {"top_k": Whole(1, 1000), "threshold": Number(0, 1, default=0.5)}
    assert list(TextClassification().all_options()) == ["top_k"]


def test_an_image_keeps_its_shape_and_type(own, monkeypatch):
    pixels = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(Own, "preprocess", lambda self, item, options: item / 255)
    with pytest.raises(Exception, match=r"preprocess returned a float64 array \[4, 4, 3\], expected a uint8 array"):
        own.changed([pixels], {})
