"""V5: perturbations act on the chip's membranes as on the trained network's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, allowed, extreme, length, most_images
from spikeproof.document.values import Figure, Json, Number, Record, Text
from spikeproof.reasons import Reason, rounded, worst_first
from spikeproof.verify.advice import Supply
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Outcome
from spikeproof.verify.config import MppdLimits, VerifyConfig
from spikeproof.verify.layer_match import LayerMatch, WouldPass, judge_matches, match_layers
from spikeproof.verify.response_advice import limit_advice, undecided_reason, weak_advice
from spikeproof.verify.responses import Responses
from spikeproof.verify.verdict import Verdict, combine


class AttackMatch(Record):
    """All layers under one perturbation."""

    name: Text
    layers: list[LayerMatch] = Field(default_factory=list)


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


def judge_perturbations(
    merged: Responses,
    kinds: dict[str, str],
    config: VerifyConfig,
    supply: Supply,
    unjudged: Sequence[str] = (),
) -> tuple[Response, list[Reason]]:
    """Judge all perturbations and layers; give a reason for every criterion that did not pass.

    ``kinds`` gives the kind of each perturbation by name; ``unjudged`` names those that are only
    measured.
    """
    found = {name: match_layers(merged[name].layers, config) for name in kinds}
    flat = [match for name in kinds for match in found[name]]
    verdicts_of = judge_matches(flat, config.alpha)
    judged = iter(verdicts_of)
    failed = {c for told in verdicts_of for c, v in told.items() if v is Verdict.FAIL}
    limits = limit_advice(flat, failed, config.mppd)
    names = (name for name in kinds for _ in found[name])
    lost = {n for n, told in zip(names, verdicts_of, strict=True) if Verdict.FAIL in told.values()}
    lead = weak_advice(flat, failed, {n: kinds[n] for n in kinds if n in lost}, config)
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
                    told = undecided_reason(
                        criterion, match.figures.samples, family, config.alpha, supply, kind
                    )
                    reasons.append(told.model_copy(update=where))
        attacks.append(AttackMatch(name=name, layers=layers))
    for name in unjudged:
        measured = [match.figures for match in match_layers(merged[name].layers, config)]
        attacks.append(AttackMatch(name=name, layers=measured))
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


def response_outcome(data: Response, reasons: list[Reason]) -> Outcome[Response]:
    """Judge the size of the perturbation of each membrane, before and after."""
    rows = [x for a in data.attacks for x in a.layers if x.criteria]
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
    reach = max((p.strength for p in m.worst), default=0)
    strongest = [p for p in m.worst if p.strength == reach]
    # With fewer images no test can show that 99 % of them stay within a limit.
    least = math.ceil(math.log(m.config.alpha) / math.log(0.99))
    enough = [p for p in strongest if found.responses[p.name].compared >= least]
    kinds = {p.name: p.kind for p in [*m.planned, *enough]}
    few = [p.name for p in strongest if p not in enough]
    return response_outcome(
        *judge_perturbations(found.responses, kinds, m.config, found.supply, few)
    )


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
