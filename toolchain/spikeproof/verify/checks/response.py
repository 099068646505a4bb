"""V5: perturbations act on the chip's membranes as on the trained network's.

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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, allowed, extreme, length, most_images
from spikeproof.document.values import Figure, Json, Number, Pair, Record, Text, message_of
from spikeproof.reasons import Reason, rounded, worst_first
from spikeproof.verify import statistics as st
from spikeproof.verify.advice import (
    Needed,
    Supply,
    image_request,
    images_needed,
    more_images,
)
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Outcome
from spikeproof.verify.config import MppdLimits, VerifyConfig
from spikeproof.verify.responses import LayerResponse, Responses
from spikeproof.verify.verdict import Verdict, combine, judge_interval

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
_STRONGEST = 255


class Cloud(Record):
    """Paired values of the trained and the chip network."""

    trained: list[Number] = Field(validation_alias="float", serialization_alias="float")
    chip: list[Number]


class WouldPass(Record):
    """The strictest limits under which a layer passes; None: no limit would do."""

    median_difference: Number
    p99_difference: Number
    spearman: Number


class MatchLayer(Record):
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


class AttackMatch(Record):
    """All layers under one perturbation."""

    name: Text
    layers: list[MatchLayer] = Field(default_factory=list)


class Response(Record):
    """All perturbations, and the limits each layer is judged by."""

    attacks: list[AttackMatch] = Field(default_factory=list)
    limits: MppdLimits | None = None


class ResponseFigures(Record):
    """Comparisons (a perturbation in a layer), those within all limits, and the farthest off.

    Ratios of energies, shares of the median difference, cosines; None where no comparison has one.
    """

    largest_median_difference: Figure
    largest_ratio: Number
    pairs: int
    passed: int
    smallest_median_cosine: Number
    smallest_ratio: Number
    would_pass_median_difference: Number
    would_pass_p99_difference: Number
    would_pass_spearman: Number


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
class LayerMatch:
    """Figures and criteria of one layer under one perturbation; not judged yet."""

    figures: MatchLayer
    criteria: list[Criterion]


@dataclass(frozen=True)
class Ranks:
    """Rank correlation, its interval and spread; None: undefined, or of too few samples."""

    rho: float | None
    interval: st.Interval | None
    spread: float


def match_layers(layers: dict[str, LayerResponse], config: VerifyConfig) -> list[LayerMatch]:
    """Compare the energies of all layers, as :func:`responses.measure_batch` gives them.

    All layers share their resamples: they saw the same images.
    """
    samples = max((len(data.direction) for data in layers.values()), default=0)
    if not samples:
        return []
    weights = st.bootstrap_weights(samples, config.mppd.resamples, config.seed)
    return [_match_layer(name, data, weights, config) for name, data in layers.items()]


def _match_layer(name: str, data: LayerResponse, weights: F64, config: VerifyConfig) -> LayerMatch:
    in_float, in_chip = (np.asarray(d.sample, np.float64) for d in (data.trained, data.chip))
    samples, limits = len(in_float), config.mppd
    relative = relative_difference(np.sqrt(in_float), np.sqrt(in_chip))
    ratios = st.ratio_of_sums(in_chip, in_float, weights)
    interval = st.percentile_interval(ratios, 1 - 2 * config.alpha)
    total = float(in_float.sum())
    ranks = _rank_correlation(in_float, in_chip, weights, config.alpha)
    ratio = float(in_chip.sum()) / total if total > 0 else None
    figures = MatchLayer(
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
        return LayerMatch(figures, [_silent(samples)])
    criteria = [
        _quantile_criterion("median", relative, limits.median_difference, 0.5, config.alpha),
        _quantile_criterion("p99", relative, limits.p99_difference, 0.01, config.alpha),
        _rank_criterion(ranks, limits.spearman, samples, config.alpha),
        _ratio_criterion(ratios, interval, ratio, samples, config),
    ]
    return LayerMatch(figures, criteria)


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


def judge_matches(matches: list[LayerMatch], alpha: float) -> list[dict[str, Verdict]]:
    """Return the verdicts of each match by criterion, with Holm's correction over all of all."""
    adjusted = iter(st.holm([c.p_holds for m in matches for c in m.criteria]))
    return [
        {c.name: _verdict(c.established, next(adjusted), alpha) for c in match.criteria}
        for match in matches
    ]


