"""Answers under load are compared with golden answers by the task's comparer; answers of another form by value."""

import pickle

import pytest

from loadtest.load.golden import Golden, alike
from loadtest.load.payloads import Payload

ONE = Payload("one", b"a text", "text/plain")


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ({"label": "cat", "scores": [0.52, 3.0]}, True),
        ({"label": "dog", "scores": [0.5, 3.0]}, False),
        ({"label": "cat", "scores": [0.5]}, False),
        ({"label": "cat", "scores": [0.6, 3.0]}, False),
        ({"label": "cat"}, False),
        ({"label": "cat", "scores": None}, False),
        ({"label": "cat", "scores": [True, 3.0]}, False),
        ([], False),
    ],
)
def test_values_are_alike_up_to_rounding(answer, same):
    assert alike({"label": "cat", "scores": [0.5, 3]}, answer) is same


def test_a_handlers_own_form_is_compared_by_value_and_the_tasks_as_the_task_does():
    swapped = b'{"predictions": [{"label": "dog", "score": 0.5}, {"label": "cat", "score": 0.49}]}'
    pet = Golden.record("text-classification", [ONE], lambda payload: b'{"predictions": "cat"}', own=True)
    for golden in (pet, pickle.loads(pickle.dumps(pet))):
        assert golden.matches(ONE, b'{"predictions": "cat"}') and not golden.matches(ONE, b'{"predictions": "dog"}')
    known = Golden.record("text-classification", [ONE], lambda payload: swapped.replace(b"49", b"52"), own=True)
    assert known.matches(ONE, swapped)


def test_the_share_of_equal_answers_counts_every_payload_of_the_first():
    def recorded(**answers):
        return Golden("embedding", answers, own=True)

    default = recorded(a={"x": [1.0]}, b={"x": [2.0]}, c="far", d=None)
    assert default.share_of(default) == 1
    assert default.share_of(recorded(a={"x": [1.0]}, b={"x": [3.0]}, c="far")) == 0.5


def test_without_a_handler_another_form_is_wrong():
    ours = Golden.record("text-classification", [ONE], lambda payload: b'{"predictions": "cat"}')
    assert not ours.matches(ONE, b'{"predictions": "cat"}')
