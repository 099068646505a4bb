"""Statistics against published and hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

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


def test_interval_is_the_set_of_accepted_differences() -> None:
    counts = st.PairedCounts(500, 20, 9)
    low, high = st.tango_interval(counts, 0.9)
    assert st.tango_z(counts, low) == pytest.approx(1.6449, abs=1e-3)
    assert st.tango_z(counts, high) == pytest.approx(-1.6449, abs=1e-3)


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
    ],
)
def test_tost_is_three_valued(pairs: int, first: int, second: int, verdict: Verdict) -> None:
    judged = st.tost(st.PairedCounts(pairs, first, second), 0.01)
    assert judged.verdict is verdict
    assert (judged.p_value < 0.05) is (verdict is Verdict.PASS)


def test_equal_small_samples_are_not_called_equivalent() -> None:
    """No difference seen in 20 images is not evidence of equality."""
    assert st.tost(st.PairedCounts(20, 0, 0), 0.01).verdict is Verdict.INCONCLUSIVE


def test_mcnemar_by_hand() -> None:
    # Two-sided binomial: 1 of 9 discordant: 2 (1 + 9) / 2^9.
    assert st.mcnemar_exact(st.PairedCounts(50, 1, 8)) == pytest.approx(20 / 512)
    assert st.mcnemar_exact(st.PairedCounts(50, 0, 0)) == 1.0


def test_intervals_of_a_share() -> None:
    # Newcombe 1998: 81 of 263, Wilson (0.2553, 0.3662), exact (0.2527, 0.3676).
    assert st.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert st.exact_interval(81, 263) == pytest.approx((0.2527, 0.3676), abs=1e-4)


def test_rule_of_three() -> None:
    assert st.zero_failures_bound(300) == pytest.approx(0.00994, abs=1e-4)
    assert st.zero_failures_bound(10_000) == pytest.approx(3.0e-4, abs=1e-5)


def test_holm_by_hand() -> None:
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.holm([]) == []


def test_bootstrap_is_seeded_and_paired() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=200)
    weights = st.bootstrap_weights(200, 500, seed=3)
    assert (weights == st.bootstrap_weights(200, 500, seed=3)).all()
    assert (weights.sum(axis=1) == 200).all()
    # Paired: a constant factor has no spread at all.
    assert st.percentile_interval(st.ratio_of_sums(1.1 * values, values, weights)) == (
        pytest.approx((1.1, 1.1))
    )


def test_spearman_of_a_constant_is_undefined() -> None:
    ramp = np.arange(10.0)
    assert st.spearman(ramp, np.zeros(10)) is None
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


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(InputError, match="discordant"):
        st.PairedCounts(5, 4, 3)
    with pytest.raises(InputError, match="margin"):
        st.tost(st.PairedCounts(5, 1, 1), 0.0)
    with pytest.raises(InputError, match="not paired"):
        st.paired_counts(np.ones(3, bool), np.ones(4, bool))


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