def _verdict(established: bool, adjusted: float, alpha: float) -> Verdict:
    if established:
        return Verdict.PASS
    return Verdict.FAIL if adjusted <= alpha else Verdict.INCONCLUSIVE


def judge_perturbations(
    merged: Responses, kinds: dict[str, str], config: VerifyConfig, supply: Supply
) -> tuple[Response, list[Reason]]:
    """Judge all perturbations and layers; give a reason for every criterion that did not pass.

    ``kinds`` gives the kind of each perturbation by name.
    """
    found = {name: match_layers(merged[name].layers, config) for name in kinds}
    flat = [match for name in kinds for match in found[name]]
    verdicts_of = judge_matches(flat, config.alpha)
    judged = iter(verdicts_of)
    failed = {c for told in verdicts_of for c, v in told.items() if v is Verdict.FAIL}
    limits = limit_advice(flat, failed, config.mppd)
    names = (name for name in kinds for _ in found[name])
    lost = {n for n, told in zip(names, verdicts_of, strict=True) if Verdict.FAIL in told.values()}
    lead = _weak_advice(flat, failed, {n: kinds[n] for n in kinds if n in lost}, config)
    family = sum(len(match.criteria) for match in flat)
    reasons = [] if flat else [_nothing_compared()]
    attacks = []
    for name, kind in kinds.items():
        layers = []
        for match in found[name]:
            verdicts = next(judged)
            layers.append(
                match.figures.model_copy(
                    update={"criteria": verdicts, "verdict": combine(verdicts.values())}
                )
            )
            where = {"layer": match.figures.name, "perturbation": name}
            for criterion in match.criteria:
                verdict = verdicts[criterion.name]
                if verdict is Verdict.FAIL:
                    advice = supply.useless or f"{lead}{supply.conversion}. {limits}"
                    missed: Json = {"verdict": "fail", "try_": advice, **where}
                    if criterion.exceeded is not None:
                        missed["interval"] = (criterion.exceeded, None)
                    reasons.append(criterion.measured.model_copy(update=missed))
                elif verdict is Verdict.INCONCLUSIVE:
                    needed = _needed(criterion, match.figures.samples, family, config.alpha)
                    told = _undecided(criterion, needed, supply, kind)
                    reasons.append(told.model_copy(update=where))
        attacks.append(AttackMatch(name=name, layers=layers))
    return Response(attacks=attacks, limits=config.mppd), reasons


def _nothing_compared() -> Reason:
    return Reason(
        verdict="inconclusive",
        criterion="perturbations compared in a spiking layer",
        value=0,
        relation="at least",
        limit=1,
        try_="Give at least one strength, for example verify --set perturbations.gaussian='[8]'; "
        "a network without spiking layers cannot be compared.",
    )


def limit_advice(matches: list[LayerMatch], failed: set[str], limits: MppdLimits) -> str:
    """Name the limits under which what failed would pass, or the one that no setting can reach.

    failed: names of criteria. Every layer and perturbation is judged by the same limits, so that
    each must reach the worst of them.
    """
    changes = {
        c.setting: _reaching(
            [d for m in matches for d in m.criteria if d.name == c.name], c.setting, limits
        )
        for m in matches
        for c in m.criteria
        if c.name in failed
    }
    for setting, value in changes.items():
        try:
            MppdLimits.model_validate({**limits.model_dump(), setting: value})
        except ValidationError as error:
            rule = message_of(error.errors()[0]).replace("Input should be", "it must be")
            return (
                f"No other limit helps: mppd.{setting} would have to be {_written(value)}, and "
                f"{rule}."
            )
    told = " ".join(f"--set mppd.{key}={_written(value)}" for key, value in changes.items())
    return f"Or, if your use allows that much, with other limits: verify {told}." if told else ""


def _reaching(criteria: list[Criterion], setting: str, limits: MppdLimits) -> Any:
    """Return the strictest limit, rounded to the lenient side, that all of one kind reach."""
    told = [c.measured for c in criteria]
    if setting == "ratio":
        ends = [r.interval or (r.value, r.value) for r in told]
        lows = [low for low, _ in ends if low is not None]
        highs = [high for _, high in ends if high is not None]
        return (
            min([_down(x) for x in lows] + [limits.ratio[0]]),
            max([_up(x) for x in highs] + [limits.ratio[1]]),
        )
    if setting == "spearman":
        found = [r.interval[0] if r.interval else r.value for r in told]
        return min([_down(x) for x in found if x is not None] + [limits.spearman])
    shown = [r.interval[1] if r.interval else r.value for r in told]
    allowed = float(getattr(limits, setting))
    return max([_up(x / 100) for x in shown if x is not None] + [allowed])


