"""Valid and invalid requests for explanations."""

import json
import time
from types import SimpleNamespace

import pytest
from jsonschema import Draft202012Validator

from handlers.errors import ArchiveError
from handlers.explanations import no_explanations_message
from handlers.explanations.serving import ExplanationService
from handlers.options import Whole
from openapi.document import document
from openapi.models import of_archive
from tests.handlers.explanations.explained import EXPLAIN, SINGLE, TEXT, Asked, base64_of, explain, picture


@pytest.mark.parametrize(
    ("name", "body", "status", "says"),
    [
        ("bert", {"text": TEXT, "parameters": {"steps": 301}}, 400, '"steps" must be a whole number from 1 to 300.'),
        ("bert", {"text": TEXT, "parameters": {"baseline": "black"}}, 400, '"baseline" must be one of pad, zero.'),
        ("bert", {"text": TEXT, "parameters": {"top_k": 1}}, 400, "it knows: steps, baseline, target"),
        ("bert", {"text": TEXT, "steps": 3}, 400, '"steps" is an option; send it as'),
        ("bert", {"text": ["a"] * 9}, 413, "at most 8 are accepted"),
        ("bert", {"text": ["a", " "]}, 400, "Text 1 is blank"),
        ("filler", {"text": "[MASK] and [MASK]"}, 400, "The text has 2 masks"),
        ("filler", {"text": "A [MASK].", "parameters": {"target": "no such token"}}, 400, "is no token of this model"),
        ("embedder", {"text": TEXT, "parameters": {"target": "word " * 600}}, 400, "more than the"),
        ("ranker", {**SINGLE["ranker"][0], "parameters": {"target": 3}}, 400, "the index of a text, at most 2"),
        ("tagger", {"text": ["Ada went.", "x"]}, 400, "Item 1: The text has no entity to explain; name a label"),
        ("reader", {**SINGLE["reader"][0], "parameters": {"target": "x"}}, 400, "it knows: max_answer_tokens, steps"),
    ],
)
def test_a_request_that_cannot_be_explained_is_refused_in_one_sentence(service, name, body, status, says):
    (reply,) = explain(service(name), body, status=status)
    assert says in reply["message"]


def test_archives_without_explanations_name_the_archive_that_has_them():
    sentence = no_explanations_message("digits", "digits-onnx")
    assert "/explanations/digits-explain" in sentence and "make archive MODELS=digits VARIANTS=explain" in sentence
    assert no_explanations_message("null", "null") == "null gives no explanations: it has no model."


def test_an_explanation_that_would_take_too_long_is_refused_before_it_runs(service, monkeypatch):
    made = service("bert")
    explanations, ran = made.explanations, []
    monkeypatch.setattr(explanations.budget, "timeout_s", 60)
    monkeypatch.setattr(explanations.budget, "rate", 30 / 2000)  # seconds per token and step; there is time for 2,000
    monkeypatch.setattr(explanations, "_explainer", SimpleNamespace(attributions=lambda *_: ran.append(1)))
    (reply,) = explain(made, {"text": "word " * 50, "parameters": {"steps": 300}}, status=413)
    assert not ran and 'lower "steps"' in reply["message"] and "accepts 2000 in one request" in reply["message"]


def test_the_cheapest_request_of_a_batch_runs_and_the_others_are_busy(service, monkeypatch):
    made = service("bert")
    monkeypatch.setattr(made.explanations.budget, "rate", 30 / 2000)
    context = Asked([EXPLAIN] * 3)
    bodies = [{"text": "x " * 20, "parameters": {"steps": 60}}, {"text": "x", "parameters": {"steps": 5}},
              {"text": "x " * 20, "parameters": {"steps": 60}}]  # fmt: skip
    made.handle([{"body": json.dumps(body).encode()} for body in bodies], context)
    assert sorted(context.status) == [200, 200, 503] and context.status[1] == 200
    assert "Retry-After" in context.out[context.status.index(503)]


def test_an_explanation_stops_when_its_time_is_over(service, monkeypatch):
    """The estimate is too low. No pass begins that would end after the worker's time."""
    made, passes = service("bert"), []
    module = made.runtime.module
    monkeypatch.setattr(made.explanations.budget, "timeout_s", 0.4)
    monkeypatch.setattr(made.explanations.budget, "rate", 1e-9)

    def slow(*_):
        passes.append(1)
        time.sleep(0.05)

    with module.register_forward_pre_hook(slow):
        (reply,) = explain(made, {"text": "word " * 60, "parameters": {"steps": 300}}, status=503)
    assert len(passes) < 12 and "try again" in reply["message"]


def test_an_option_with_the_name_of_an_explanations_option_is_an_archive_error(service, monkeypatch):
    made = service("bert")
    monkeypatch.setattr(made, "all_options", lambda: {"steps": Whole(1, 2)})
    with pytest.raises(ArchiveError, match="'steps'"):
        ExplanationService(made, made.runtime)


@pytest.mark.parametrize("name", [*SINGLE, "tagger", "pictures"])
def test_bodies_and_answers_fit_the_openapi_document(service, pictures, name):
    made = pictures if name == "pictures" else service(name)
    found = document([of_archive(made.archive)])
    kinds = {kind: found["components"]["schemas"][f"{made.archive.stem}.explanation-{kind}"] for kind in
             ("request", "answer", "v1-request", "v1-answer")}  # fmt: skip
    body = {"tagger": {"text": "Ada went to London."}, "pictures": base64_of(picture())}.get(name)
    body = body or SINGLE[name][0]
    instances = {"instances": [body]}
    for given, kind in ((body, ""), ({**body, "parameters": {"steps": 3}}, ""), (instances, "v1-")):
        assert valid(found, kinds[f"{kind}request"], given)
        assert valid(found, kinds[f"{kind}answer"], explain(made, given)[0])
    for wrong in ({"steps": 0}, {"steps": 301}, {"top_k": 1}, {"baseline": "x"}):
        assert not valid(found, kinds["request"], {**body, "parameters": wrong})
    assert not valid(found, kinds["v1-request"], {"instances": [body] * 9})


def valid(found, schema, value):
    return Draft202012Validator({**schema, "components": found["components"]}).is_valid(value)
