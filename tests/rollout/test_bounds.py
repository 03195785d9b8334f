"""The variables of the verbs, and the verdicts on answers and latency, without a server."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from rollout import asked, questions
from rollout.asked import Bounds
from rollout.latency import Speeds, measure
from rollout.questions import Questions
from rollout.scale import keep
from serving.errors import ServingError
from serving.identity import Identity
from serving.model_settings import ModelSettings


@pytest.mark.parametrize(
    ("read", "given", "said"),
    [
        (lambda given: asked.archive(given, "rollback"), {}, "Which archive? Write it as in: make rollback MODEL="),
        (asked.version, {}, "Which version?"),
        (asked.version, {"VERSION": "a_b"}, "VERSION=a_b is no version"),
        (asked.version, {"VERSION": "all"}, "VERSION=all is no version"),
        (asked.version, {"VERSION": "../x"}, "is no version"),
        (asked.settings, {}, "What is to change?"),
        (asked.settings, {"WORKERS": "0"}, "WORKERS=0: a whole number from 1 to 256"),
        (asked.settings, {"THREADS": "1,2"}, "THREADS=1,2: a whole number from 0 to 1024"),
        (asked.settings, {"BATCH_SIZE": "1.5"}, "BATCH_SIZE=1.5: a whole number"),
        (asked.settings, {"BATCH_DELAY_MS": "x"}, "BATCH_DELAY_MS=x: a number from 0"),
        (Bounds.of, {"MAX_P99_RATIO": "x"}, "MAX_P99_RATIO=x is no number"),
        (Bounds.of, {"WATCH": "-1"}, "WATCH=-1 is no number"),
        (Bounds.of, {"SHADOW": "2h"}, "SHADOW=2h is no number; write one, as in SHADOW="),
        (Bounds.of, {"SHADOW": "3601"}, "SHADOW=3601s is too long; write at most SHADOW=3600s"),
        (Bounds.of, {"SHADOW_PERCENT": "0"}, "SHADOW_PERCENT=0 is no share of the requests"),
        (Bounds.of, {"MAX_P99_MS": "1s"}, "MAX_P99_MS=1s is no number; write one, as in MAX_P99_MS="),
    ],
)
def test_an_invalid_variable_is_one_sentence(read, given, said):
    with pytest.raises(ServingError) as caught:
        read(given)
    assert said in str(caught.value)


def test_given_values_replace_the_defaults():
    given = {"MAX_P99_RATIO": "2", "MAX_DIFFERENT": "5.5", "MAX_ERRORS": "3", "REQUESTS": "50", "WATCH": "60s"}
    assert Bounds.of({**given, "MAX_P99_MS": "250"}) == Bounds(2.0, 5.5, 3, 50, 60.0, p99_ms=250.0)
    shadow = {"SHADOW": "60s", "SHADOW_PERCENT": "12.5"}
    assert Bounds.of(shadow) == Bounds(shadow_s=60.0, shadow_percent=12.5)
    assert Bounds.of({}) == Bounds()
    assert asked.settings({"WORKERS": "2", "BATCH_DELAY_MS": "0.5"}) == {"workers": 2, "batch_delay_ms": 0.5}
    assert asked.settings({"THREADS": "0"}) == {"threads": 0}


def digits(scores):
    ranked = sorted(scores.items(), key=lambda each: -each[1])
    return json.dumps({"predictions": [{"label": label, "score": score} for label, score in ranked]}).encode()


class Two:
    """A client of two versions, whose answers are functions of the request's body."""

    def __init__(self, old, new, statuses=(200, 200)):
        self.answers, self.statuses = {"x/1": old, "x/2": new}, dict(zip(("x/1", "x/2"), statuses, strict=True))

    def predict(self, name, body, content_type):
        content, status = self.answers[name](body), self.statuses[name]
        return SimpleNamespace(ok=status == 200, status_code=status, content=content, text=content.decode(),
                               json=lambda: json.loads(content))  # fmt: skip


def compared(old, new, task="image-classification", model="digits", **more):
    own = {"task": task, "model": model, "example": {"content_type": "image/png", "file": "handlers/samples/seven.png"}}
    asked_of = Questions("x", {"customizedMetadata": {**own, **more}})
    return asked_of.compare(Two(old, new), "x/1", "x/2")


def test_answers_agree_where_lower_precision_explains_the_difference_and_not_otherwise():
    old = digits({"7": 0.52, "1": 0.48})
    same = compared(lambda body: old, lambda body: digits({"7": 0.53, "1": 0.47}))
    assert same.percent == 0 and same.unexpected == "" and same.asked > 10
    swapped = compared(lambda body: old, lambda body: digits({"1": 0.51, "7": 0.49}))
    assert swapped.different == [] and swapped.unexpected == "'1', expected '7'"
    # The best label is still in the list; the load test's comparer asks for no more.
    other = compared(lambda body: old, lambda body: digits({"1": 0.9, "7": 0.1}))
    assert other.percent == 100 and "are answered differently: its own example, " in str(other)
    assert compared(lambda body: old, lambda body: b"no JSON").percent == 100


