"""Draw one row per layer: flip rates, margins to the threshold, headroom."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from spikeproof.document.numbers import fixed, rate, significant
from spikeproof.report.charts import Chart
from spikeproof.report.svg import Plot, Scale, element, figure, line, padded, shorten, text
from spikeproof.verify.certificate import RangeLayer
from spikeproof.verify.checks.threshold import BoundaryLayer
from spikeproof.verify.layer_errors import LayerError

_WIDTH, _LEFT, _RIGHT, _ROW = 460, 84, 440, 30
CHIP_BITS = 23
"""Magnitude bits of the membrane register: |v| < 2^23."""


@dataclass(frozen=True)
class Row:
    """A label and the values of one layer, in the order of the marker classes."""

    label: str
    values: tuple[float | None, ...]


def _rows_chart(
    key: str, title: str, rows: Sequence[Row], marks: Sequence[str], axis: str, log: bool, told: str
) -> Markup:
    seen = [v for r in rows for v in r.values if v is not None]
    usable = [v for v in seen if v > 0] if log else [0.0, *seen]
    bottom = 8 + _ROW * len(rows)
    x = padded(usable, _LEFT, _RIGHT, log)
    if not log:
        x = Scale(0, max(x.high, 1e-9), _LEFT, _RIGHT)
    plot = Plot(x, Scale(0, 1, bottom, 8))
    body = [line(x(t), 8, x(t), bottom, "grid") for t in x.ticks()]
    body.append(plot.base(x.ticks(), x.label(axis)))
    for index, row in enumerate(rows):
        y = 8 + _ROW * (index + 0.5)
        body.append(text(_LEFT - 12, y + 4, shorten(row.label, 10), "name", "end"))
        spots = [
            (m, x(v))
            for m, v in zip(marks, row.values, strict=True)
            if v is not None and not (log and v <= 0)
        ]
        if len(spots) > 1:
            body.append(line(min(s for _, s in spots), y, max(s for _, s in spots), y, "link"))
        body += [element("circle", cx=s, cy=y, r=5, class_=m) for m, s in spots]
    return figure(key, title, told, (_WIDTH, bottom + 38), Markup("").join(body))


def flip_rows(layers: Sequence[LayerError], silent: Collection[str] = ()) -> Chart | None:
    """Draw per layer the share of states that flip, by itself and with all layers before it.

    Layers in ``silent`` fire no spikes and are left out.
    """
    layers = [e for e in layers if e.name not in silent]
    rows = [Row(e.name, (100 * e.local.flip_rate, 100 * e.accumulated.flip_rate)) for e in layers]
    if not any(v is not None for r in rows for v in r.values):
        return None
    told = "; ".join(
        f"{e.name}: by itself {rate(e.local.flip_rate)} %, "
        f"with all layers before it {rate(e.accumulated.flip_rate)} %"
        for e in layers
    )
    caption = "Spikes that flip, per layer"
    svg = _rows_chart(
        "flips", caption, rows, ("hollow-ink", "full-ink"), "% of states", False, told
    )
    return Chart(caption, svg)


def margin_rows(layers: Sequence[BoundaryLayer]) -> Chart | None:
    """Draw per layer how far the membranes stay from the threshold (quantiles, log axis)."""
    names = ("p01", "p10", "p50")
    rows = [Row(e.name, tuple(getattr(e.margin_quantiles, n) for n in names)) for e in layers]
    if not any(v is not None and v > 0 for r in rows for v in r.values):
        return None
    told = "; ".join(
        f"{e.name}: "
        + ", ".join(f"{k} {significant(v)}" for k, v in dict(e.margin_quantiles).items())
        for e in layers
    )
    caption = "Distance of membranes from the threshold"
    marks = ("hollow-ink", "half-ink", "full-ink")
    axis = "|v \N{MINUS SIGN} θ| in units of θ"
    svg = _rows_chart("margins", caption, rows, marks, axis, True, told)
    return Chart(caption, svg)


def headroom_bars(layers: Sequence[RangeLayer]) -> Chart | None:
    """Draw per layer how many of the register's bits the largest reachable state needs."""
    used = [(e, bits) for e in layers if (bits := bits_used(e)) is not None]
    if not used:
        return None
    bottom = 26 + _ROW * len(used)
    x = Scale(0, 26, _LEFT, _RIGHT)
    body = [line(x(t), 22, x(t), bottom, "grid") for t in (0, 8, 16)]
    body.append(
        Plot(x, Scale(0, 1, bottom, 22)).base((0, 8, 16, CHIP_BITS), x.label("bits of |v| and |u|"))
    )
    for index, (entry, bits) in enumerate(used):
        y = 22 + _ROW * (index + 0.5)
        body.append(text(_LEFT - 12, y + 4, shorten(entry.name, 10), "name", "end"))
        width = x(min(bits, 26)) - x(0)
        kind = "bar over" if bits > CHIP_BITS else "bar"
        body.append(element("rect", x=x(0), y=y - 8, width=width, height=16, class_=kind))
        free = CHIP_BITS - bits
        note = _room(free)
        if width > 110:
            body.append(text(x(0) + width - 8, y + 4, note, "on-bar", "end"))
        else:
            body.append(text(x(0) + width + 8, y + 4, note, "off-bar"))
    limit = x(CHIP_BITS)
    body.append(line(limit, 20, limit, bottom, "limit"))
    body.append(text(limit, 13, "register limit", "label", "middle"))
    told = "; ".join(f"{e.name}: {fixed(b, 1)} of {CHIP_BITS} bits used" for e, b in used)
    caption = "Register bits the worst input would use"
    svg = figure("headroom", caption, told, (_WIDTH, bottom + 38), Markup("").join(body))
    return Chart(caption, svg)


def _room(free: float) -> str:
    if free < 0:
        return f"{fixed(-free, 1)} bits too many"
    return "full, never over" if free < 0.05 else f"{fixed(free, 1)} bits free"


def bits_used(layer: RangeLayer) -> float | None:
    """Return log2 of the largest state, or what the headroom leaves when no bound is given."""
    if layer.headroom_bits is not None:
        return max(0.0, CHIP_BITS - layer.headroom_bits)
    bounds = [abs(v) for v in (layer.u_bound, layer.v_low, layer.v_high) if v is not None]
    return math.log2(max(1.0, *bounds)) if bounds else None
