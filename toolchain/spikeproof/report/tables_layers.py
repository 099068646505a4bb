"""Turn what each check says about the layers into tables."""

from __future__ import annotations

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
    head = (Head("layer", "name"), Head("values compared"), Head("mismatches"))
    rows = [(e.name, n.integer(e.values), n.integer(e.mismatches))
            for e in report.data("V1", ExactData).layers]  # fmt: skip
    return Table("Target against specification, every spike, u and v", head, lines(rows))


def stage_table(report: Report) -> Table:
    """List every pass with the relation it promised and what was found (V2)."""
    head = (
        Head("pass", "name"), Head("promise", "text"), Head("bound"), Head("largest difference"),
        Head("flipped spikes"), Head("same class", unit="%"), Head("verdict", "verdict"),
    )  # fmt: skip
    rows = []
    for s in report.data("V2", StageData).stages:
        bounded = s.relation == "bounded"
        bound = f"{n.significant(s.bound)} {s.unit}".strip() if bounded else n.MISSING
        flips = n.integer(s.flipped_spikes)
        if s.spikes is not None:
            flips += f" of {n.integer(s.spikes)}"
        rows.append((f"{s.source} → {s.target}", s.relation, bound,
                     n.significant(s.max_difference),
                     flips, n.percent(s.agreement, 2), s.verdict))  # fmt: skip
    return Table("What each pass promised, and what was found", head, lines(rows))


def divergence_table(report: Report) -> Table:
    """List the first state in which each pair of stages differs (V3)."""
    head = (
        Head("pair", "name"), Head("first difference", "text"), Head("image"), Head("value before"),
        Head("value after"), Head("margin", unit="θ"), Head("margin", unit="LSB"),
    )  # fmt: skip
    rows = []
    for p in report.data("V3", DivergenceData).pairs:
        place = "none"
        if p.found:
            spot = "" if p.neuron is None else f", neuron ({_plain(p.neuron)})"
            place = f"layer {p.layer or '?'}{spot}, step {n.integer(p.step)}"
        values = p.values or {}
        rows.append((
            f"{p.source} → {p.target}", place, n.integer(p.sample), _exact(values.get("from")),
            _exact(values.get("to")), n.significant(p.margin), n.significant(p.margin_lsb),
        ))  # fmt: skip
    return Table("First divergence", head, lines(rows))


def _exact(value: object) -> str:
    return n.significant(value, 6) if isinstance(value, float) else n.anything(value)


def _plain(neuron: object) -> str:
    return ", ".join(map(str, neuron)) if isinstance(neuron, list) else str(neuron)


def error_table(report: Report) -> Table:
    """Compare errors of each layer alone and at the end of the chain (V4)."""
    head = (
        Head("layer", "name"), Head("input", "text"), Head("flipped spikes", unit="%"),
        Head("SQNR", unit="dB"), Head("|Δv| median", unit="θ"), Head("p99", unit="θ"),
        Head("largest", unit="θ"),
    )  # fmt: skip
    layers = report.data("V4", ErrorData).layers
    both = [e for layer in layers for e in (layer.local, layer.accumulated)]
    names = [layer.name for layer in layers for _ in range(2)]
    inputs = ["trained spikes (alone)", "chip spikes (accumulated)"] * len(layers)
    flips = n.column([None if (v := n.finite(e.flip_rate)) is None else 100 * v for e in both])
    sizes = [n.column([getattr(e, key) for e in both]) for key in ("dv_p50", "dv_p99", "dv_max")]
    rows = list(zip(names, inputs, flips, map(_sqnr, both), *sizes, strict=True))
    return Table("Error of each layer, alone and accumulated", head, lines(rows))


def _sqnr(e: ErrorFigures) -> str:
    return "∞" if e.sqnr_db is None and e.dv_max == 0 else n.fixed(e.sqnr_db, 1)


def boundary_table(report: Report) -> Table:
    """Count the states beside the threshold in each layer (V13)."""
    head = (
        Head("layer", "name"), Head("states"), Head("on threshold"), Head("within 1 LSB"),
        Head("trained, within 1 LSB"), Head("margin p01", unit="θ"), Head("p10", unit="θ"),
        Head("p50", unit="θ"),
    )  # fmt: skip
    layers = report.data("V13", BoundaryData).layers
    counts = [
        (e.name, *map(n.integer, (e.states, e.on_threshold, e.within_1_lsb, e.float_within_1_lsb)))
        for e in layers
    ]
    margins = zip(*(n.column([e.margin_quantiles.get(q) for e in layers])
                    for q in ("p01", "p10", "p50")), strict=True)  # fmt: skip
    rows = [(*count, *margin) for count, margin in zip(counts, margins, strict=True)]
    return Table("States beside the threshold", head, lines(rows))


def quantisation_table(report: Report) -> Table:
    """List what became of each layer's numbers."""
    head = (
        Head("layer", "name"), Head("kind", "text"), Head("neuron", "text"), Head("inputs"),
        Head("neurons"), Head("synapses"), Head("weight bits"), Head("scale"),
        Head("clipped", unit="%"), Head("threshold"), Head("decay"), Head("bias exp."),
        Head("flips, calibration", unit="%"),
    )  # fmt: skip
    rows = [
        (
            r.layer, r.kind, r.neuron, n.anything(r.inputs), n.anything(r.neurons),
            n.integer(r.synapses), n.anything(r.weight_bits), n.anything(r.scale),
            n.rate(r.clipped_share), n.anything(r.threshold), n.anything(r.dv),
            n.anything(r.bias_exponent), n.rate(r.flip_rate_calibration),
        )
        for r in report.network.layers
    ]  # fmt: skip
    return Table("From trained parameters to chip integers", head, lines(rows))


def range_table(report: Report) -> Table:
    """List the worst-case range of each layer: proved (V9), else as converted."""
    head = (
        Head("layer", "name"), Head("largest sum"), Head("largest |u|"), Head("lowest v"),
        Head("highest v"), Head("headroom", unit="bits"), Head("24 bits suffice", "text"),
    )  # fmt: skip
    words = {True: "proved", False: "not proved", None: n.MISSING}
    proved = [
        (
            e.name,
            n.integer(e.sum_bound),
            n.integer(e.u_bound),
            n.integer(e.v_low),
            n.integer(e.v_high),
            n.fixed(e.headroom_bits, 2),
            words[e.ok],
        )
        for e in report.data("V9", RangeData).layers
    ]
    converted = [
        (
            r.layer, n.integer(r.sum_bound), n.MISSING, n.integer(r.v_low), n.integer(r.v_high),
            n.fixed(r.headroom_bits, 2), n.MISSING,
        )
        for r in report.network.layers if r.v_high is not None or r.sum_bound is not None
    ]  # fmt: skip
    return Table("Worst-case ranges over all inputs", head, lines(proved or converted))
