"""Coverage and symmetry of the statistics, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from spikeproof.verify import statistics as st
from spikeproof.verify.verdict import Verdict


@some.composite
def counts(draw: some.DrawFn) -> st.PairedCounts:
    pairs = draw(some.integers(1, 2000))
    first = draw(some.integers(0, pairs))
    return st.PairedCounts(pairs, first, draw(some.integers(0, pairs - first)))


@given(counts())
def test_tango_interval_holds_the_estimate_and_is_symmetric(found: st.PairedCounts) -> None:
    low, high = st.tango_interval(found)
    assert -1 <= low <= found.difference <= high <= 1
    mirrored = st.tango_interval(st.PairedCounts(found.pairs, found.only_second, found.only_first))
    assert (-high, -low) == pytest.approx(mirrored, abs=1e-9)


@given(counts())
def test_wider_confidence_gives_a_wider_interval(found: st.PairedCounts) -> None:
    narrow, wide = st.tango_interval(found, 0.9), st.tango_interval(found, 0.99)
    assert wide[0] <= narrow[0] and narrow[1] <= wide[1]


@given(some.lists(some.floats(0, 1), max_size=20))
def test_holm_never_lowers_and_keeps_the_order(values: list[float]) -> None:
    adjusted = st.holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    order = np.argsort(values, kind="stable")
    assert list(np.array(adjusted)[order]) == sorted(adjusted)


@pytest.mark.parametrize(("difference", "discordant"), [(0.0, 0.02), (0.01, 0.05), (0.05, 0.2)])
def test_tango_interval_covers_the_truth(difference: float, discordant: float) -> None:
    rng = np.random.default_rng(11)
    first, second = (discordant + difference) / 2, (discordant - difference) / 2
    drawn = rng.multinomial(400, [first, second, 1 - discordant], size=800)
    hits = 0
    for b, c, _ in drawn.tolist():
        low, high = st.tango_interval(st.PairedCounts(400, b, c), 0.9)
        hits += low <= difference <= high
    # 800 draws at 0.9: a standard error of about 0.011.
    assert 0.87 <= hits / 800 <= 0.97


def test_tost_keeps_its_error_rate_at_the_margin() -> None:
    """With a true difference equal to the margin, at most about 5 % pass."""
    rng = np.random.default_rng(5)
    drawn = rng.multinomial(1000, [0.035, 0.015, 0.95], size=800)
    passed = sum(
        st.tost(st.PairedCounts(1000, b, c), 0.02).verdict is Verdict.PASS
        for b, c, _ in drawn.tolist()
    )
    assert passed / 800 <= 0.075


def test_tost_has_power_for_planned_samples() -> None:
    """Planned for power 0.9 by a normal formula; the score interval is a little stricter."""
    rng = np.random.default_rng(6)
    drawn = rng.multinomial(1082, [0.005, 0.005, 0.99], size=600)
    passed = sum(
        st.tost(st.PairedCounts(1082, b, c), 0.01).verdict is Verdict.PASS
        for b, c, _ in drawn.tolist()
    )
    assert 0.75 <= passed / 600 <= 0.95


def test_bootstrap_interval_covers_the_ratio() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for seed in range(200):
        base = rng.gamma(2.0, size=150)
        other = base * 1.02 * np.exp(rng.normal(0, 0.1, 150)) / np.exp(0.005)
        ratios = st.ratio_of_sums(other, base, st.bootstrap_weights(150, 400, seed))
        low, high = st.percentile_interval(ratios, 0.9)
        hits += low <= 1.02 <= high
    assert 0.82 <= hits / 200 <= 0.97


@given(some.integers(0, 2**32 - 1), some.booleans())
@settings(max_examples=20, deadline=None)
def test_resampled_rank_correlation_is_that_of_the_drawn_pairs(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    first = rng.normal(size=40)
    second = first + rng.normal(size=40)
    if ties:
        first, second = first.round(), second.round()
    weights = st.bootstrap_weights(40, 5, seed)
    found = st.spearman_resamples(first, second, weights)
    for row, rho in zip(weights.astype(int), found, strict=True):
        drawn = np.repeat(np.arange(40), row)
        assert rho == pytest.approx(st.spearman(first[drawn], second[drawn]), abs=1e-9)


@pytest.mark.parametrize(
    ("scale", "truth"), [(0.1411, 0.9498), (0.0428, 0.9899)], ids=["near .95", "near .99"]
)
def test_rank_correlation_keeps_its_error_rate_with_heavy_tails(scale: float, truth: float) -> None:
    """With the limit at the truth, about 5 to 10 % are called established, not a third or more.

    Both sides have heavy tails, so most pairs agree and a few do not; the true values come from
    two million pairs.
    """
    rng = np.random.default_rng(12)
    established = 0
    for seed in range(250):
        first = rng.standard_t(2, 320)
        second = first + scale * rng.standard_t(1.5, 320)
        resamples = st.spearman_resamples(first, second, st.bootstrap_weights(320, 300, seed))
        rho = st.spearman(first, second)
        assert rho is not None
        established += st.spearman_interval(rho, resamples, 320, 0.9)[0] >= truth
    # A standard error of about 0.02.
    assert established / 250 <= 0.14


def test_quantile_tests_keep_their_error_rate() -> None:
    """Exactly 1 % of the population exceeds the limit: "fewer" and "more" are rarely claimed."""
    rng = np.random.default_rng(9)
    above = rng.binomial(1000, 0.01, size=2000)
    fewer = np.mean([st.share_below(int(k), 1000, 0.01) <= 0.05 for k in above])
    more = np.mean([st.share_above(int(k), 1000, 0.01) <= 0.05 for k in above])
    assert fewer <= 0.06 and more <= 0.06
