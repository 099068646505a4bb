"""Compare how one layer of both networks reacts to a perturbation (check V5).

Per perturbation and layer there are four criteria: the median and the 99 % quantile of the
relative difference per sample, the rank correlation, and the ratio of the summed energies. All four
compare how large a perturbation is; whether it points the same way is reported beside them, as
the median cosine of the two perturbations, and not judged.
A criterion passes if a one-sided test at level alpha establishes it, fails if a test
establishes its opposite after Holm's correction over all criteria of the check, and is
inconclusive otherwise. All must pass, so passing needs no correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.document.values import Figure, Number, Pair, Record, Text
from spikeproof.reasons import Reason
from spikeproof.verify import statistics as st
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.responses import LayerResponse
from spikeproof.verify.verdict import Verdict, judge_interval

F64 = NDArray[np.float64]
SCATTER = 200
MIN_RANKED = 100
"""A rank correlation of fewer samples is not judged."""
_SILENT = (
    "The perturbation does not reach this layer of the trained network. Try stronger ones "
    "(verify --set perturbations.gaussian='[32]'); if none arrives, the layer plays no part."
)
_ALIKE = (
    "All images are affected alike, or so few that there is nothing to compare. Give images that "
    "differ more (verify --data), or a stronger perturbation (verify --set "
    "perturbations.gaussian='[32]')."
)


class Cloud(Record):
    """Paired values of the trained and the chip network."""

    trained: list[Number] = Field(validation_alias="float", serialization_alias="float")
    chip: list[Number]


class WouldPass(Record):
    """The strictest limits under which a layer passes; None: no limit would do."""

    median_difference: Number
    p99_difference: Number
    spearman: Number


class LayerMatch(Record):
    """The perturbation of one layer's membrane, before and after conversion."""

    name: Text
    samples: int
    median_rel_diff: Figure
    p99_rel_diff: Figure
    spearman: Number
    direction: Number
    """Median cosine of the two perturbations."""
    ratio: Number
    """Energy, chip over trained."""
    ratio_ci: Pair
    would_pass: WouldPass | None
    scatter: Cloud
    """Sizes of the perturbation, image by image."""
    energy: Cloud
    """Per timestep."""
    criteria: dict[str, Verdict] = Field(default_factory=dict)
    verdict: Verdict


@dataclass(frozen=True)
class Criterion:
    """One judged figure: whether it is established, and the p-value of "it holds".

    measured: value, limit and interval in the form of a reason; its verdict is not known yet.
    at: whether it were established, and the p-value, if so many images were like those used; None
    where that cannot be told.
    setting: the field of ``[mppd]`` with its limit.
    exceeded: what the value is shown to reach, in its unit, where the interval has no lower end:
    the side that proves a failure.
    """

    name: str
    established: bool
    p_holds: float
    measured: Reason
    at: Callable[[int], tuple[bool, float]] | None = None
    setting: str = ""
    exceeded: float | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """One layer under one perturbation: what was measured, and the criteria; not judged yet."""

    figures: LayerMatch
    criteria: list[Criterion]


@dataclass(frozen=True)
class Ranks:
    """Rank correlation, its interval and spread; None: undefined, or of too few samples."""

    rho: float | None
    interval: st.Interval | None
    spread: float


def match_layers(layers: dict[str, LayerResponse], config: VerifyConfig) -> list[Comparison]:
    """Compare the energies of all layers, as :func:`responses.measure_batch` gives them.

    All layers share their resamples: they saw the same images.
    """
    samples = max((len(data.direction) for data in layers.values()), default=0)
    if not samples:
        return []
    weights = st.bootstrap_weights(samples, config.mppd.resamples, config.seed)
    return [_match_layer(name, data, weights, config) for name, data in layers.items()]


