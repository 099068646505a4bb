"""Statistics of paired comparisons: equivalence, exact tests, intervals, resampling.

"No significant difference" is not evidence of equality. Claims of equality are made by two
one-sided tests against a margin fixed beforehand (TOST).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Not scipy.stats, which has the same by name: it takes a second to load.
from scipy.special import bdtr, bdtrc, betaincinv, ndtr, ndtri

from spikeproof.errors import InputError
from spikeproof.verify.verdict import Verdict

F64 = NDArray[np.float64]
Interval = tuple[float, float]
_HALVINGS = 60
_RESAMPLES_AT_ONCE = 256


@dataclass(frozen=True)
class PairedCounts:
    """Paired yes/no outcomes: how many pairs, and how many where only one side says yes."""

    pairs: int
    only_first: int
    only_second: int

    def __post_init__(self) -> None:
        """Check that the counts are possible."""
        low = min(self.only_first, self.only_second)
        if self.pairs < 1 or low < 0 or self.only_first + self.only_second > self.pairs:
            raise InputError(
                f"{self.only_first} + {self.only_second} discordant of {self.pairs} pairs",
                hint="Pairs must be at least 1 and no fewer than the discordant ones.",
            )

    @property
    def difference(self) -> float:
        """Share of the first minus share of the second."""
        return (self.only_first - self.only_second) / self.pairs


def paired_counts(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedCounts:
    """Count the discordant pairs of two equally long outcome vectors."""
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"outcomes of shapes {first.shape} and {second.shape} are not paired")
    return PairedCounts(len(first), int((first & ~second).sum()), int((second & ~first).sum()))


def tango_z(counts: PairedCounts, difference: float) -> float:
    """Return the score statistic of the hypothesis "the true difference is ``difference``".

    Source: T. Tango, Statistics in Medicine 17 (1998), 891-908.
    """
    n, b, c, d = counts.pairs, counts.only_first, counts.only_second, difference
    linear = -b - c + (2 * n - b + c) * d
    constant = -c * d * (1 - d)
    root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
    q = max(0.0, (root - linear) / (4 * n))  # share of "only second", maximum likelihood
    variance = n * (2 * q + d * (1 - d))
    excess = b - c - n * d
    if variance <= 0:
        return 0.0 if excess == 0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def tango_interval(counts: PairedCounts, confidence: float = 0.95) -> Interval:
    """Return the score interval of the paired difference of two proportions.

    Source: T. Tango, Statistics in Medicine 17 (1998), 891-908.
    """
    z = float(ndtri((1 + confidence) / 2))
    centre = counts.difference
    return _crossing(counts, z, -1.0, centre), _crossing(counts, -z, centre, 1.0)


def _crossing(counts: PairedCounts, level: float, low: float, high: float) -> float:
    """Find where the score statistic, which falls with the difference, crosses ``level``."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if tango_z(counts, middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@dataclass(frozen=True)
class Equivalence:
    """Result of two one-sided tests: interval at level 1 - 2 alpha, larger p-value, verdict."""

    difference: float
    interval: Interval
    p_value: float
    verdict: Verdict


def tost(counts: PairedCounts, margin: float, alpha: float = 0.05) -> Equivalence:
    """Judge whether two paired proportions are equal within ``margin``.

    Pass if the (1 - 2 alpha) score interval lies inside (-margin, margin), fail if it lies
    entirely outside, else inconclusive: the sample is too small for the claim.
    """
    if not (0 < margin < 1 and 0 < alpha < 0.5):
        raise InputError(f"margin {margin} must be in 0..1 and alpha {alpha} in 0..0.5")
    low, high = tango_interval(counts, 1 - 2 * alpha)
    verdict = Verdict.INCONCLUSIVE
    if -margin < low and high < margin:
        verdict = Verdict.PASS
    elif low >= margin or high <= -margin:
        verdict = Verdict.FAIL
    p_low = float(ndtr(-tango_z(counts, -margin)))
    p_high = float(ndtr(tango_z(counts, margin)))
    return Equivalence(counts.difference, (low, high), max(p_low, p_high), verdict)


