"""The p99 from a histogram's buckets: the edge that a bound is raised to, and the limits of chance."""

import math

import numpy as np
import pytest

from rollout import live
from rollout.asked import Bounds
from rollout.live import Seen, seen
from rollout.tail import FEWEST, Times, at_most
from rollout.watching import Refused, Watch

EDGES = (0.01, 0.02, 0.05, 0.1, math.inf)


def times(*seconds):
    return Times({edge: sum(each <= edge for each in seconds) for edge in EDGES})


def test_a_bound_is_raised_to_the_next_edge():
    some = times(*[0.005] * 90, *[0.03] * 10)
    assert [some.edge(each) for each in (0.015, 0.02, 0.021, 0.2)] == [0.02, 0.02, 0.05, math.inf]
    assert some.slower(0.015) == 10 and some.slower(0.03) == 0 and some.slower(1) == 0
    assert some.is_above(0.015) and not some.is_above(0.03) and not some.is_above(1)
    assert str(some) == "p99 20 to 50 ms" and str(Times()) == "no p99" and not Times().is_above(0.01)
    assert str(times(*[1.0] * 5)) == "p99 above 100 ms"


@pytest.mark.parametrize(("slow", "count", "sure"), [(1, 50, False), (2, 50, False), (4, 50, True), (10, 1000, False),
                                                     (14, 1000, False), (20, 1000, True), (10_000, 1_000_000, False),
                                                     (10_300, 1_000_000, True)])  # fmt: skip
def test_a_few_slow_requests_are_chance_and_many_are_not(slow, count, sure):
    found = Times({0.01: count - slow, math.inf: count})
    assert found.is_above(0.01) is sure


def test_the_probability_is_the_binomial_distributions():
    drawn = np.random.default_rng(0).binomial(500, 0.01, 200_000)
    for slower in (0, 2, 5, 9):
        assert at_most(slower, 500) == pytest.approx((drawn <= slower).mean(), abs=0.005)
    assert at_most(-1, 5) == 0 and at_most(5, 5) == 1 and at_most(4, 5) == pytest.approx(1, abs=1e-9)


def test_an_upper_bound_of_a_p99_needs_enough_requests():
    assert times(*[0.005] * (FEWEST - 1)).surely_within() is None
    assert times(*[0.005] * FEWEST).surely_within() == 0.01
    assert times(*[0.005] * FEWEST, 0.015).surely_within() == 0.02
    # At an edge that one in a hundred exceeds, the p99 may be above it too.
    assert times(*[0.005] * 990, *[0.015] * 10).surely_within() == 0.02


def test_times_are_of_the_models_answers_and_add_up(monkeypatch):
    labels = 'model="null",variant="",version="2.0"'
    text = "".join(
        f'tsi_request_duration_seconds_bucket{{{labels},stage="{stage}",status="{status}",le="{edge}"}} {value}.0\n'
        for stage, status, value in (("total", "2xx", 7), ("total", "4xx", 30), ("queue", "2xx", 500))
        for edge in ("0.01", "+Inf")
    )

    class Session:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def get(self, url, timeout):
            return type("Reply", (), {"text": text})

    monkeypatch.setattr(live, "direct", lambda certificate: Session())
    found = seen(type("Config", (), {"metrics": "", "certificate": None}), {"model": "null", "version": "2.0"})
    assert found.times == Times({0.01: 7, math.inf: 7})
    both = found + Seen(1, 2, times(0.005, 0.03))
    assert both.since(found) == Seen(1, 2, times(0.005, 0.03))
    assert both.times.count == 9


def watched(old, new, **bounds):
    """A watch that has learned from ``old`` and sees ``new``: the text of its refusal, or None."""

    class Fleet:
        def __init__(self):
            self.seen_of = {"1.0": [Seen(0, 0), old], "2.0": [new]}

        def seen(self, version):
            found = self.seen_of[version]
            return found.pop(0) if len(found) > 1 else found[0]

    said = []
    watch = Watch(Fleet(), lambda version: version, "2.0", Bounds(watch_s=0, **bounds), said.append)
    watch.learn("1.0")
    try:
        watch.watch(Seen(0, 0))
        watch.require_answers(Seen(0, 0))
    except Refused as refused:
        return str(refused), said
    return None, said


def of(*seconds):
    return Seen(len(seconds), 0, times(*seconds))


def test_a_version_is_refused_by_the_old_ones_p99_or_by_the_bound():
    fast, slow = of(*[0.005] * 300), of(*[0.005] * 280, *[0.07] * 20)
    assert watched(fast, fast)[0] is None
    refused, said = watched(fast, slow)
    assert refused == (
        "20 of 300 requests of clients took longer than 20 ms, p99 50 to 100 ms; "
        "MAX_P99_RATIO=1.5 times 10 ms, which that of 1.0 kept within, are allowed"
    )
    assert said == ["1.0 answered 300 requests of clients in 0 s; p99 0 to 10 ms"]
    assert watched(fast, slow, p99_ratio=10)[0] is None
    refused, said = watched(of(0.005), slow, p99_ms=30)
    assert "took longer than 50 ms" in refused and "MAX_P99_MS=30 is allowed" in refused
    assert said[0].endswith(f"from too few to compare with: {FEWEST} are needed")
    assert watched(of(0.005), slow)[0] is None, "nothing to compare with"


def test_a_version_that_answers_no_request_is_refused():
    busy = of(*[0.005] * 300)
    assert "answered no request of clients; 300 came" in watched(busy, of())[0]
    assert watched(of(0.005), of())[0] is None, "nobody asks"
