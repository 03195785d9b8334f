"""Statistics on sequences whose answers are known."""

import numpy as np
import pytest

from loadtest import stats

ONE_TO_10000 = np.random.default_rng(1).permutation(np.arange(1, 10_001))


@pytest.mark.parametrize(("q", "expected"), [(50, 5000), (90, 9000), (95, 9500), (99, 9900), (99.9, 9990)])
def test_percentiles_of_1_to_10000(q, expected):
    assert stats.percentile(ONE_TO_10000, q) == expected


@pytest.mark.parametrize("q", [0.01, 50, 99, 100])
def test_a_percentile_is_a_value_of_the_sample(q):
    assert stats.percentile([7, 1000], q) in (7, 1000)
    assert stats.percentile([42], q) == 42


@pytest.mark.parametrize(("values", "q"), [([], 50), ([1], 0), ([1], 101)])
def test_what_has_no_percentile_is_an_error(values, q):
    with pytest.raises(ValueError):
        stats.percentile(values, q)


@pytest.mark.parametrize(("q", "count"), [(50, 6), (90, 36), (99, 368), (99.9, 3688)])
def test_the_smallest_sample_is_the_binomial_one(q, count):
    assert stats.smallest_sample(q) == count
    assert 1 - (q / 100) ** count >= 0.975 > 1 - (q / 100) ** (count - 1)
    assert stats.interval_ranks(count, q) is not None
    assert stats.interval_ranks(count - 1, q) is None
    assert stats.estimate(np.arange(count - 1), q) is None


def test_the_median_interval_of_100_is_the_tabled_one():
    # Binomial(100, 1/2): ranks 40 and 61 cover with 0.9648, 41 and 60 with less than 0.95 (Conover, table of medians).
    assert stats.interval_ranks(100, 50) == (40, 61)


@pytest.mark.parametrize("q", [50, 90, 99])
def test_intervals_cover_the_true_percentile_as_often_as_they_say(q):
    rng = np.random.default_rng(7)
    true = -np.log(1 - q / 100)
    found = [stats.estimate(rng.exponential(size=600), q) for _ in range(1000)]
    covered = np.mean([each.low <= true <= each.high for each in found])
    assert 0.94 <= covered <= 0.995


def test_large_samples_neither_overflow_nor_lose_the_rank():
    low, high = stats.interval_ranks(300_000, 99.0)
    assert low < 297_000 < high and high - low < 300


def test_three_windows_within_ten_percent_are_stable_and_two_are_not_enough():
    assert stats.stable([50, 100, 104, 96], [9, 10, 10.5, 9.6])
    assert not stats.stable([100, 104], [10, 10])
    assert not stats.stable([100, 104, 120], [10, 10, 10])
    assert not stats.stable([100, 100, 100], [10, 10, 14])
    assert not stats.stable([100, 100, float("nan")], [10, 10, 10])
    assert not stats.stable([0, 0, 0], [10, 10, 10])


def windows(rng, scale, count=6, size=400):
    return [rng.exponential(size=size) * scale + scale for _ in range(count)]


def p50(values):
    return stats.percentile(values, 50)


def test_a_slowdown_beyond_the_margin_is_worse_and_its_mirror_better():
    rng = np.random.default_rng(3)
    fast, slow = windows(rng, 1.0), windows(rng, 1.3)
    assert stats.compare(fast, slow, p50, resamples=300).verdict(0.05) == "worse"
    assert stats.compare(slow, fast, p50, resamples=300).verdict(0.05) == "better"
    assert stats.compare(fast, slow, p50, resamples=300).verdict(0.05, lower_is_better=False) == "better"


def test_equal_samples_do_not_differ_and_small_ones_are_unclear():
    rng = np.random.default_rng(4)
    assert stats.compare(windows(rng, 1.0), windows(rng, 1.0), p50, resamples=300).verdict(0.1) == "no difference"
    few = stats.compare(windows(rng, 1.0, 2, 8), windows(rng, 1.0, 2, 8), p50, resamples=300)
    assert few.verdict(0.02) == "unclear"


def test_windows_that_differ_widen_the_interval():
    rng = np.random.default_rng(5)
    calm = [rng.normal(10, 1, 400) for _ in range(6)]
    moody = [rng.normal(10 + shift, 1, 400) for shift in (-3, -2, -1, 1, 2, 3)]
    calm_width = stats.compare(calm, calm, p50, resamples=300)
    moody_width = stats.compare(calm, moody, p50, resamples=300)
    assert moody_width.high - moody_width.low > 5 * (calm_width.high - calm_width.low)


def test_a_comparison_of_intervals_is_worse_only_when_they_are_apart():
    old, same, worse = stats.Estimate(10, 9.5, 10.5), stats.Estimate(10.2, 9.8, 10.8), stats.Estimate(14, 13, 15)
    assert stats.compare_intervals(old, worse).verdict(0.05) == "worse"
    assert stats.compare_intervals(old, same).verdict(0.05) == "unclear"
    assert stats.compare_intervals(old, same).verdict(0.20) == "no difference"


def test_a_comparison_without_values_is_an_error():
    with pytest.raises(ValueError):
        stats.compare([[]], [[1.0]], p50)