def most_discordant(pairs: int, margin: float, alpha: float = 0.05, power: float = 0.9) -> float:
    """Return up to which share of discordant pairs :func:`tost` mostly passes.

    That is, with probability ``power`` where both sides are right equally often; exact, to a
    thousandth of the share. 0: not even where they never disagree.
    """
    z = float(ndtri(1 - alpha))
    most = min(pairs, math.ceil(2 * (pairs * margin / z) ** 2) + 3)
    discordant = np.arange(most + 1)
    # The largest difference that passes, by how many pairs are discordant; -1: none does. Another
    # discordant pair lets it grow by one at most.
    found_so_far = [_largest_passing(pairs, 0, math.floor(margin * pairs), margin, z)]
    for count in range(1, most + 1):
        top = min(math.floor(margin * pairs), found_so_far[-1] + 1)
        found_so_far.append(_largest_passing(pairs, count, top, margin, z))
    reach = np.array(found_so_far)
    halves = (discordant - reach + 1) // 2
    passes = np.where(reach < 0, 0.0, 1 - 2 * bdtr(halves - 1.0, discordant, 0.5))
    passes[halves <= 0] = np.where(reach[halves <= 0] < 0, 0.0, 1.0)

    def found(share: float) -> float:
        upto = bdtr(discordant.astype(float), pairs, share)
        return float((np.diff(upto, prepend=0.0) * passes).sum())

    low, high = 0.0, most / pairs
    if found(low) < power:
        return 0.0
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) >= power else (low, middle)
    return low


