"""The answer in sentences: what each outcome of a choice says."""

from __future__ import annotations

import pytest

from choose.words import sentences
from tests.choose.synthetic import decision, finalist

INT8, ONNX, DEFAULT = (finalist(4, (2.09, 2.04, 2.15)), finalist(1, (1.62, 1.58, 1.67)), finalist(0, None))


def asked(**changes):
    return {**decision()["objective"], **changes}


def first(made):
    return sentences(made).splitlines()[0]


def test_the_answer_comes_first_then_exact_fp32_then_what_it_costs():
    said = sentences(decision()).splitlines()
    assert said[0] == (
        "Deploy `toy-int8` with 2 workers of 1 thread and batches of 16: 241 requests/s within a p99 of 50 ms, "
        "2.09 times the default's 115/s (95 % interval 2.04 to 2.15); cosine to eager fp32 at least 0.9926, "
        "nearest neighbours equal."
    )
    assert said[1] == "If you need exact fp32: `toy-onnx` with 1 worker of 2 threads and batches of 8, 187/s."
    assert "180 requests/s" in said[2] and said[3] == (
        "At 0.4 an hour, a million requests cost 0.461; with the default, 0.964."
    )


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ({"name": "throughput", "slo_p99_ms": None}, "241 requests/s with 8 users at a time (p99 46.2 ms), @ 115/s"),
        ({"name": "latency"}, "p50 31.9 ms and p99 46.2 ms with 8 users at a time, @ 33.8 ms"),
        ({"name": "memory"}, "791 MiB of memory, at 241 requests/s with 8 users at a time (p99 46.2 ms), @ 640 MiB"),
    ],
)
def test_each_objective_names_its_quantity_first(objective, expected):
    expected = expected.replace("@", "2.09 times the default's")
    assert f": {expected} (95 %" in first(decision(objective=asked(**objective)))


def test_a_given_rate_is_named_and_compared_by_its_p99():
    winner = {**INT8, "mode": "open", "load": 200, "ratio_to_default": {"ratio": 0.5, "low": 0.4, "high": 0.6}}
    said = first(decision(winner=winner, objective=asked(name="latency", rate=200)))
    assert "p99 46.2 ms at 200 requests/s offered, 0.5 times the default's 48.9 ms" in said


def test_a_default_that_stays_says_why_and_offers_no_deployment():
    why = "no other beats it by more than its interval; the best has 1.02 times its throughput (0.97 to 1.07)."
    made = decision(winner=DEFAULT, default_stays=True, why=f"The default stays: {why}")
    said = sentences(made).splitlines()
    assert said[0].startswith("The default stays: `toy-torchscript` with 1 worker of a thread for each core")
    assert said[1] == why.replace("no", "No", 1) and not any(line.startswith("Deploy") for line in said)
    assert not any("with the default" in line or "exact fp32:" in line for line in said)


def test_a_default_that_misses_what_was_asked_is_no_measure_of_the_winner():
    why = "The default does not meet a p99 of 50 ms (p99 88 ms); this is the best that does."
    said = sentences(decision(default={**DEFAULT, "meets": False}, why=why)).splitlines()
    assert "times the default" not in said[0] and said[1] == why


def test_memory_is_the_gpus_where_the_model_is_on_one():
    winner = {**INT8, "gpu_memory_mib": 620.0}
    said = first(decision(winner=winner, objective=asked(name="memory")))
    assert ": 620 MiB of GPU memory, at 241 requests/s" in said


@pytest.mark.parametrize("winner", [None, {**INT8, "meets": False, "p99_ms": 73.0}])
def test_nothing_that_meets_the_objective_is_no_deployment(winner):
    said = first(decision(winner=winner, why="the default stays"))
    assert said.startswith("No configuration of `toy` that was tried keeps p99 within 50 ms. Nearest: `toy-")
    assert "the default stays" not in sentences(decision(winner=winner, why="the default stays"))
    assert "Deploy" not in said and ("p99 73 ms" in said) == (winner is not None)


def test_what_was_asked_of_the_answers_is_repeated_where_nothing_meets_it():
    said = first(decision(winner=None, default=None, objective=asked(min_accuracy=0.985, min_cosine=0.999)))
    assert "has an accuracy of at least 98.5 % and has a cosine to eager fp32 of at least 0.999" in said


def test_random_weights_and_unsteady_winners_are_named():
    said = sentences(decision(winner={**INT8, "random_weights": True, "stable": False}))
    assert "The weights are random" in said and "differ by more than 10 %" in said
    assert "random" not in sentences(decision()).replace("come at random", "")


def test_a_bound_is_never_rounded_up():
    parity = {"max_abs": 0.1, "cosine": 0.99269, "neighbours": 0.9999, "top1": 0.9999}
    said = first(decision(winner={**INT8, "parity": parity}))
    assert "at least 0.9926," in said and "equal in 99.9 % of cases" in said and "100 %" not in said


def test_accuracy_stands_beside_that_of_eager():
    winner = {**INT8, "accuracy": 0.9921, "parity": {**INT8["parity"], "accuracy": 0.9921, "reference_accuracy": 0.994}}
    assert "accuracy 99.2 % (eager fp32: 99.4 %)." in first(decision(winner=winner))


def test_parity_is_said_to_be_that_before_a_users_own_handler():
    served = first(decision(winner={**INT8, "handler": "mine.py", "answers_as_default": 0.9722}))
    assert "fp32 at least 0.9926 before `mine.py`, nearest neighbours equal, through it 97.2 % of the load" in served
    default = first(decision(winner={**DEFAULT, "handler": "mine.py", "answers_as_default": 1.0}, default_stays=True))
    assert "before `mine.py`" in default and "through it" not in default


def test_a_p99_that_the_finals_could_not_bound_is_not_made_up():
    winner = {**INT8, "p99_ms": None}
    assert "241 requests/s within a p99 of 50 ms, 2.09" in first(decision(winner=winner))
    said = first(decision(winner=winner, objective=asked(name="latency")))
    assert "p50 31.9 ms and a p99 that too few requests bound with 8 users" in said and "–" not in said


def test_parity_that_is_not_known_is_not_passed_over():
    assert "parity with eager fp32 is not known" in first(decision(winner={**INT8, "parity": None}))


def test_an_exact_winner_needs_no_other():
    assert "If you need exact fp32" not in sentences(decision(winner=ONNX))
    assert "No finalist is exact fp32." in sentences(decision(exact=None))
