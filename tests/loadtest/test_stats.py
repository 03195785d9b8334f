"""Statistics on sequences whose answers are known."""

import math
from fractions import Fraction

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


def test_a_percentile_is_of_all_values_of_an_array():
    assert stats.percentile(ONE_TO_10000.reshape(100, 100), 99) == 9900
    assert type(stats.percentile(np.array([3, 1, 2]), 50)) is float


def test_the_rank_is_that_of_the_decimal_fraction():
    """99.9 / 100 * 10000 is 9990.000000000002 in binary."""
    assert stats.rank(10_000, 99.9) == 9990
    assert [stats.rank(4, q) for q in (1e-12, 25, 25.001, 50, 100)] == [1, 1, 2, 2, 4]
    assert stats.rank(10**6, 0.0001001) == 2


def test_percentiles_are_called_by_their_digits():
    assert [stats.key(q) for q in (50, 99, 99.9, 99.99)] == ["p50", "p99", "p999", "p9999"]


@pytest.mark.parametrize(
    ("values", "q", "says"),
    [
        ([], 50, "An empty sample has no percentile."),
        ([1], 0, "The percentile 0 is outside (0, 100]."),
        ([1], 100.5, "The percentile 100.5 is outside (0, 100]."),
    ],
)
def test_what_has_no_percentile_is_an_error(values, q, says):
    with pytest.raises(ValueError) as refused:
        stats.percentile(values, q)
    assert str(refused.value) == says


@pytest.mark.parametrize(("q", "count"), [(50, 6), (90, 36), (99, 368), (99.9, 3688)])
def test_the_smallest_sample_is_the_binomial_one(q, count):
    assert stats.smallest_sample(q) == count
    assert 1 - (q / 100) ** count >= 0.975 > 1 - (q / 100) ** (count - 1)
    assert stats.interval_ranks(count, q) is not None
    assert stats.interval_ranks(count - 1, q) is None
    assert stats.estimate(np.arange(count - 1), q) is None


def test_less_confidence_needs_fewer_values():
    """0.9 ** 29 is below 5 %, 0.9 ** 28 is not. Low percentiles need as many as high ones."""
    assert stats.smallest_sample(90, 0.9) == stats.smallest_sample(10, 0.9) == 29
    assert stats.interval_ranks(29, 90, 0.9) and not stats.interval_ranks(29, 90)


def test_the_median_interval_of_100_is_the_tabled_one():
    # Binomial(100, 1/2): ranks 40 and 61 cover with 0.9648, 41 and 60 with less than 0.95 (Conover, table of medians).
    assert stats.interval_ranks(100, 50) == (40, 61)


@pytest.mark.parametrize(("n", "q", "confidence"), [(6, 50, 0.95), (36, 90, 0.95), (40, 10, 0.95), (29, 10, 0.9),
                                                    (400, 99, 0.95), (1000, 75, 0.5), (100, 50, 0.99)])  # fmt: skip
def test_the_ranks_are_the_innermost_ones_that_cover_on_each_side(n, q, confidence):
    """By the binomial sums in exact fractions: P(fewer than r of n values lie below the percentile)."""
    p, tail = Fraction(str(q)) / 100, (1 - Fraction(str(confidence))) / 2
    weights = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    low, high = stats.interval_ranks(n, q, confidence)
    assert sum(weights[:low]) <= tail < sum(weights[: low + 1])  # the value of rank ``low`` is above it too rarely
    assert sum(weights[high:]) <= tail < sum(weights[high - 1 :])


def test_an_estimate_is_made_of_values_of_the_sample():
    low, high = stats.interval_ranks(10_000, 99)
    assert stats.estimate(ONE_TO_10000.reshape(100, 100), 99) == stats.Estimate(9900.0, float(low), float(high))
    assert stats.estimate(ONE_TO_10000[:300], 99) is None and stats.estimate(ONE_TO_10000[:300], 99, 0.9) is not None


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
    assert not stats.stable([100, 100, 100], [10, 10])


def test_windows_are_stable_within_another_share_or_number_where_one_is_given():
    assert stats.stable([100, 130], [10, 13], count=2, within=0.15)
    assert not stats.stable([100, 130], [10, 10], count=2, within=0.1)
    assert not stats.stable([100, 100], [10, 13], count=2, within=0.1)
    assert not stats.stable([100, 100, 130, 130], [10] * 4, count=4)