def _largest_passing(pairs: int, discordant: int, top: int, margin: float, z: float) -> int:
    """Return the largest difference of discordant pairs, up to ``top``, that shows equality."""
    top = min(discordant, top)
    for apart in range(top - (discordant - top) % 2, -1, -2):
        counts = PairedCounts(pairs, (discordant + apart) // 2, (discordant - apart) // 2)
        if tango_z(counts, margin) < -z and tango_z(counts, -margin) > z:
            return apart
    return -1


def mcnemar_exact(counts: PairedCounts) -> float:
    """Return the exact two-sided p-value of "both sides fail equally often"."""
    fewer, more = sorted((counts.only_first, counts.only_second))
    return min(1.0, 2 * float(bdtr(fewer, fewer + more, 0.5)))


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion."""
    _check_share(successes, total)
    z, share = float(ndtri((1 + confidence) / 2)), successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    wide = math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2) * z / (1 + z * z / total)
    return max(0.0, centre - wide), min(1.0, centre + wide)


def exact_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Return the Clopper-Pearson interval of a proportion: never too short."""
    _check_share(successes, total)
    tail, failures = (1 - confidence) / 2, total - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return low, high


def _check_share(successes: int, total: int) -> None:
    if not 0 <= successes <= total or total < 1:
        raise InputError(f"{successes} of {total} is not a share")


def bootstrap_weights(samples: int, resamples: int, seed: int) -> F64:
    """Return resampling weights (resamples, samples): how often each sample is drawn."""
    generator = np.random.default_rng(seed)
    share = np.full(samples, 1 / samples)
    return generator.multinomial(samples, share, size=resamples).astype(np.float64)


def ratio_of_sums(numerator: F64, denominator: F64, weights: F64) -> F64:
    """Return the paired bootstrap distribution of sum(numerator) / sum(denominator)."""
    both = weights @ np.stack([numerator, denominator], axis=1)
    ratio: F64 = np.full(len(both), np.inf)
    np.divide(both[:, 0], both[:, 1], out=ratio, where=both[:, 1] > 0)
    return ratio


def percentile_interval(values: F64, confidence: float = 0.95) -> Interval:
    """Return the central percentile interval of a bootstrap distribution."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def crossed_interval(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return an interval of a paired difference of shares over draws and samples: (D, N) outcomes.

    Draws (of a fault, by seed) and samples (images) are both resampled, so that it speaks of other
    draws and other samples. Where hardly a pair differs a bootstrap knows too little, and it is at
    least the score interval of a single draw with the mean number of discordant pairs, rounded up.

    Source: A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), 386-411.
    """
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise InputError(f"outcomes of shapes {first.shape} and {second.shape} are not paired")
    count, samples = first.shape
    difference = first.astype(np.float64) - second
    found = np.empty(resamples)
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        part = min(_RESAMPLES_AT_ONCE, resamples - start)
        drawn = bootstrap_weights(count, part, 2 * start)
        shown = bootstrap_weights(samples, part, 2 * start + 1)
        found[start : start + part] = (drawn * (shown @ difference.T)).sum(axis=1)
    low, high = percentile_interval(found / difference.size, confidence)
    only = [math.ceil((one & ~other).sum() / count) for one, other in _both_ways(first, second)]
    score = tango_interval(PairedCounts(max(samples, sum(only)), *only), confidence)
    return min(low, score[0]), max(high, score[1])


def _both_ways(first: Any, second: Any) -> list[tuple[Any, Any]]:
    return [(first, second), (second, first)]


def outside_p_value(estimate: float, spread: float, floor: float, ceiling: float) -> float:
    """Return the p-value of "the true value is within [floor, ceiling]" (normal estimate)."""
    excess = max(floor - estimate, estimate - ceiling)
    if spread <= 0:
        return 0.0 if excess > 0 else 1.0
    return float(ndtr(-excess / spread))


def spearman(first: F64, second: F64) -> float | None:
    """Return the rank correlation; None if one side is constant (it is then undefined)."""
    if not len(first) or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return spearman_resamples(first, second, np.ones((1, len(first)))).item()


def spearman_resamples(first: F64, second: F64, weights: F64) -> F64:
    """Return the paired bootstrap distribution of the rank correlation.

    Each resample is ranked anew, ties by their mean rank; one without any spread counts as 0.

    Args:
        first: values (N,).
        second: values (N,), paired with ``first``.
        weights: how often each pair is drawn, (resamples, N), rows adding up to N.
    """
    found = np.empty(len(weights))
    for start in range(0, len(weights), _RESAMPLES_AT_ONCE):
        part = slice(start, start + _RESAMPLES_AT_ONCE)
        drawn = weights[part]
        left, right = (_centred_ranks(values, drawn) for values in (first, second))
        products, powers = drawn * left, drawn * right
        spread = np.sqrt((products * left).sum(axis=1) * (powers * right).sum(axis=1))
        found[part] = np.divide(
            (products * right).sum(axis=1), spread, out=np.zeros(len(drawn)), where=spread > 0
        )
    return found


def _centred_ranks(values: F64, weights: F64) -> F64:
    """Return the ranks within each resample minus their mean, shape of ``weights``."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group)
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    drawn = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = drawn.cumsum(axis=1) - drawn / 2
    centred: F64 = ranks[:, group] - weights.shape[1] / 2
    return centred


def spearman_interval(rho: float, resamples: F64, samples: int, confidence: float) -> Interval:
    """Return an interval of a rank correlation: Fisher's transformation, bootstrap spread.

    A formula for the spread that knows only rho is far too narrow where most pairs agree and a
    few do not. Pairs so rare that the sample has none cannot be resampled either: a single one at
    a random place lowers rho by 1 / samples on average, so that much is taken off below.
    """
    return spread_interval(rho, fisher_spread(resamples), samples, confidence)


def spread_interval(rho: float, spread: float, samples: int, confidence: float) -> Interval:
    """Return the interval of :func:`spearman_interval` for a known spread of Fisher's transform."""
    wide = float(ndtri((1 + confidence) / 2)) * spread
    centre = float(fisher(rho))
    low = math.tanh(centre - wide) - 1 / samples
    return max(low, -1.0), math.tanh(centre + wide)


def fisher(rho: F64 | float) -> F64:
    """Return Fisher's transform of a correlation, finite also at -1 and 1."""
    z: F64 = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    return z


def fisher_spread(resamples: F64) -> float:
    """Return the standard error of Fisher's transform from bootstrap correlations."""
    return float(fisher(resamples).std())


def share_above(exceeding: int, total: int, share: float) -> float:
    """Return the exact p-value of "at most ``share`` of the population exceeds the limit"."""
    _check_share(exceeding, total)
    return float(bdtrc(exceeding - 1, total, share))


def share_below(exceeding: int, total: int, share: float) -> float:
    """Return the exact p-value of "at least ``share`` of the population exceeds the limit"."""
    _check_share(exceeding, total)
    return float(bdtr(exceeding, total, share))


def smallest_limit(values: F64, share: float, alpha: float) -> float | None:
    """Return the smallest limit that at most ``share`` of the population is shown to exceed.

    An exact upper confidence bound of a quantile; None if the sample is too small for any.
    """
    allowed = np.flatnonzero(bdtr(np.arange(len(values)), len(values), share) <= alpha)
    if not len(allowed):
        return None
    return float(np.sort(values)[len(values) - 1 - int(allowed[-1])])


def largest_exceeded(values: F64, share: float, alpha: float) -> float | None:
    """Return the largest value that more than ``share`` of the population is shown to reach.

    An exact lower confidence bound of a quantile; None if the sample is too small for any.
    """
    counts = np.arange(1, len(values) + 1)
    shown = counts[bdtrc(counts - 1, len(values), share) <= alpha]
    return float(np.sort(values)[len(values) - int(shown[0])]) if len(shown) else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: the family's error rate holds for any dependence."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted: list[Any] = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return [float(p) for p in adjusted]