def _up(value: float) -> float:
    """Round up to three decimals; one more than needed, as the value itself must be within."""
    return (math.floor(value * 1000) + 1) / 1000


def _down(value: float) -> float:
    return (math.ceil(value * 1000) - 1) / 1000


def _written(value: Any) -> str:
    """Write a limit as it is given on the command line."""
    return f"'[{value[0]:g}, {value[1]:g}]'" if isinstance(value, tuple) else f"{value:g}"


def _weak_advice(
    matches: list[LayerMatch], failed: set[str], lost: dict[str, str], config: VerifyConfig
) -> str:
    """Say that a perturbation hardly arrives, where only a few images differ much.

    lost: perturbations that failed in some layer, each with its kind. Half of the images being
    within the limit tells it from weights that are too coarse, which miss it at every strength.
    """
    most = max((m.figures.median_rel_diff for m in matches), default=0.0)
    if "p99" not in failed or "ratio" in failed or most >= config.mppd.median_difference:
        return ""
    kind = next(iter(lost.values()))
    strengths = sorted(getattr(config.perturbations, kind))
    ends = tuple(name.rpartition(" ")[2] for name in lost if lost[name] == kind)
    weak = [s for s in strengths if f"{s:g}/{_STRONGEST}" in ends] or strengths[-1:]
    stronger = [s for s in strengths if s > weak[-1]]
    if not stronger:
        stronger = [s for s in (2 * weak[-1], 4 * weak[-1]) if s <= _STRONGEST]
    told = (
        "Half of the images differ by less than the limit, so the perturbation may "
        "hardly reach a layer: a few spikes more or less are then a large share of it. "
    )
    if not stronger:
        return f"{told}Train longer. Else: "
    listed = ", ".join(f"{s:g}" for s in stronger)
    judge = f"verify --set perturbations.{kind}='[{listed}]'"
    return f"{told}Judge with stronger ones only ({judge}) or train longer. Else: "


def _undecided(criterion: Criterion, needed: Needed | None, supply: Supply, kind: str) -> Reason:
    told: Json = {"try_": supply.useless} if supply.useless else {}
    if not criterion.measured.try_ and not supply.useless:
        told.update(
            try_=more_images(needed, supply, kind), request=image_request(needed, supply, kind)
        )
    if needed is not None:
        told.update(images_needed=needed.images, would=needed.would)
    return criterion.measured.model_copy(update=told)


def _needed(criterion: Criterion, used: int, family: int, alpha: float) -> Needed | None:
    """Return how many images would decide a criterion among ``family`` others."""
    if criterion.at is None:
        fixed = criterion.measured.images_needed
        return None if fixed is None else Needed(fixed, None)
    show = criterion.at

    def at(images: int) -> Verdict:
        established, p_holds = show(images)
        return _verdict(established, min(1.0, p_holds * family), alpha)

    return images_needed(at, used)


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


def response_outcome(data: Response, reasons: list[Reason]) -> Outcome[Response]:
    """Judge the size of the perturbation of each membrane, before and after."""
    rows = [x for a in data.attacks for x in a.layers]
    passed = sum(x.verdict is Verdict.PASS for x in rows)
    ratios = [x.ratio for x in rows if x.ratio is not None]
    spread = f" (energy ratios {min(ratios):.3f} to {max(ratios):.3f})" if ratios else ""
    worst = max((x.median_rel_diff for x in rows), default=0.0)
    cosines = [x.direction for x in rows if x.direction is not None]
    turned = f"; the median cosine is {_at_least(min(cosines))}" if cosines else ""
    strictest = _strictest([x.would_pass for x in rows if x.would_pass is not None])
    figures = ResponseFigures(
        pairs=len(rows),
        passed=passed,
        largest_median_difference=worst,
        smallest_ratio=min(ratios, default=None),
        largest_ratio=max(ratios, default=None),
        smallest_median_cosine=min(cosines, default=None),
        would_pass_median_difference=strictest.median_difference,
        would_pass_p99_difference=strictest.p99_difference,
        would_pass_spearman=strictest.spearman,
    )
    return Outcome(
        combine(x.verdict for x in rows),
        f"{passed} of {len(rows)} comparisons (each perturbation in each layer) are shown to "
        f"meet all limits{spread}; the largest median difference is {rounded(100 * worst)} %"
        f"{turned}." + _worst_match(reasons),
        figures,
        data,
        reasons,
    )