def test_values_agree_up_to_the_bound_and_none_do_not():
    assert stats.agree([3, 5], within=0.25) and not stats.agree([3, 5], within=0.2499)
    assert stats.agree([0.001, 0.001]) and stats.agree([1000])
    with np.errstate(all="raise"):
        for values in ([], [0, 0], [-1, -1], [1, -1], [1, float("inf")], [1, None]):
            assert not stats.agree(values)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.26, 1.3, "worse"),
        (1.25, 1.3, "unclear"),
        (0.8, 1.25, "no difference"),
        (0.9, 1.26, "unclear"),
        (0.79, 1.0, "unclear"),
        (0.7, 0.8, "unclear"),
        (0.7, 0.79, "better"),
    ],
)
def test_the_margin_is_a_factor_in_both_directions(low, high, verdict):
    """1.25 and 1 / 1.25. An interval that ends on the margin is not beyond it."""
    compared = stats.Comparison(1.0, low, high, 0.95)
    assert compared.verdict(0.25) == verdict
    mirrored = {"worse": "better", "better": "worse"}.get(verdict, verdict)
    assert compared.verdict(0.25, lower_is_better=False) == mirrored


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


def test_the_ratio_is_that_of_all_values_and_the_resamples_are_the_seeds():
    baseline, candidate = [np.arange(1, 8), np.arange(8, 10)], [np.arange(10, 24), np.array([]), np.arange(24, 31)]
    compared = stats.compare(baseline, candidate, p50, confidence=0.5, resamples=50, seed=1)
    assert (compared.ratio, compared.confidence) == (20 / 5, 0.5)
    assert compared == stats.compare(baseline, candidate, p50, confidence=0.5, resamples=50, seed=1)
    assert compared != stats.compare(baseline, candidate, p50, confidence=0.5, resamples=50, seed=2)
    assert stats.compare(baseline, candidate, p50, resamples=50) == stats.compare(
        baseline, candidate, p50, resamples=50, seed=0
    )
    wider = stats.compare(baseline, candidate, p50, confidence=0.99, resamples=50, seed=1)
    assert wider.low < compared.low < compared.high < wider.high


def test_the_bounds_are_percentiles_of_the_resampled_ratios():
    """Of one window of two values, the largest is drawn in three of four resamples: 1, 2 or 1 / 2 beside the other."""
    seen = []
    compared = stats.compare([[1.0]], [[1.0, 2.0]], lambda values: seen.append(len(values)) or float(values.max()))
    assert (compared.ratio, compared.low, compared.high, compared.confidence) == (2.0, 1.0, 2.0, 0.95)
    assert seen == [1] * 1000 + [2] * 1000 + [2, 1]
    rising = iter([*[2.0] * 1000, *range(1, 1001), 7.0, 2.0])
    compared = stats.compare([[1.0]], [[1.0]], lambda values: next(rising))
    assert (compared.ratio, compared.low, compared.high) == (3.5, 25 / 2, 975 / 2)


def test_whole_windows_are_drawn_and_then_values_within_them():
    """Windows of unlike sizes: the sizes of the resamples are sums of as many sizes as there are windows."""
    sizes = set()
    stats.compare([[1.0]], [[1.0] * 5, [1.0] * 100], lambda values: sizes.add(len(values)) or 1.0, resamples=60)
    assert sizes == {1, 10, 105, 200}
    drawn = []
    stats.compare([[1.0]], [np.arange(1.0, 101)], lambda values: drawn.append(len(set(values))) or 1.0, resamples=20)
    assert all(50 < distinct < 80 for distinct in drawn[20:40])  # 63 of 100 in the mean: with replacement


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


def test_a_comparison_of_intervals_takes_their_extreme_quotients():
    compared = stats.compare_intervals(stats.Estimate(10, 8, 16), stats.Estimate(20, 12, 24), 0.9)
    assert compared == stats.Comparison(2.0, 0.75, 3.0, 0.9)
    assert stats.compare_intervals(stats.Estimate(1, 1, 1), stats.Estimate(1, 1, 1)).confidence == 0.95


@pytest.mark.parametrize(("baseline", "candidate"), [([[]], [[1.0]]), ([[1.0]], []), ([[1.0]], [[], []])])
def test_a_comparison_without_values_is_an_error(baseline, candidate):
    with pytest.raises(ValueError) as refused:
        stats.compare(baseline, candidate, p50)
    assert str(refused.value) == "A comparison needs values on both sides."
