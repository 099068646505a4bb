"""V13: states on the threshold, and ties forced in every spiking layer of every engine."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Table, lines
from spikeproof.document.values import Count, Figure, Record, Text
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.engines.trace import LayerTrace, SlowEngine
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.reasons import Reason
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Job, Outcome
from spikeproof.verify.material import Material
from spikeproof.verify.operations import LayerOperations, count_operations
from spikeproof.verify.stages import Membrane, float_membranes
from spikeproof.verify.ties import TieLayer, Ties, compare_ties, tie_cases
from spikeproof.verify.verdict import Verdict


class Quantiles(Record):
    """Distances from the threshold, in units of it, that 1, 10 and 50 % of states are below."""

    p01: Figure
    p10: Figure
    p50: Figure


class BoundaryLayer(Record):
    """States on or beside the threshold in one layer."""

    name: Text
    states: int
    on_threshold: int
    within_1_lsb: int
    float_within_1_lsb: Count
    """Of the trained network; None where it has no such layer."""
    margin_quantiles: Quantiles


class ForcedTies(Record):
    """States put exactly on the threshold on purpose."""

    states: int
    mismatches: int
    layers: list[TieLayer] = Field(default_factory=list)


class Boundary(Record):
    """States at the threshold on images, and forced ones."""

    layers: list[BoundaryLayer] = Field(default_factory=list)
    forced_ties: ForcedTies | None = None


class Audit(Record):
    """What one run of the chip network on images shows: states at the threshold, operations."""

    samples: int
    layers: list[BoundaryLayer]
    operations: list[LayerOperations]


class BoundaryFigures(Record):
    """States on real images, those at the threshold, and the ties forced in small runs."""

    forced_mismatches: int
    forced_ties: int
    on_threshold: int
    samples: int
    states: int
    within_1_lsb: int


# --- measure -------------------------------------------------------------------------------------


def audit_layer(layer: ChipLayer, trace: LayerTrace, real: Membrane | None) -> BoundaryLayer:
    """Count states on and within one LSB of the threshold; ``real``: the float layer, if any."""
    wide = layer.thresholds(trace.v.shape[1])
    distance = np.abs(trace.v.astype(np.int64) - wide)
    margin = (distance / np.maximum(wide, 1)).ravel()
    quantiles = np.quantile(margin, [0.01, 0.1, 0.5], method="inverted_cdf")
    near = None
    if real is not None:
        near = int((np.abs(real.v - 1.0) * real.lsb <= 1.0).sum())
    p01, p10, p50 = quantiles.tolist()
    return BoundaryLayer(
        name=layer.name,
        states=int(distance.size),
        on_threshold=int((distance == 0).sum()),
        within_1_lsb=int((distance <= 1).sum()),
        float_within_1_lsb=near,
        margin_quantiles=Quantiles(p01=p01, p10=p10, p50=p50),
    )


def audit(
    network: ChipNetwork, traces: dict[str, LayerTrace], real: list[Membrane]
) -> list[BoundaryLayer]:
    """Audit every spiking layer."""
    by_name = {m.name: m for m in real}
    return [
        audit_layer(layer, traces[layer.name], by_name.get(layer.name))
        for layer in network.layers
        if layer.neuron.spiking
    ]


def _measure_ties(material: Material) -> Ties:
    return compare_ties(tie_cases(material.stages.chip), material.engines())


def _measure(material: Material) -> Audit:
    x = material.x[: material.config.samples.boundary]
    stages = material.stages
    traces = FastEngine().run(stages.chip, x, trace=True).traces or {}
    real = float_membranes(stages.folded, run_float(stages.folded, x, trace=True), stages)
    return Audit(
        samples=len(x),
        layers=audit(stages.chip, traces, real),
        operations=count_operations(stages.chip, x, traces),
    )


def _ties_cost(material: Material) -> float:
    return 12_000 if any(isinstance(e, SlowEngine) for e in material.engines()) else 500


def _audit_cost(material: Material) -> float:
    return material.images(material.config.samples.boundary) * (2.6 + 1.4 * material.effort)


TIES = Job("ties", _measure_ties, Ties, _ties_cost)
AUDIT = Job("boundary", _measure, Audit, _audit_cost)


# --- judge ---------------------------------------------------------------------------------------


def boundary_outcome(layers: list[BoundaryLayer], ties: Ties, samples: int) -> Outcome[Boundary]:
    """Judge the forced ties; states on images are counted."""
    states = sum(e.states for row in ties.layers for e in row.engines.values())
    wrong = sum(e.mismatches for row in ties.layers for e in row.engines.values())
    missed = [row.name for row in ties.layers if row.ties < row.expected]
    absent = _untied([x.name for x in layers], ties)
    verdict = Verdict.PASS
    if wrong or missed:
        verdict = Verdict.FAIL
    elif absent or states == 0:
        verdict = Verdict.INCONCLUSIVE
    on = sum(x.on_threshold for x in layers)
    total = sum(x.states for x in layers)
    forced = sum(row.ties for row in ties.layers)
    return Outcome(
        verdict,
        f"In {on:,} of {total:,} states on real images the membrane equals the threshold. "
        f"Small runs force {forced:,} more states onto it; {wrong:,} of the {states:,} states "
        "compared in these runs, over all engines, differ from the reference."
        + (f" No ties were forced in {', '.join(absent)}." if absent else ""),
        BoundaryFigures(
            samples=samples,
            states=total,
            on_threshold=on,
            within_1_lsb=sum(x.within_1_lsb for x in layers),
            forced_ties=forced,
            forced_mismatches=wrong,
        ),
        Boundary(
            layers=layers,
            forced_ties=ForcedTies(states=states, mismatches=wrong, layers=ties.layers),
        ),
        _untidy_ties(ties, absent, states),
    )


def _untidy_ties(ties: Ties, absent: list[str], states: int) -> list[Reason]:
    """Give a reason for ties that are broken differently, missed, or were never forced."""
    reasons = []
    for row in ties.layers:
        for engine, found in row.engines.items():
            if found.mismatches:
                reasons.append(
                    Reason(
                        verdict="fail",
                        criterion=f"states that {engine} decides differently",
                        layer=row.name,
                        value=found.mismatches,
                        relation="exactly",
                        limit=0,
                        try_=f"Run `spikeproof fuzz` with {engine} among its engines: it shrinks "
                        "such a difference to a small network to look at.",
                    )
                )
        if row.ties < row.expected:
            reasons.append(
                Reason(
                    verdict="fail",
                    criterion="states forced onto the threshold",
                    layer=row.name,
                    value=row.ties,
                    relation="at least",
                    limit=row.expected,
                    try_="The forced input missed the threshold in the reference itself, which "
                    "is a defect: please report it with the bundle.",
                )
            )
    for name in absent or ([] if states else ["every layer"]):
        reasons.append(
            Reason(
                verdict="inconclusive",
                criterion="states forced onto the threshold",
                layer=name,
                value=0,
                relation="at least",
                limit=1,
                try_="No bias within 1,000 units puts this layer's neurons exactly on the "
                "threshold, or the engine cannot run the small network made for it. Compare "
                "another engine (--engine), or convert with another scale for the layer "
                "(convert --scale).",
            )
        )
    return reasons


def _untied(layers: list[str], ties: Ties) -> list[str]:
    """Name every spiking layer and engine without a single forced tie."""
    by_name = {row.name: row for row in ties.layers}
    absent = []
    for name in layers:
        row = by_name.get(name)
        for engine in ties.engines:
            found = None if row is None else row.engines.get(engine)
            if row is None or found is None or not row.ties or not found.states:
                absent.append(f"{name} ({engine})")
    return absent


def _judge(found: Findings) -> Outcome[Boundary]:
    audited = found.of(AUDIT)
    return boundary_outcome(audited.layers, found.of(TIES), audited.samples)


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: Boundary, silent: set[str]) -> list[Fact]:
    path = f"{check.id}.data"
    states = sum(e.states for e in result.layers)
    found = [Fact(n.integer(states), "states", f"sum {path}.layers.*.states")] if states else []
    ties = result.forced_ties
    if ties is not None:
        label = "states compared in runs that force ties"
        differ = n.integer(ties.mismatches)
        found += [
            Fact(n.integer(ties.states), label, f"{path}.forced_ties.states"),
            Fact(differ, "decided differently", f"{path}.forced_ties.mismatches"),
        ]
    return found


def _tables(result: Boundary) -> dict[str, Table]:
    head = (
        Head("layer", "name"),
        Head("states"),
        Head("at the threshold"),
        Head("within 1 LSB of it"),
        Head("within 1 LSB, trained"),
        Head("distance, nearest 1 %", unit="θ"),
        Head("nearest 10 %", unit="θ"),
        Head("median", unit="θ"),
    )
    layers = result.layers
    counts = [
        (e.name, *map(n.integer, (e.states, e.on_threshold, e.within_1_lsb, e.float_within_1_lsb)))
        for e in layers
    ]
    near = [e.margin_quantiles for e in layers]
    margins = zip(
        n.column([q.p01 for q in near]),
        n.column([q.p10 for q in near]),
        n.column([q.p50 for q in near]),
        strict=True,
    )
    rows = [(*count, *margin) for count, margin in zip(counts, margins, strict=True)]
    return {"boundary": Table("How close membranes come to the threshold", head, lines(rows))}


CHECK = CheckKind(
    id="V13",
    title="Membranes exactly at the threshold are decided the same way",
    kind="tested",
    result=Boundary,
    judge=_judge,
    section="differences",
    figures=BoundaryFigures,
    jobs=(AUDIT, TIES),
    facts=_facts,
    tables=_tables,
)
