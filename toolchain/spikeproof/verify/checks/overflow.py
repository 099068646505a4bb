"""V9: no input can overflow the chip's numbers; the certificate stands up to other code.

Per layer: nothing a second, plain analysis finds possible may lie outside of the certificate, nor
outside of what the bundle's record claims, and no extremal input may leave either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import NamedTuple

import numpy as np
from pydantic import Field

from spikeproof.certify.ranges import LayerRange, certify_ranges
from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Table, length, lines
from spikeproof.document.values import Count, Number, Record, Text
from spikeproof.io.record import TableRow
from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork
from spikeproof.reasons import Reason
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Job, Outcome
from spikeproof.verify.extremes import Reached, reach
from spikeproof.verify.interval import Bounds, LowerRail, bound_network
from spikeproof.verify.material import Material
from spikeproof.verify.verdict import Verdict

Certify = Callable[[ChipNetwork], list[LayerRange]]
_BITS = 5e-4
"""The record keeps headroom with three decimals."""


class SecondBound(Record):
    """What the plain analysis finds possible."""

    sum_bound: int
    u_bound: int
    v_low: int
    v_high: int
    host_bound: int
    headroom_bits: float
    ok: bool


class RangeLayer(Record):
    """Bounds of one layer, in v-units: the certificate's, and what judges it.

    Without a certificate only the name is known; reports of version 0.1 lack what judges it.
    """

    name: Text
    sum_bound: Number = None
    u_bound: Number = None
    v_low: Number = None
    v_high: Number = None
    headroom_bits: Number = None
    ok: bool | None = None
    worst_neuron: list[int] | None = None
    host_bound: Number = None
    problems: list[Text] = Field(default_factory=list)
    independent: SecondBound | None = None
    saturates: bool = False
    """v may stay at its lower end for some input, as the conversion's options allow."""
    reached: Reached | None = None
    unsound: list[Text] = Field(default_factory=list)
    """A sentence for each figure of the certificate that is too small; empty: it holds."""
    overclaimed: list[Text] = Field(default_factory=list)
    """The same of the bundle's record, which no analysis relies on."""
    unclaimed: list[Text] = Field(default_factory=list)
    """The columns of the conversion's table that say nothing of this layer."""
    neuron: list[int] | None = None
    """The one that goes furthest."""

    @property
    def found_headroom(self) -> float:
        """Return the headroom that the plain analysis finds, in bits."""
        return math.inf if self.independent is None else self.independent.headroom_bits

    @property
    def overflows(self) -> bool:
        """Tell whether either analysis finds that something may not fit."""
        return self.ok is False or (self.independent is not None and not self.independent.ok)


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


def judge_certificate(
    network: ChipNetwork,
    claims: Mapping[str, TableRow] | None,
    certify: Certify = certify_ranges,
    lower_rail: LowerRail = "never",
) -> list[RangeLayer]:
    """Certify a network and judge the certificate, layer by layer.

    Args:
        network: the chip network.
        claims: the rows of the conversion's table by layer, whose ranges are judged as well; what
            they lack is listed. None: integers that no conversion made, of which nothing is said.
        certify: the analysis under judgement.
        lower_rail: whether v may saturate at its lower end; ``certify`` allows the same.

    Returns:
        One row per layer.
    """
    bounds = bound_network(network, lower_rail)
    certified = {row.name: row for row in certify(network)}
    largest = 255 if network.coding == "pixels" else 1
    sent = {i: bound.fires.astype(np.int64) for i, bound in enumerate(bounds)}
    sent[INPUT_INDEX] = np.full(network.input_shape, largest, np.int64)
    rows = []
    for layer, sources, bound in zip(network.layers, network.sources, bounds, strict=True):
        inputs = [sent[source] for source in sources]
        pixels = [s == INPUT_INDEX and network.coding == "pixels" for s in sources]
        reached = reach(layer, bound, inputs, network.timesteps, pixels=pixels)
        found = certified.get(layer.name)
        unsound = [f"no certificate for {layer.name}"] if found is None else _unsound(found, bound)
        if found is not None:
            unsound += _left(found, reached, "the certificate")
        unsound += _left(_as_range(bound), reached, "the second bound")
        row = None if claims is None else claims.get(layer.name)
        claim = NO_CLAIM if row is None else _claim(row)
        certificate = {"name": layer.name} if found is None else asdict(found)
        rows.append(
            RangeLayer(
                **certificate,
                independent=_figures(bound),
                reached=reached,
                unsound=unsound,
                overclaimed=_overclaimed(claim, bound, reached),
                unclaimed=[] if claims is None else _unclaimed(claim),
                neuron=_where(bound, found),
            )
        )
    return rows