def _at_least(cosine: float) -> str:
    """Say a lower bound of a cosine with three digits, rounded down."""
    below = math.floor(1000 * cosine) / 1000
    return "1" if below >= 1 else f"{below:.3f} or more"


def _worst_match(reasons: list[Reason]) -> str:
    if not reasons:
        return ""
    worst = worst_first(reasons)[0]
    lead = "Farthest from its limit" if worst.verdict == "fail" else "Hardest to decide"
    return f" {lead}: {worst.brief}."


def _strictest(rows: list[WouldPass]) -> WouldPass:
    """Return the strictest limits under which every layer passes; None: no limit would do."""
    found: dict[str, float | None] = {}
    for key, worst in (("median_difference", max), ("p99_difference", max), ("spearman", min)):
        values = [getattr(row, key) for row in rows]
        known = bool(values) and None not in values
        found[key] = worst(values) if known else None
    return WouldPass.model_validate(found)


def _judge(found: Findings) -> Outcome[Response]:
    m = found.material
    kinds = {p.name: p.kind for p in m.planned}
    return response_outcome(*judge_perturbations(found.responses, kinds, m.config, found.supply))


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: Response, silent: set[str]) -> list[Fact]:
    path, attacks = f"{check.id}.data.attacks", result.attacks
    first = attacks[0].layers if attacks else []
    return [
        *length(attacks, "perturbations", path),
        *length(first, "layers", f"{path}.0.layers"),
        *most_images([e.samples for e in first], f"{path}.0.layers.{{}}.samples"),
    ]


def _headline(check: Check, result: Response) -> Fact | None:
    if (worst := _worst_reason(check)) is not None:
        return worst
    spots = [(i, j) for i, a in enumerate(result.attacks) for j, _ in enumerate(a.layers)]
    found = extreme(
        (result.attacks[i].layers[j].median_rel_diff, k) for k, (i, j) in enumerate(spots)
    )
    if found is None:
        return None
    i, j = spots[found]
    layer = result.attacks[i].layers[j]
    limit = None if result.limits is None else result.limits.median_difference
    return Fact(
        n.percent(layer.median_rel_diff, 2),
        f"largest median difference in MPPD ({layer.name}, {result.attacks[i].name})"
        + allowed(limit, "", "%"),
        f"{check.id}.data.attacks.{i}.layers.{j}.median_rel_diff",
        "%",
    )


def _worst_reason(check: Check) -> Fact | None:
    """Return the worst reason of a check that did not pass: no good figure may hide it."""
    reason = check.reasons[0] if check.reasons else None
    if reason is None or reason.value is None:
        return None
    source = f"{check.id}.reasons.0"
    label = f"{reason.criterion} ({reason.where}), limit {reason.allowed}"
    if reason.verdict == "fail":
        value, _, unit = reason.measured.partition(" ")
        return Fact(value, label, f"{source}.value", unit)
    # A value that meets its limit would read as a pass: say what is shown.
    low, high = reason.interval or (None, None)
    if (low is None) != (high is None):
        end = reason.shown.removeprefix("at most ").removeprefix("at least ")
        value, _, unit = end.partition(" ")
        lead = "shown so far, at most" if low is None else "shown so far, at least"
        return Fact(value, f"{lead}: {label}", f"{source}.interval.{int(low is None)}", unit)
    told = f"; shown so far {reason.shown}" if reason.shown else ""
    told += f"; {reason.evidence}" if reason.evidence else ""
    value, _, unit = reason.measured.partition(" ")
    return Fact(value, f"not decided: {label}{told}", f"{source}.value", unit)


CHECK = CheckKind(
    id="V5",
    title="Membranes react to perturbations as strongly as before",
    kind="tested",
    result=Response,
    judge=_judge,
    section="membrane",
    figures=ResponseFigures,
    shares=("images", "responses"),
    facts=_facts,
    headline=_headline,
    lead=3,
    clause=lambda check, result: "the membranes react to perturbations as strongly as before",
)
