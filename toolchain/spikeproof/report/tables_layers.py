"""Turn what each check says about the layers into tables."""

from __future__ import annotations

import math

from spikeproof.report import numbers as n
from spikeproof.report.data import (
    BoundaryData,
    DivergenceData,
    ErrorData,
    ErrorFigures,
    ExactData,
    RangeData,
    StageData,
)
from spikeproof.report.model import Report
from spikeproof.report.tables import Head, Table, lines


def exact_table(report: Report) -> Table:
    """List values compared and mismatches of each layer (V1)."""
    head = (
        Head("layer", "name"),
        Head("values compared"),
        Head("that differ", unit="limit 0"),
    )
    rows = [
        (e.name, n.integer(e.values), n.integer(e.mismatches))
        for e in report.data("V1", ExactData).layers
    ]
    return Table("Chip target against specification: every u, v and spike", head, lines(rows))


def stage_table(report: Report) -> Table:
    """List every pass with the relation it promised and what was found (V2)."""
    head = (
        Head("step", "name"),
        Head("declares to be", "text"),
        Head("largest difference"),
        Head("limit"),
        Head("spikes that flip"),
        Head("same class", unit="% of images"),
        Head("verdict", "verdict"),
    )
    rows = []
    for s in report.data("V2", StageData).stages:
        flips = n.integer(s.flipped_spikes)
        if s.spikes is not None:
            flips += f" of {n.integer(s.spikes)}"
        rows.append(
            (
                f"{s.source} → {s.target}",
                s.relation,
                _amount(s.max_difference, s.unit),
                _amount(s.bound, s.unit),
                flips,
                n.percent(s.agreement, 2),
                s.verdict,
            )
        )
    return Table("What each step of the conversion declares, and what was found", head, lines(rows))


_UNITS = {"v-units": "LSB", "threshold": "θ", "values that differ": "values"}


def _amount(value: float | None, unit: str) -> str:
    """Write a difference with its unit; one name for the integer membrane's unit everywhere."""
    if n.finite(value) is None:
        return n.MISSING
    return f"{n.significant(value, 4)} {_UNITS.get(unit, unit)}".strip()


def divergence_table(report: Report) -> Table:
    """List the first state in which each pair of stages differs (V3)."""
    head = (
        Head("stages", "name"),
        Head("first spike or value that differs", "text"),
        Head("image"),
        Head("membrane in the first", unit="LSB"),
        Head("in the second", unit="LSB"),
        Head("first to threshold", unit="θ"),
        Head("first to threshold", unit="LSB"),
    )
    rows = []
    for p in report.data("V3", DivergenceData).pairs:
        place = "none"
        if p.found:
            spot = "" if p.neuron is None else f", neuron ({_plain(p.neuron)})"
            place = f"layer {p.layer or '?'}{spot}, step {n.integer(p.step)}"
        values = p.values or {}
        rows.append(
            (
                f"{_stage(p.source)} → {_stage(p.target)}",
                place,
                n.integer(p.sample),
                _exact(values.get("from")),
                _exact(values.get("to")),
                n.significant(p.margin),
                n.significant(p.margin_lsb),
            )
        )
    return Table(
        "Where two stages first differ (images and steps counted from 0)", head, lines(rows)
    )


def _stage(name: str) -> str:
    """Return the one name of a stage: the reference simulator runs the chip network."""
    return "chip" if name == "reference" else name


def _exact(value: object) -> str:
    return n.significant(value, 6) if isinstance(value, float) else n.anything(value)


def _plain(neuron: object) -> str:
    return ", ".join(map(str, neuron)) if isinstance(neuron, list) else str(neuron)


def error_table(report: Report) -> Table:
    """Compare errors of each layer alone and at the end of the chain (V4)."""
    head = (
        Head("layer", "name"),
        Head("the layer receives", "text"),
        Head("spikes that flip", unit="% of states"),
        Head("SQNR", unit="dB"),
        Head("|Δv| median", unit="θ"),
        Head("99 %", unit="θ"),
        Head("largest", unit="θ"),
    )
    layers = report.data("V4", ErrorData).layers
    both = [e for layer in layers for e in (layer.local, layer.accumulated)]
    names = [layer.name for layer in layers for _ in range(2)]
    inputs = [
        "spikes of the trained network (this layer alone)",
        "spikes of the chip network (all layers)",
    ] * len(layers)
    flips = n.column([None if (v := n.finite(e.flip_rate)) is None else 100 * v for e in both])
    sizes = [n.column([getattr(e, key) for e in both]) for key in ("dv_p50", "dv_p99", "dv_max")]
    rows = list(zip(names, inputs, flips, map(_sqnr, both), *sizes, strict=True))
    return Table("Error of each layer, by itself and with all layers before it", head, lines(rows))


def _sqnr(e: ErrorFigures) -> str:
    return "∞" if e.sqnr_db is None and e.dv_max == 0 else n.fixed(e.sqnr_db, 1)


def boundary_table(report: Report) -> Table:
    """Count the states beside the threshold in each layer (V13)."""
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
    layers = report.data("V13", BoundaryData).layers
    counts = [
        (e.name, *map(n.integer, (e.states, e.on_threshold, e.within_1_lsb, e.float_within_1_lsb)))
        for e in layers
    ]
    margins = zip(
        *(n.column([e.margin_quantiles.get(q) for e in layers]) for q in ("p01", "p10", "p50")),
        strict=True,
    )
    rows = [(*count, *margin) for count, margin in zip(counts, margins, strict=True)]
    return Table("How close membranes come to the threshold", head, lines(rows))


def quantisation_table(report: Report) -> Table:
    """List what became of each layer's numbers."""
    head = (
        Head("layer", "name"),
        Head("kind", "text"),
        Head("neuron", "text"),
        Head("inputs"),
        Head("neurons"),
        Head("synapses"),
        Head("weight bits"),
        Head("scale"),
        Head("clipped", unit="%"),
        Head("threshold"),
        Head("decay", unit="of 4096"),
        Head("bias exponent"),
        Head("flips in calibration", unit="%"),
    )
    rows = [
        (
            r.layer,
            r.kind,
            r.neuron,
            n.anything(r.inputs),
            n.anything(r.neurons),
            n.integer(r.synapses),
            n.anything(r.weight_bits),
            n.anything(r.scale),
            n.rate(r.clipped_share),
            n.anything(r.threshold),
            n.anything(r.dv),
            n.anything(r.bias_exponent),
            n.rate(r.flip_rate_calibration),
        )
        for r in report.network.layers
    ]
    return Table("From trained parameters to chip integers", head, lines(rows))


def range_table(report: Report) -> Table:
    """List the worst-case range of each layer: proved (V9), else as converted."""
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
            _used(e.headroom_bits),
            words[e.ok],
        )
        for e in report.data("V9", RangeData).layers
    ]
    converted = [
        (
            r.layer,
            n.integer(r.sum_bound),
            n.MISSING,
            n.integer(r.v_low),
            n.integer(r.v_high),
            _used(r.headroom_bits),
            n.MISSING,
        )
        for r in report.network.layers
        if r.v_high is not None or r.sum_bound is not None
    ]
    return Table("Largest values any input could cause", head, lines(proved or converted))


def _used(headroom_bits: float | None) -> str:
    """Return the used share of the fullest register in per cent, rounded toward the safe side."""
    free = n.finite(headroom_bits)
    if free is None:
        return n.MISSING
    share = 10_000 * 2.0 ** -min(max(free, -60.0), 60.0)
    return n.fixed((math.floor(share) if share <= 10_000 else math.ceil(share)) / 100, 2)
