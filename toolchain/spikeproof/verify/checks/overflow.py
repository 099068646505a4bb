"""V9: no input can overflow the chip's numbers; the certificate stands up to other code."""

from __future__ import annotations

import math
from functools import partial

from pydantic import Field

from spikeproof.certify.ranges import certify_ranges
from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Table, length, lines
from spikeproof.document.values import Count, Number, Record
from spikeproof.reasons import Reason
from spikeproof.verify.certificate import RangeLayer, judge_certificate
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Job, Outcome
from spikeproof.verify.material import Material
from spikeproof.verify.verdict import Verdict


class Ranges(Record):
    """The bounds of all layers."""

    layers: list[RangeLayer] = Field(default_factory=list)


class RangeFigures(Record):
    """Layers, the least headroom of a register over all of them, runs that tried to reach it."""

    extremal_inputs: Count
    """Not known of reports of version 0.1."""
    layers: int
    least_headroom_bits: Number


# --- measure -------------------------------------------------------------------------------------


def _measure(material: Material) -> Ranges:
    stages = material.stages
    rail = stages.options.lower_rail
    certify = partial(certify_ranges, lower_rail=rail)
    return Ranges(layers=judge_certificate(stages.chip, stages.claims, certify, rail))


RANGES = Job("ranges", _measure, Ranges, lambda material: 250 + 44 * material.effort)


# --- judge ---------------------------------------------------------------------------------------


def ranges_outcome(layers: list[RangeLayer]) -> Outcome[Ranges]:
    """Judge the certificates of all layers."""
    unsound = [x for x in layers if x.unsound]
    overclaimed = [x for x in layers if x.overclaimed]
    overflows = [x for x in layers if x.overflows]
    wrong = unsound or overclaimed or overflows
    silent = [x for x in layers if x.unclaimed]
    verdict = Verdict.PASS if layers and not wrong else Verdict.FAIL
    if verdict is Verdict.PASS and silent:
        verdict = Verdict.INCONCLUSIVE
    tightest = min(layers, key=lambda x: x.found_headroom)
    bits = tightest.found_headroom
    proved = "No input can" if not overflows else "Some input might"
    summary = (
        f"{proved} leave the chip's ranges. The worst possible input would fill {_filled(bits)} "
        f"of the registers of {tightest.name}, the fullest layer."
    )
    saturating = ", ".join(x.name for x in layers if x.saturates)
    if saturating:
        summary = (
            f"{proved} make u wrap or lift v beyond the upper end of its range, of which the "
            f"fullest layer, {tightest.name}, would use {_filled(bits)}. v of {saturating} may "
            "stay at the lower end for some input, as the conversion's options allow and as on the "
            "chip, in every engine."
        )
    if unsound:
        summary = (
            f"The certificate of {', '.join(x.name for x in unsound)} does not hold: "
            f"{unsound[0].unsound[0]}."
        )
    elif overclaimed:
        summary += (
            f" But what the bundle's record says of {', '.join(x.name for x in overclaimed)} "
            "is wrong."
        )
    elif silent:
        summary += (
            f" But the bundle's record lacks figures of {', '.join(x.name for x in silent)}, so it "
            "cannot be judged."
        )
    runs = sum(x.reached.inputs for x in layers if x.reached is not None)
    judged = [
        x.model_copy(update={"ok": x not in unsound + overclaimed + overflows}) for x in layers
    ]
    return Outcome(
        verdict,
        summary,
        RangeFigures(layers=len(layers), least_headroom_bits=bits, extremal_inputs=runs),
        Ranges(layers=judged),
        [
            *(_overflow(x) for x in overflows),
            *(_unsound_reason(x, text) for x in unsound for text in x.unsound),
            *(_overclaimed_reason(x, text) for x in overclaimed for text in x.overclaimed),
            *(_unclaimed_reason(x) for x in silent),
        ],
    )


def _unsound_reason(layer: RangeLayer, finding: str) -> Reason:
    return Reason(
        verdict="fail",
        layer=layer.name,
        neuron=tuple(layer.neuron or ()),
        criterion=f"the range certificate does not hold: {finding}",
        try_="The analysis behind the certificate is wrong, which is a defect: please report it "
        "with the bundle.",
    )