def _match_layer(name: str, data: LayerResponse, weights: F64, config: VerifyConfig) -> Comparison:
    in_float, in_chip = (np.asarray(d.sample, np.float64) for d in (data.trained, data.chip))
    samples, limits = len(in_float), config.mppd
    relative = relative_difference(np.sqrt(in_float), np.sqrt(in_chip))
    ratios = st.ratio_of_sums(in_chip, in_float, weights)
    interval = st.percentile_interval(ratios, 1 - 2 * config.alpha)
    total = float(in_float.sum())
    ranks = _rank_correlation(in_float, in_chip, weights, config.alpha)
    ratio = float(in_chip.sum()) / total if total > 0 else None
    figures = LayerMatch(
        name=name,
        samples=samples,
        median_rel_diff=_median(relative),
        p99_rel_diff=_quantile(relative, 0.99),
        spearman=ranks.rho,
        direction=_median_direction(data.direction),
        ratio=ratio,
        ratio_ci=interval,
        would_pass=WouldPass(
            median_difference=st.smallest_limit(relative, 0.5, config.alpha),
            p99_difference=st.smallest_limit(relative, 0.01, config.alpha),
            spearman=None if ranks.interval is None else ranks.interval[0],
        ),
        scatter=_scatter(in_float, in_chip),
        energy=Cloud(
            trained=[e / samples for e in data.trained.step],
            chip=[e / samples for e in data.chip.step],
        ),
        verdict=Verdict.INFO,
    )
    if total == 0:  # nothing arrived in the trained network: nothing to compare with
        return Comparison(figures, [_silent(samples)])
    criteria = [
        _quantile_criterion("median", relative, limits.median_difference, 0.5, config.alpha),
        _quantile_criterion("p99", relative, limits.p99_difference, 0.01, config.alpha),
        _rank_criterion(ranks, limits.spearman, samples, config.alpha),
        _ratio_criterion(ratios, interval, ratio, samples, config),
    ]
    return Comparison(figures, criteria)


def relative_difference(reference: F64, found: F64) -> F64:
    """Return |found - reference| / reference; 0 where both are 0, 1 where only one is."""
    result = np.ones_like(reference)
    np.divide(np.abs(found - reference), reference, out=result, where=reference > 0)
    result[(reference == 0) & (found == 0)] = 0.0
    return result


def _median(values: F64) -> float:
    """Return the median; the same figure stands in tables and in reasons."""
    return float(np.median(values))


def _quantile(values: F64, share: float) -> float:
    return float(np.quantile(values, share, method="higher"))


def _silent(samples: int) -> Criterion:
    told = Reason(
        verdict="inconclusive",
        criterion="energy of the perturbation in the trained network",
        value=0,
        relation="more than",
        limit=0,
        images=samples,
        try_=_SILENT,
    )
    return Criterion("energy", False, 1.0, told)


def _quantile_criterion(
    name: str, relative: F64, limit: float, share: float, alpha: float
) -> Criterion:
    """Test exactly whether at most ``share`` of all samples differ by more than ``limit``."""
    above, samples = int((relative > limit).sum()), len(relative)

    def at(images: int) -> tuple[bool, float]:
        count = above if images == samples else math.ceil(above * images / samples)
        established = st.share_below(count, images, share) <= alpha
        return established, st.share_above(count, images, share)

    found = _median(relative) if share == 0.5 else _quantile(relative, 1 - share)
    bound = st.smallest_limit(relative, share, alpha)
    what = "median" if share == 0.5 else f"{100 * (1 - share):g}th percentile"
    told = Reason(
        verdict="inconclusive",
        criterion=f"{what} of the relative difference",
        value=100 * found,
        limit=100 * limit,
        unit="%",
        interval=None if bound is None else (None, 100 * bound),
        images=samples,
    )
    least = st.largest_exceeded(relative, share, alpha)
    exceeded = None if least is None else 100 * least
    return Criterion(name, *at(samples), told, at, f"{name}_difference", exceeded)


def _rank_correlation(in_float: F64, in_chip: F64, weights: F64, alpha: float) -> Ranks:
    rho, samples = st.spearman(in_float, in_chip), len(in_float)
    if rho is None or samples < MIN_RANKED:
        return Ranks(rho, None, 0.0)
    resamples = st.spearman_resamples(in_float, in_chip, weights)
    interval = st.spearman_interval(rho, resamples, samples, 1 - 2 * alpha)
    return Ranks(rho, interval, st.fisher_spread(resamples))