def test_random_weights_have_no_expected_answer():
    old = digits({"1": 0.9})
    assert compared(lambda body: old, lambda body: old, random_weights=True).unexpected == ""
    assert compared(lambda body: old, lambda body: old).unexpected == "'1', expected '7'"


def test_vectors_that_point_elsewhere_and_users_own_forms_differ():
    def vector(*values):
        return json.dumps({"embedding": values}).encode()

    text = {"task": "embedding", "model": "unknown", "example": {"content_type": "text/plain", "text": "x"}}
    old = vector(1.0, 0.0)
    assert compared(lambda body: old, lambda body: vector(1.0, 0.01), **text).percent == 0
    assert compared(lambda body: old, lambda body: vector(1.0, 0.5), **text).percent == 100
    own = {**text, "handler": {"file": "mine.py"}}
    assert compared(lambda body: b'{"a": 1.0}', lambda body: b'{"a": 1.001}', **own).percent == 0
    assert compared(lambda body: b'{"a": 1.0}', lambda body: b'{"b": 1.0}', **own).percent == 100


def test_answers_in_a_clients_form_agree_where_their_words_and_numbers_do():
    own = {"task": "image-classification", "model": "digits", "example": {"content_type": "text/plain", "text": "x"}}
    agree = Questions("x", {"customizedMetadata": own}).agree

    def said(**answer):
        return json.dumps(answer).encode()

    assert agree(digits({"7": 0.9, "1": 0.1}), digits({"7": 0.91, "1": 0.09}))
    assert agree(digits({"7": 0.9, "1": 0.1}), digits({"1": 0.9, "7": 0.1})) is False
    assert agree(digits({"7": 0.9}), b"[]") is False
    tensor = {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.9, 0.1]}
    other = {**tensor, "data": [0.1, 0.9]}
    version, labels = {"model_name": "digits-eager", "model_version": "1.0"}, said(predictions=[["7"], ["1"]])
    assert agree(said(**version, outputs=[tensor]), said(**{**version, "model_version": "2.0"}, outputs=[tensor]))
    assert agree(said(**version, outputs=[tensor]), said(**version, outputs=[other])) is False
    assert agree(labels, labels) and agree(labels, said(predictions=[["7"], ["2"]])) is False
    assert agree(b"\x00", b"\x00") is True and agree(b"\x00", b"\x01") is None


def test_an_archive_without_a_known_request_is_refused():
    with pytest.raises(ServingError, match="no request for it is known"):
        Questions("other", {"customizedMetadata": None})


def test_an_error_counts_as_a_different_answer(monkeypatch):
    monkeypatch.setattr(questions, "payloads", lambda model: ())
    own = {"task": "null", "model": "null", "example": {"content_type": "text/plain", "text": "x"}}
    found = Questions("x", {"customizedMetadata": own}).compare(
        Two(lambda body: b"[]", lambda body: b"{}", (200, 500)), "x/1", "x/2"
    )
    assert found.different == ["its own example (500)"]


def test_a_p99_counts_only_if_surely_above():
    assert Speeds(0.01, 0.02, 2.0, 1.4, 400).is_slower(1.5)
    assert not Speeds(0.01, 0.02, 2.0, 0.8, 400).is_slower(1.5)  # the machine's noise
    assert not Speeds(0.01, 0.014, 1.4, 1.3, 400).is_slower(1.5)


def test_latencies_are_measured_in_turns(monkeypatch):
    now, order = [0.0], []

    class Clocked(Two):
        def predict(self, name, body, content_type):
            order.append(name)
            now[0] += 0.03 if name == "x/2" else 0.01
            return super().predict(name, body, content_type)

    monkeypatch.setattr("rollout.latency.time", SimpleNamespace(monotonic=lambda: now[0]))
    client = Clocked(lambda body: b"", lambda body: b"")
    request = questions.Payload("one", b"x", "text/plain")
    found = measure(client, "x/1", "x/2", [request], 30)
    assert order == ["x/1", "x/2"] * 35 and found.requests == 30
    assert np.allclose([found.old, found.new, found.ratio, found.low], [0.01, 0.03, 3, 3]) and found.is_slower(1.5)
    client.statuses["x/2"] = 500
    with pytest.raises(ServingError, match="it answers one with 500"):
        measure(client, "x/1", "x/2", [request], 30)


def test_scaled_settings_stay_in_models_toml(tmp_path, monkeypatch):
    path = tmp_path / "models.toml"
    path.write_text("# mine\n[minilm]\nthreads = 1  # kept\n")
    monkeypatch.setenv("MODELS_FILE", str(path))
    int8 = Identity("minilm-int8", "minilm", "int8", "embedding", True)
    keep(int8, {"workers": 2})
    keep(Identity("null", "null", "", "null", True), {"workers": 3})
    assert ModelSettings.load(path).of(int8) == {"workers": 2, "threads": 1}
    assert ModelSettings.load(path).models["null"] == {"workers": 3}
    assert path.read_text().startswith("# mine\n[minilm]\nthreads = 1  # kept\n")