def _figures(bound: Bounds) -> SecondBound:
    reach = bound.figures
    return SecondBound(
        sum_bound=reach["synaptic sum"][0],
        u_bound=reach["u"][0],
        v_low=int(bound.v_low.min()),
        v_high=int(bound.v_high.max()),
        host_bound=reach["host mantissa"][0],
        headroom_bits=bound.headroom,
        ok=bound.headroom >= 0,
    )


def _as_range(bound: Bounds) -> LayerRange:
    f = _figures(bound)
    return LayerRange(
        bound.name,
        f.sum_bound,
        f.u_bound,
        f.v_low,
        f.v_high,
        f.headroom_bits,
        f.ok,
        (),
        f.host_bound,
    )


class _Promise(NamedTuple):
    """What is said of a layer's range, by the certificate or by the bundle's record.

    None: nothing. The field's names are those of the report and of the conversion's table.
    """

    sum_bound: float | None
    host_bound: float | None
    v_low: float | None
    v_high: float | None
    headroom_bits: float | None
    u_bound: float | None = None
    """The record says nothing of u."""


def _claim(row: TableRow) -> _Promise:
    return _Promise(row.sum_bound, row.host_bound, row.v_low, row.v_high, row.headroom_bits)


NO_CLAIM = _Promise(None, None, None, None, None)


def _unclaimed(claim: _Promise) -> list[str]:
    """List the columns of the conversion's table that say nothing."""
    return [key for key, value in claim._asdict().items() if value is None and key != "u_bound"]


def _unsound(found: LayerRange, bound: Bounds) -> list[str]:
    """List where the certificate promises more than the plain analysis finds."""
    wanted = _figures(bound)
    promise = _Promise(
        found.sum_bound,
        found.host_bound,
        found.v_low,
        found.v_high,
        found.headroom_bits,
        found.u_bound,
    )
    problems = _too_tight(promise, wanted, "the certificate")
    if found.ok and not wanted.ok:
        problems.append("the certificate says that everything fits, and it does not")
    if bound.saturates and not found.saturates:
        problems.append("the certificate says that v does not saturate, and it may")
    return problems


def _overclaimed(claim: _Promise, bound: Bounds, reached: Reached) -> list[str]:
    """List where the bundle's record promises more than is so."""
    problems = _too_tight(claim, _figures(bound), "the bundle's record")
    if claim.v_low is not None and reached.v_low < claim.v_low:
        problems.append(
            f"an input drives v to {reached.v_low}, below the {claim.v_low} of the bundle's record"
        )
    if claim.v_high is not None and reached.v_high > claim.v_high:
        problems.append(
            f"an input drives v to {reached.v_high}, above the {claim.v_high} of the bundle's "
            "record"
        )
    return problems


def _too_tight(given: _Promise, wanted: SecondBound, whose: str) -> list[str]:
    magnitudes = (
        ("the synaptic sum", given.sum_bound, wanted.sum_bound),
        ("u", given.u_bound, wanted.u_bound),
        ("a host mantissa", given.host_bound, wanted.host_bound),
    )
    problems = [
        f"{whose} bounds {what} by {stated}, but {possible} is possible"
        for what, stated, possible in magnitudes
        if stated is not None and not stated >= possible
    ]
    if given.v_low is not None and not given.v_low <= wanted.v_low:
        problems.append(
            f"{whose} bounds v from below by {given.v_low}, but {wanted.v_low} is possible"
        )
    if given.v_high is not None and not given.v_high >= wanted.v_high:
        problems.append(
            f"{whose} bounds v from above by {given.v_high}, but {wanted.v_high} is possible"
        )
    bits = given.headroom_bits
    if bits is not None and not bits <= wanted.headroom_bits + _BITS:
        problems.append(
            f"{whose} gives {bits:.3f} bits of headroom, there are {wanted.headroom_bits:.3f}"
        )
    return problems


def _left(found: LayerRange, reached: Reached, whose: str) -> list[str]:
    """List what the extremal inputs reached outside of a range."""
    problems = []
    if not found.v_low <= reached.v_low:
        problems.append(
            f"an input drives v of neuron {reached.lowest} to {reached.v_low}, "
            f"below the {found.v_low} of {whose}"
        )
    if not reached.v_high <= found.v_high:
        problems.append(
            f"an input drives v of neuron {reached.highest} to {reached.v_high}, "
            f"above the {found.v_high} of {whose}"
        )
    if not reached.u <= found.u_bound:
        problems.append(f"an input drives u to {reached.u}, beyond the {found.u_bound} of {whose}")
    return problems


def _where(bound: Bounds, found: LayerRange | None) -> list[int]:
    """Return the neuron that goes furthest beyond the certificate, or furthest at all."""
    low, high = (0, 0) if found is None else (found.v_low, found.v_high)
    beyond = np.maximum(low - bound.v_low, bound.v_high - high)
    if found is None or int(beyond.max()) <= 0:
        beyond = np.maximum(-bound.v_low, bound.v_high)
    return [int(i) for i in np.unravel_index(int(beyond.argmax()), beyond.shape)]


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