def _rank_criterion(ranks: Ranks, limit: float, samples: int, alpha: float) -> Criterion:
    told = Reason(
        verdict="inconclusive",
        criterion="rank correlation over the images",
        value=ranks.rho,
        relation="at least",
        limit=limit,
        interval=ranks.interval,
        images=samples,
    )
    if ranks.rho is None or ranks.interval is None:
        few = samples < MIN_RANKED
        why = {"images_needed": MIN_RANKED} if few else {"try_": _ALIKE}
        return Criterion("spearman", False, 1.0, told.model_copy(update=why))
    rho = ranks.rho

    def at(images: int) -> tuple[bool, float]:
        spread = ranks.spread * math.sqrt(samples / images)
        low, high = st.spread_interval(rho, spread, images, 1 - 2 * alpha)
        z, least = float(st.fisher(rho)), float(st.fisher(limit))
        established = judge_interval(low, high, limit, 1.0) is Verdict.PASS
        return established, st.outside_p_value(z, spread, least, math.inf)

    return Criterion("spearman", *at(samples), told, at, "spearman")


def _ratio_criterion(
    ratios: F64, interval: st.Interval, ratio: float | None, samples: int, config: VerifyConfig
) -> Criterion:
    floor, ceiling = config.mppd.ratio
    told = Reason(
        verdict="inconclusive",
        criterion="energy of the perturbation, chip / trained",
        value=ratio,
        relation="within",
        limit=(floor, ceiling),
        interval=interval,
        images=samples,
    )
    established = judge_interval(*interval, floor, ceiling) is Verdict.PASS
    usable = ratios[np.isfinite(ratios) & (ratios > 0)]
    if len(usable) < 2:
        told = told.model_copy(update={"try_": _ALIKE})
        return Criterion("ratio", False, 1.0 if len(usable) else 0.0, told, setting="ratio")
    logs = np.log(usable)
    centre, spread = float(np.median(logs)), float(logs.std())
    # An end at 0: so few images react that a draw of them may hold none that do.
    ends = [math.log(end) if end > 0 else -math.inf for end in interval]

    def at(images: int) -> tuple[bool, float]:
        narrower = math.sqrt(samples / images)
        low, high = (math.exp(centre + (end - centre) * narrower) for end in ends)
        p_holds = st.outside_p_value(centre, spread * narrower, math.log(floor), math.log(ceiling))
        return judge_interval(low, high, floor, ceiling) is Verdict.PASS, p_holds

    p_holds = st.outside_p_value(centre, spread, math.log(floor), math.log(ceiling))
    return Criterion("ratio", established, p_holds, told, at, "ratio")


def judge_matches(matches: list[Comparison], alpha: float) -> list[dict[str, Verdict]]:
    """Return the verdicts of each match by criterion, with Holm's correction over all of all."""
    adjusted = iter(st.holm([c.p_holds for m in matches for c in m.criteria]))
    return [
        {c.name: criterion_verdict(c.established, next(adjusted), alpha) for c in match.criteria}
        for match in matches
    ]


def criterion_verdict(established: bool, adjusted: float, alpha: float) -> Verdict:
    """Judge one criterion; ``adjusted``: the p-value of "it holds" after Holm's correction."""
    if established:
        return Verdict.PASS
    return Verdict.FAIL if adjusted <= alpha else Verdict.INCONCLUSIVE


def _median_direction(cosines: list[float | None]) -> float | None:
    """Return the median cosine of the samples whose perturbation reaches both networks."""
    known = [c for c in cosines if c is not None]
    return float(np.median(known)) if known else None


def _scatter(in_float: F64, in_chip: F64) -> Cloud:
    """Root mean square of the perturbation per sample, in units of the threshold."""
    return Cloud(
        trained=np.sqrt(in_float[:SCATTER]).round(6).tolist(),
        chip=np.sqrt(in_chip[:SCATTER]).round(6).tolist(),
    )
