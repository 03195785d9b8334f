"""The order of the measurements, and servers that fail. The servers are stand-ins with given speeds."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from compare import contest, plan
from compare.answers import Vectors, in_form
from compare.contest import Contest, best_of
from compare.errors import CompareError
from compare.plan import Setting
from compare.request import Request
from compare.seen import Seen
from loadtest.load.payloads import Payload

FAST, SLOW = Setting(2, 1, 1), Setting(1, 2, 1)


class Played:
    """A stand-in for a Visit."""

    def __init__(self, speed: float, failed: float = 0.0) -> None:
        self.speed, self.failed, self.running = speed, failed, self

    def check(self) -> float:
        return 1.0

    def load(self, crew, clients, window_s, windows) -> Seen:
        errors = ("503",) if self.failed else ()
        return Seen((self.speed,) * windows, (np.full(400, 1e4),) * windows, self.failed, 0, errors, 10.0, 0.1)

    def memory_mib(self) -> float:
        return 1.0


def played(speeds, order):
    @contextmanager
    def open_server(subject, setting):
        order.append((subject.name, setting.label))
        found = speeds(subject, setting)
        if isinstance(found, Exception):
            raise found
        yield found

    return open_server


def run(speeds, peers=("fastapi", "ray"), clients=(1, 8)):
    order = []
    subjects = plan.subjects(peers, 2, "cpu", [])
    found = Contest(Request(clients=clients), subjects, played(speeds, order), None)  # type: ignore[arg-type]
    found.try_settings()
    tried = len(order)
    found.measure()
    return found, order[tried:]


def test_the_finals_are_played_in_turns():
    found, order = run(lambda subject, setting: Played(100 + setting.workers))
    names = [name for name, _ in order]
    assert names == ["ours", "ours-tuned", "fastapi", "ray", "ray", "fastapi", "ours-tuned", "ours"]
    assert {label for name, label in order if name == "ray"} == {"2 × 1, no batches"} and not found.refused


def test_a_server_that_does_not_start_is_kept_with_its_reason_and_the_others_go_on():
    def speeds(subject, setting):
        return CompareError("Ray Serve ended while starting: no") if subject.name == "ray" else Played(10)

    found, order = run(speeds)
    assert found.refused == {"ray": "Ray Serve ended while starting: no"}
    assert {name for name, _ in order} == {"ours", "ours-tuned", "fastapi"}


def test_a_setting_whose_requests_fail_is_not_taken_however_fast_it_is():
    def speeds(subject, setting):
        return Played(1000, failed=0.1) if setting.batch > 1 else Played(10)

    found, _ = run(speeds)
    assert all(setting.batch == 1 for setting in found.best().values())
    reasons = {each.reason for each in found.tried if each.setting.batch > 1}
    assert reasons == {"10.0% of the requests failed (503)"}


def test_a_peer_that_answers_wrong_under_load_is_refused_and_so_is_one_that_fails_as_nobody_foresaw():
    class Wrong(Played):
        def load(self, *asked) -> Seen:
            return replace(super().load(*asked), wrong=1)

    def speeds(subject, setting):
        if subject.name == "ours":
            return Wrong(10)
        return KeyError("x") if subject.name == "ray" else Played(10)

    found, _ = run(speeds)
    assert found.refused == {"ours": "1 wrong answers under load, with 8 clients", "ray": "KeyError: 'x'"}


def test_settings_that_a_brief_measurement_cannot_tell_apart_share_a_server():
    assert best_of({(FAST, 1): 100, (SLOW, 1): 103, (FAST, 8): 200, (SLOW, 8): 150}) == {1: FAST, 8: FAST}
    assert best_of({(FAST, 1): 100, (SLOW, 1): 120, (FAST, 8): 200, (SLOW, 8): 150}) == {1: SLOW, 8: FAST}
    assert best_of({}) == {}


def test_the_number_of_steps_is_about_right():
    subjects = plan.subjects(["fastapi", "ray"], 2, "cpu", [])
    assert contest.steps(subjects, 2) == 12 + 11


class TestAnswers:
    """The cosine to the reference decides whether an answer is right. An answer without a vector is wrong."""

    payload = Payload("one", b'say "so"\n', "text/plain")

    def test_a_text_is_put_into_a_peers_form_as_json(self):
        made = in_form(self.payload, '{"texts": [TEXT]}')
        assert made.body == b'{"texts": ["say \\"so\\"\\n"]}' and made.content_type == "application/json"
        assert in_form(self.payload, "") is self.payload

    def test_generator_processes_judge_as_the_one_that_measures(self):
        vectors = pickle.loads(pickle.dumps(Vectors({"one": [1.0, 1.0]}, (0,), 0.9999)))
        assert vectors.matches(self.payload, b"[[3, 3]]") and not vectors.matches(self.payload, b"[[3, -3]]")

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b"{}", b'{"outputs": []}', *(b'{"outputs": [{"data": %s}]}' % data
                                                  for data in (b"[1, -1]", b"[NaN, 1]", b"[1]", b'"text"'))],
    )  # fmt: skip
    def test_wrong_answers_are_found(self, body):
        vectors = Vectors({"one": [1.0, 1.0]}, ("outputs", 0, "data"), 0.9999)
        assert not vectors.matches(self.payload, body)
        assert vectors.matches(self.payload, b'{"outputs": [{"data": [2, 2.001]}]}')
        with pytest.raises(CompareError, match="answers one wrong"):
            vectors.check([self.payload], lambda each: body)
