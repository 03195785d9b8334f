"""Which configurations a machine has room for, and which are left out."""

from dataclasses import replace

from choose.objective import worth
from choose.outcome import Outcome, Point
from choose.request import Request
from choose.space import axes
from choose.study import prior
from tests.choose.recorded import outcome, space

ASKED = Request(("digits",))


def test_the_default_comes_first_and_no_configuration_twice():
    every = list(space().all())
    assert every[0] == space().default and every[0].key == "digits-torchscript.w1.t2.b8.q100"
    assert len(every) == len(set(every)) == 3 * 2 * 2 * 2


def test_workers_times_threads_are_at_most_twice_the_cores():
    every = list(space(cores=8).all())
    assert {each.workers for each in every} == {each.threads for each in every} == {1, 2, 4, 8}
    assert max(each.workers * each.threads for each in every) == 16


def test_cores_that_are_no_power_of_two_are_an_option_too():
    assert axes(6, 100)["workers"] == (1, 2, 4, 6)
    assert axes(1, 100)["threads"] == (1,)
    assert axes(64, 100, workers=(3,), batches=(5,))["workers"] == (3,)


def test_the_default_is_measured_though_it_was_not_asked_for():
    narrowed = replace(space(), searched=("int8",), axes={**space().axes, "workers": (2,), "batch_size": (1,)})
    assert [each.variant for each in narrowed.all()] == ["torchscript", "int8", "int8"]
    assert all(narrowed.allows(each) for each in narrowed.all())
    assert not narrowed.allows(narrowed.configuration("torchscript", **{**narrowed.default.settings, "workers": 2}))


def test_what_memory_has_no_room_for_is_not_tried():
    small = replace(space(), memory_mib=500.0)
    assert {each.workers for each in small.all()} == {1}


def test_the_prior_is_each_variant_once_and_a_bench_leaves_out_the_slow_ones():
    assert [each.variant for each in prior(space(), ASKED, {})] == ["torchscript", "onnx", "int8"]
    measured = {"torchscript": 40.0, "onnx": 90.0, "int8": 100.0}
    assert [each.key for each in prior(space(), ASKED, measured)] == [
        "digits-int8.w2.t1.b8.q100", "digits-onnx.w2.t1.b8.q100"]  # fmt: skip
    alone = list(prior(space(), replace(ASKED, objective="latency"), {}))
    assert {(each.workers, each.threads, each.batch_size) for each in alone} == {(1, 2, 1)}


def test_the_score_is_the_best_load_within_the_objective():
    found = worth(ASKED, outcome(space().default))
    assert found.meets and found.score == max(each.requests_per_s for each in outcome(space().default).points)
    bounded = worth(replace(ASKED, slo_p99_ms=30.0), outcome(space().default))
    assert bounded.meets and bounded.score < found.score and bounded.point.p99_ms <= 30
    missed = worth(replace(ASKED, slo_p99_ms=1.0), outcome(space().default))
    assert not missed.meets and missed.score is None and "p99" in missed.reason
    nearer = worth(replace(ASKED, slo_p99_ms=2.0), outcome(space().default))
    assert missed.value < nearer.value < 0


def test_one_wrong_answer_or_one_error_at_any_load_never_wins():
    for change, words in ({"answers_wrong": 1}, "wrong"), ({"error_rate": 0.001}, "failed"):
        found = worth(ASKED, outcome(space().default, **change))
        assert not found.meets and found.score is None and words in found.reason


def test_a_rate_that_is_not_answered_is_not_met():
    asked = replace(ASKED, objective="memory", rate=100.0)
    slow = Point("open", 100.0, 60.0, 900.0, 2000.0, 0.0, 0, False, kept_up=False)
    assert worth(asked, Outcome((slow,), 300.0)).reason == "answered 60 of 100 requests/s"
    assert worth(asked, Outcome((replace(slow, kept_up=True),), 300.0)).score == 300.0