def _overclaimed_reason(layer: RangeLayer, finding: str) -> Reason:
    return Reason(
        verdict="fail",
        layer=layer.name,
        criterion=f"wrong figure in the bundle's record (not an overflow): {finding}",
        try_="The record was changed, or written by another version: convert the checkpoint again. "
        "If that fails too, it is a defect of the conversion.",
    )


def _unclaimed_reason(layer: RangeLayer) -> Reason:
    return Reason(
        verdict="inconclusive",
        layer=layer.name,
        criterion="figures that the bundle's record lacks, so that they cannot be judged: "
        + ", ".join(layer.unclaimed),
        try_="The record was changed, or written by another version: convert the checkpoint again.",
    )


def _overflow(layer: RangeLayer) -> Reason:
    return Reason(
        verdict="fail",
        criterion="worst-case headroom over all inputs",
        layer=layer.name,
        value=min(layer.found_headroom, _or_infinite(layer.headroom_bits)),
        relation="at least",
        limit=0,
        unit="bits",
        try_="Convert the checkpoint again: `spikeproof convert` chooses scales that cannot "
        "overflow. With a scale of your own (convert --scale), give a smaller one for this layer.",
    )


def _filled(headroom_bits: float) -> str:
    """Return how much of its range a register uses; rounded down, so that full is not claimed."""
    share = 100 * 2.0**-headroom_bits
    return "more than 100 %" if share > 100 else f"{math.floor(100 * share) / 100:g} %"


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def _judge(found: Findings) -> Outcome[Ranges]:
    return ranges_outcome(found.of(RANGES).layers)


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: Ranges, silent: set[str]) -> list[Fact]:
    path = f"{check.id}.data.layers"
    safe = n.integer(sum(e.ok is True for e in result.layers))
    counted = length(result.layers, "layers", path)
    return counted + [Fact(safe, "cannot overflow", f"count {path}.*.ok=True")] * bool(counted)


def _headline(check: Check, result: Ranges) -> Fact | None:
    layers = result.layers
    if not any(e.ok is not None for e in layers):
        return None
    return Fact(
        n.integer(sum(e.ok is True for e in layers)),
        "can never overflow the chip’s registers, whatever the input",
        f"count {check.id}.data.layers.*.ok=True",
        f"of {n.integer(len(layers))} layers",
    )


def _tables(result: Ranges) -> dict[str, Table]:
    head = (
        Head("layer", "name"),
        Head("largest sum"),
        Head("largest |u|"),
        Head("lowest v"),
        Head("highest v"),
        Head("range used", unit="%, limit 100"),
        Head("cannot overflow", "text"),
    )
    words = {True: "proved", False: "not proved", None: n.MISSING}
    proved = [
        (
            e.name,
            n.integer(e.sum_bound),
            n.integer(e.u_bound),
            n.integer(e.v_low),
            n.integer(e.v_high),
            used_share(e.headroom_bits),
            words[e.ok] + ("; v may saturate below" if e.saturates else ""),
        )
        for e in result.layers
    ]
    return {"ranges": Table("Largest values any input could cause", head, lines(proved))}


def _clause(check: Check, result: Ranges) -> str:
    if any(layer.saturates for layer in result.layers):
        return "no input can overflow the chip's registers, though v may saturate at its lower end"
    return "no input can overflow the chip's registers"


def used_share(headroom_bits: float | None) -> str:
    """Return the used share of the fullest register in per cent, rounded toward the safe side."""
    free = n.finite(headroom_bits)
    if free is None:
        return n.MISSING
    share = 10_000 * 2.0 ** -min(max(free, -60.0), 60.0)
    return n.fixed((math.floor(share) if share <= 10_000 else math.ceil(share)) / 100, 2)


CHECK = CheckKind(
    id="V9",
    title="No input can overflow the chip's registers",
    kind="proved",
    result=Ranges,
    judge=_judge,
    section="quantisation",
    figures=RangeFigures,
    jobs=(RANGES,),
    facts=_facts,
    headline=_headline,
    lead=4,
    clause=_clause,
    tables=_tables,
)
