"""Arrival schedules: spacing, mean, variance, seeds, shapes."""

import numpy as np
import pytest

from loadtest.load import arrivals
from loadtest.load.arrivals import Segment


def test_constant_arrivals_are_equally_spaced_from_zero():
    assert arrivals.constant(50, 2).tolist() == [i * 20_000 for i in range(100)]


def test_poisson_gaps_have_the_mean_and_the_variance_of_an_exponential():
    gaps = np.diff(arrivals.poisson(200, 500, seed=3)) / 1e6
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.02)
    assert gaps.var() == pytest.approx(1 / 200**2, rel=0.05)


def test_poisson_counts_have_a_variance_equal_to_their_mean():
    at = arrivals.poisson(100, 1000, seed=5)
    counts = np.bincount(at // 1_000_000, minlength=1000)
    assert counts.mean() == pytest.approx(100, rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.15)


def test_a_seed_gives_one_schedule():
    same = [arrivals.poisson(50, 10, seed=1).tolist() for _ in range(2)]
    assert same[0] == same[1] != arrivals.poisson(50, 10, seed=2).tolist()


@pytest.mark.parametrize("kind", arrivals.KINDS)
def test_segments_follow_one_another_in_order(kind):
    at = arrivals.schedule(kind, [Segment(10, 20), Segment(5, 0), Segment(10, 200)], seed=1)
    assert np.all(np.diff(at) >= 0)
    calm, pause, busy = (((at >= low * 1e6) & (at < high * 1e6)).sum() for low, high in ((0, 10), (10, 15), (15, 25)))
    assert calm == pytest.approx(200, rel=0.3) and pause == 0 and busy == pytest.approx(2000, rel=0.1)


def test_a_step_rises_and_falls_and_a_spike_is_short():
    assert [s.rate for s in arrivals.step(10, 3, 30)] == [10, 30, 10]
    spike = arrivals.spike(10, 5, 60)
    assert sum(s.seconds for s in spike) == pytest.approx(60) and spike[1] == Segment(3, 50)


def test_unknown_arrivals_name_the_known_ones():
    with pytest.raises(ValueError, match="constant, poisson"):
        arrivals.schedule("uniform", [], 0)
