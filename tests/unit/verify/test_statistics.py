"""Statistics against published and hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from spikeproof.errors import InputError
from spikeproof.verify import statistics as st
from spikeproof.verify.verdict import Verdict, combine, judge_interval


@pytest.mark.parametrize(
    ("counts", "confidence", "low", "high"),
    [
        # T. Tango, Statistics in Medicine 17 (1998): n = 32 and n = 44.
        (st.PairedCounts(32, 9, 3), 0.95, -0.027, 0.390),
        (st.PairedCounts(44, 0, 1), 0.90, -0.096, 0.037),
        # A. Agresti and Y. Min, Statistics in Medicine 24 (2005).
        (st.PairedCounts(86, 16, 8), 0.95, -0.020, 0.207),
    ],
)
def test_tango_interval_gives_published_values(
    counts: st.PairedCounts, confidence: float, low: float, high: float
) -> None:
    found = st.tango_interval(counts, confidence)
    assert found == pytest.approx((low, high), abs=5e-4)


def test_tango_statistic_at_zero_is_mcnemars() -> None:
    counts = st.PairedCounts(100, 12, 5)
    assert st.tango_z(counts, 0.0) == pytest.approx((12 - 5) / math.sqrt(12 + 5))


@pytest.mark.parametrize("difference", [0.001, 0.1, -0.001, -0.1])
def test_tango_statistic_without_discordant_pairs_by_hand(difference: float) -> None:
    size = abs(difference)
    expected = -math.copysign(math.sqrt(100 * size / (1 - size)), difference)
    assert st.tango_z(st.PairedCounts(100, 0, 0), difference) == pytest.approx(expected)


def test_tango_statistic_maximises_the_likelihood_under_the_hypothesis() -> None:
    """Against a search for the share of "only second" that makes the counts likeliest."""
    n, b, c, d = 60, 9, 4, 0.2
    shares = np.linspace(1e-6, (1 - d) / 2 - 1e-6, 400_001)
    likelihood = (
        b * np.log(shares + d) + c * np.log(shares) + (n - b - c) * np.log(1 - 2 * shares - d)
    )
    q = shares[likelihood.argmax()]
    expected = (b - c - n * d) / math.sqrt(n * (2 * q + d - d * d))
    assert st.tango_z(st.PairedCounts(n, b, c), d) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "difference", "expected"),
    [
        (0, 0, 0.0, 0.0),
        (10, 0, 1.0, 0.0),  # what was seen is the only thing possible
        (5, 0, 1.0, -math.inf),  # what was seen is impossible
        (0, 10, -1.0, 0.0),
        (0, 5, -1.0, math.inf),
    ],
)
def test_hypotheses_without_any_variance_are_true_or_impossible(
    first: int, second: int, difference: float, expected: float
) -> None:
    assert st.tango_z(st.PairedCounts(10, first, second), difference) == expected


def test_interval_is_the_set_of_accepted_differences() -> None:
    counts = st.PairedCounts(500, 20, 9)
    low, high = st.tango_interval(counts, 0.9)
    assert st.tango_z(counts, low) == pytest.approx(1.6449, abs=1e-3)
    assert st.tango_z(counts, high) == pytest.approx(-1.6449, abs=1e-3)


@pytest.mark.parametrize(("first", "second"), [(9, 0), (0, 9)])
def test_intervals_reach_as_far_as_complete_disagreement(first: int, second: int) -> None:
    counts = st.PairedCounts(10, first, second)
    low, high = st.tango_interval(counts)
    assert -1 < low < counts.difference < high < 1
    assert st.tango_z(counts, low) == pytest.approx(1.959964, abs=1e-4)
    assert st.tango_z(counts, high) == pytest.approx(-1.959964, abs=1e-4)


def test_no_discordant_pair_gives_the_known_bound() -> None:
    # With b = c = 0 the limits solve z^2 = n d / (1 - d): d = z^2 / (n + z^2).
    z2 = 1.959964**2
    assert st.tango_interval(st.PairedCounts(100, 0, 0)) == pytest.approx(
        (-z2 / (100 + z2), z2 / (100 + z2)), abs=1e-6
    )


@pytest.mark.parametrize(
    ("pairs", "first", "second", "verdict"),
    [
        (5000, 20, 22, Verdict.PASS),
        (5000, 300, 20, Verdict.FAIL),
        (5000, 20, 300, Verdict.FAIL),
        (100, 3, 3, Verdict.INCONCLUSIVE),
        (5000, 110, 60, Verdict.INCONCLUSIVE),
        (5000, 60, 110, Verdict.INCONCLUSIVE),
    ],
)
def test_tost_is_three_valued(pairs: int, first: int, second: int, verdict: Verdict) -> None:
    judged = st.tost(st.PairedCounts(pairs, first, second), 0.01)
    assert judged.verdict is verdict
    assert (judged.p_value < 0.05) is (verdict is Verdict.PASS)
    assert judged.difference == pytest.approx((first - second) / pairs)
    assert judged.interval == st.tango_interval(st.PairedCounts(pairs, first, second), 0.9)
    # The larger of the two one-sided p-values.
    nearer = min(abs(st.tango_z(st.PairedCounts(pairs, first, second), d)) for d in (-0.01, 0.01))
    inside = abs(judged.difference) < 0.01
    assert judged.p_value == pytest.approx(
        0.5 * math.erfc((nearer if inside else -nearer) / math.sqrt(2))
    )


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((-0.0099, 0.0099), Verdict.PASS),
        ((-0.01, 0.0), Verdict.INCONCLUSIVE),
        ((0.0, 0.01), Verdict.INCONCLUSIVE),
        ((0.0099, 0.02), Verdict.INCONCLUSIVE),
        ((-0.02, -0.0099), Verdict.INCONCLUSIVE),
        ((0.01, 0.02), Verdict.FAIL),
        ((-0.02, -0.01), Verdict.FAIL),
    ],
)
def test_the_margin_itself_is_not_equal(
    monkeypatch: pytest.MonkeyPatch, interval: st.Interval, verdict: Verdict
) -> None:
    monkeypatch.setattr(st, "tango_interval", lambda *_: interval)
    assert st.tost(st.PairedCounts(100, 0, 0), 0.01).verdict is verdict


def test_equal_small_samples_are_not_called_equivalent() -> None:
    """No difference seen in 20 images is not evidence of equality."""
    assert st.tost(st.PairedCounts(20, 0, 0), 0.01).verdict is Verdict.INCONCLUSIVE


def test_mcnemar_by_hand() -> None:
    # Two-sided binomial: 1 of 9 discordant: 2 (1 + 9) / 2^9.
    assert st.mcnemar_exact(st.PairedCounts(50, 1, 8)) == pytest.approx(20 / 512)
    assert st.mcnemar_exact(st.PairedCounts(50, 8, 1)) == pytest.approx(20 / 512)
    assert st.mcnemar_exact(st.PairedCounts(50, 0, 0)) == 1.0
    assert st.mcnemar_exact(st.PairedCounts(50, 6, 0)) == pytest.approx(2 / 64)


def test_intervals_of_a_share() -> None:
    # Newcombe 1998: 81 of 263, Wilson (0.2553, 0.3662), exact (0.2527, 0.3676).
    assert st.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert st.exact_interval(81, 263) == pytest.approx((0.2527, 0.3676), abs=1e-4)


def test_holm_by_hand() -> None:
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.holm([0.8, 0.9, 0.02]) == pytest.approx([1.0, 1.0, 0.06])
    assert st.holm([]) == []


def test_bootstrap_is_seeded_and_paired() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=200)
    weights = st.bootstrap_weights(200, 500, seed=3)
    assert (weights == st.bootstrap_weights(200, 500, seed=3)).all()
    assert weights.shape == (500, 200)
    assert (weights.sum(axis=1) == 200).all()
    # Paired: a constant factor has no spread at all.
    assert st.percentile_interval(st.ratio_of_sums(1.1 * values, values, weights)) == (
        pytest.approx((1.1, 1.1))
    )


def test_a_ratio_with_nothing_below_is_infinite() -> None:
    weights = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    found = st.ratio_of_sums(np.array([1.0, 3.0]), np.array([0.0, 0.5]), weights)
    assert found.tolist() == [math.inf, 8.0, 6.0]


def test_percentiles_are_drawn_values_with_equal_tails() -> None:
    values = np.arange(1.0, 202.0)[::-1]
    assert st.percentile_interval(values) == (6.0, 196.0)
    assert st.percentile_interval(values, 0.9) == (11.0, 191.0)


@pytest.mark.parametrize(
    ("estimate", "spread", "expected"),
    [
        (1.2 + 1.959964 * 0.1, 0.1, 0.025),  # above the ceiling
        (0.8 - 1.959964 * 0.1, 0.1, 0.025),  # below the floor
        (1.2, 0.1, 0.5),
        (0.8, 0.1, 0.5),
        (1.0, 0.1, 0.97725),  # two spreads inside on either side
        # Without spread the estimate is the truth: on the border it is still within.
        (1.2, 0.0, 1.0),
        (0.8, 0.0, 1.0),
        (1.0, 0.0, 1.0),
        (1.21, 0.0, 0.0),
        (0.79, 0.0, 0.0),
    ],
)
def test_being_outside_is_judged_by_the_nearer_border(
    estimate: float, spread: float, expected: float
) -> None:
    assert st.outside_p_value(estimate, spread, 0.8, 1.2) == pytest.approx(expected, abs=1e-5)


def test_every_resample_is_ranked_for_itself() -> None:
    """Also across the blocks in which resamples are worked off; without any spread it is 0."""
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=8).round(1), rng.normal(size=8).round(1)
    weights = st.bootstrap_weights(8, 600, 1)
    weights[[3, 255, 256, 300, 599]] = np.eye(8)[:5] * 8
    found = st.spearman_resamples(first, second, weights)
    assert found.shape == (600,)
    for row, rho in zip(weights.astype(int), found, strict=True):
        expected = st.spearman(np.repeat(first, row), np.repeat(second, row))
        assert rho == pytest.approx(expected or 0.0, abs=1e-9)
    pair = np.array([0.0, 1.0])
    twice = st.spearman_resamples(pair, pair, np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert twice.tolist() == [1.0, 0.0]


def test_interval_of_a_correlation_by_hand() -> None:
    low, high = st.spread_interval(0.0, 1 / 1.959964, 50, 0.95)
    assert (low, high) == pytest.approx((math.tanh(-1) - 0.02, math.tanh(1)), abs=1e-6)
    low, high = st.spread_interval(0.5, 0.1, 100, 0.9)
    centre, wide = math.atanh(0.5), 0.1 * 1.644854
    expected = (math.tanh(centre - wide) - 0.01, math.tanh(centre + wide))
    assert (low, high) == pytest.approx(expected, abs=1e-6)
    assert st.spread_interval(-0.9, 5.0, 10, 0.95)[0] == -1.0
    same = st.spearman_interval(0.5, np.tanh([0.4, 0.6]), 100, 0.9)
    assert same == pytest.approx((low, high))  # these two resamples have a spread of 0.1


def test_fishers_transform_is_finite_at_the_ends() -> None:
    ends = st.fisher(np.array([-1.0, 0.0, 0.5, 1.0]))
    assert np.isfinite(ends).all() and ends[0] == pytest.approx(-ends[3])
    assert ends[1:3] == pytest.approx([0.0, 0.5 * math.log(3)])
    assert ends[3] > 14  # so close to 1 that no sample of images comes between


def test_exact_tests_of_an_exceeded_share_by_hand() -> None:
    # Binomial with n = 4 and p = 1/2: 1, 4, 6, 4, 1 of 16.
    assert st.share_above(3, 4, 0.5) == pytest.approx(5 / 16)
    assert st.share_above(0, 4, 0.5) == pytest.approx(1)
    assert st.share_below(1, 4, 0.5) == pytest.approx(5 / 16)
    assert st.share_below(4, 4, 0.5) == pytest.approx(1)
    # n = 2 and p = 1/4: 9, 6, 1 of 16.
    assert st.share_above(2, 2, 0.25) == pytest.approx(1 / 16)
    assert st.share_below(0, 2, 0.25) == pytest.approx(9 / 16)


@pytest.mark.parametrize(("successes", "total"), [(-1, 5), (6, 5), (0, 0), (0, -1)])
def test_impossible_shares_are_refused(successes: int, total: int) -> None:
    for function in (st.wilson_interval, st.exact_interval):
        with pytest.raises(InputError, match="is not a share"):
            function(successes, total)
    for test in (st.share_above, st.share_below):
        with pytest.raises(InputError, match="is not a share"):
            test(successes, total, 0.1)


def test_shares_of_nothing_and_of_everything_are_legal() -> None:
    assert st.exact_interval(0, 1) == pytest.approx((0.0, 0.975))
    assert st.exact_interval(1, 1) == pytest.approx((0.025, 1.0))
    with pytest.raises(InputError, match="0 of 0 is not a share"):
        st.exact_interval(0, 0)


def test_spearman_of_a_constant_is_undefined() -> None:
    ramp = np.arange(10.0)
    assert st.spearman(ramp, np.zeros(10)) is None
    assert st.spearman(np.zeros(10), ramp) is None
    assert st.spearman(ramp[:0], ramp[:0]) is None
    assert st.spearman(ramp[:1], ramp[:1]) is None
    assert st.spearman(ramp[:2], -ramp[:2]) == pytest.approx(-1.0)
    assert st.spearman(ramp, ramp**3) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    first = rng.normal(size=100)
    second = first + 1.6 * rng.normal(size=100)
    rho = st.spearman(first, second)
    assert rho is not None
    weights = st.bootstrap_weights(100, 400, 0)
    low, high = st.spearman_interval(rho, st.spearman_resamples(first, second, weights), 100, 0.95)
    assert -1 < low < 0.5 < high < 1


def test_smallest_limit_needs_299_samples_for_one_percent() -> None:
    assert st.smallest_limit(np.zeros(298), 0.01, 0.05) is None
    assert st.smallest_limit(np.arange(299.0), 0.01, 0.05) == 298.0


def test_smallest_limit_leaves_as_many_above_as_are_shown_to_be_few() -> None:
    # Binomial, n = 50 and p = 0.1: at most 1 has probability 0.034, at most 2 has 0.112.
    values = np.random.default_rng(0).permutation(50.0 + np.arange(50))
    assert st.smallest_limit(values, 0.1, 0.05) == 98.0
    assert st.smallest_limit(np.array([7.0]), 0.5, 0.5) == 7.0  # exactly alpha is enough
    assert st.smallest_limit(np.array([7.0]), 0.5, 0.499) is None


@pytest.mark.parametrize(
    ("pairs", "first", "second"), [(5, 4, 2), (0, 0, 0), (5, -1, 2), (5, 2, -1)]
)
def test_impossible_counts_are_refused(pairs: int, first: int, second: int) -> None:
    with pytest.raises(
        InputError, match=f"{first} . {second} discordant of {pairs} pairs"
    ) as error:
        st.PairedCounts(pairs, first, second)
    assert "no fewer than the discordant ones" in str(error.value)


def test_every_pair_may_be_discordant() -> None:
    assert st.PairedCounts(5, 4, 1).difference == pytest.approx(0.6)
    assert st.PairedCounts(1, 0, 1).difference == -1


@pytest.mark.parametrize(
    ("margin", "alpha"), [(0.0, 0.05), (1.0, 0.05), (-0.1, 0.05), (0.1, 0.0), (0.1, 0.5)]
)
def test_margins_and_error_rates_are_strictly_inside_their_ranges(
    margin: float, alpha: float
) -> None:
    with pytest.raises(InputError, match=f"margin {margin} must be in 0..1 and alpha {alpha}"):
        st.tost(st.PairedCounts(5, 1, 1), margin, alpha)
    st.tost(st.PairedCounts(5, 1, 1), 0.999, 0.499)
    st.tost(st.PairedCounts(5, 1, 1), 0.001, 0.001)


def test_outcomes_are_counted_in_pairs() -> None:
    first = np.array([1, 1, 1, 1, 1, 0, 0], bool)
    second = np.array([1, 1, 1, 0, 0, 1, 0], bool)
    assert st.paired_counts(first, second) == st.PairedCounts(7, 2, 1)
    for other in (np.ones(4, bool), np.ones((7, 1), bool)):
        with pytest.raises(InputError, match="not paired"):
            st.paired_counts(first, other)
    with pytest.raises(InputError, match="not paired"):
        st.paired_counts(np.ones((2, 2), bool), np.ones((2, 2), bool))


def test_verdicts_combine() -> None:
    p, f, i, n = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INFO
    assert combine([p, i, f]) is f
    assert combine([p, i, n]) is i
    assert combine([p, n]) is p
    assert combine([]) is i
    assert combine([n]) is i
    assert judge_interval(0.96, 1.04, 0.95, 1.05) is p
    assert judge_interval(1.06, 1.2, 0.95, 1.05) is f
    assert judge_interval(1.0, 1.2, 0.95, 1.05) is i
    assert str(p) == "pass"


@pytest.mark.parametrize("seed", range(20))
def test_statistics_are_those_of_scipy(seed: int) -> None:
    """The product computes them from special functions; scipy.stats takes a second to load."""
    rng = np.random.default_rng(seed)
    total = int(rng.integers(1, 2000))
    k, share = int(rng.integers(0, total + 1)), float(rng.uniform(0.001, 0.999))
    level = float(rng.uniform(0.5, 0.999))
    test = stats.binomtest(k, total, 0.5)
    found = {
        "mcnemar": st.mcnemar_exact(st.PairedCounts(total, k, total - k)),
        "wilson": st.wilson_interval(k, total, level),
        "exact": st.exact_interval(k, total, level),
        "above": st.share_above(k, total, share),
        "below": st.share_below(k, total, share),
    }
    expected = {
        "mcnemar": test.pvalue,
        "wilson": tuple(test.proportion_ci(level, method="wilson")),
        "exact": tuple(test.proportion_ci(level, method="exact")),
        "above": stats.binom.sf(k - 1, total, share),
        "below": stats.binom.cdf(k, total, share),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    first = rng.integers(0, 9, 50).astype(np.float64)
    second = first + rng.normal(size=50)
    assert st.spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (5, 5), (5, 6), (3, 11)])
def test_mcnemars_p_value_is_that_of_scipy(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if second else 1.0
    assert st.mcnemar_exact(st.PairedCounts(40, first, second)) == pytest.approx(expected)


@pytest.mark.parametrize(("k", "total"), [(0, 1), (1, 1), (0, 50), (50, 50)])
def test_intervals_at_the_ends_are_those_of_scipy(k: int, total: int) -> None:
    test = stats.binomtest(k, total)
    assert st.exact_interval(k, total) == pytest.approx(tuple(test.proportion_ci(method="exact")))
    wilson = tuple(test.proportion_ci(method="wilson"))
    assert st.wilson_interval(k, total) == pytest.approx(wilson, abs=1e-12)


@pytest.mark.parametrize(("pairs", "margin"), [(1000, 0.03), (64, 0.1), (5411, 0.01)])
def test_a_sample_shows_equality_nine_times_in_ten_at_the_discordance_that_is_promised(
    pairs: int, margin: float
) -> None:
    """Drawn anew two thousand times; more discordance shows less."""
    rng = np.random.default_rng(pairs)

    def passes(discordant: float) -> float:
        sides = [discordant / 2, discordant / 2, 1 - discordant]
        drawn = rng.multinomial(pairs, sides, size=2000)
        found = [st.tost(st.PairedCounts(pairs, b, c), margin).verdict for b, c, _ in drawn]
        return sum(v is Verdict.PASS for v in found) / len(found)

    most = st.most_discordant(pairs, margin)
    assert 0.88 < passes(most) < 0.96
    assert passes(min(1.0, 2 * most)) < 0.75
