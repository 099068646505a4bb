"""Draw accuracy before and after conversion: curves over strength, differences over a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from spikeproof.document.numbers import accuracy, interval, points
from spikeproof.report.svg import (
    Plot,
    Point,
    Scale,
    element,
    figure,
    group,
    line,
    path,
    text,
)
from spikeproof.verify.accuracy_rows import AccuracyRow


@dataclass(frozen=True)
class Chart:
    """One drawing, the caption above it and what the reader must know below the caption."""

    caption: str
    svg: Markup
    note: str = ""


def accuracy_curves(rows: Sequence[AccuracyRow]) -> list[Chart]:
    """Draw one panel per perturbation family, on shared axes.

    Each curve starts at the clean accuracy on the family's own images: families may use different
    numbers of images, and a step between two sets of images would look like an effect.
    """
    clean = [r for r in rows if r.perturbation.lower() == "clean"]
    families = list(dict.fromkeys(r.perturbation for r in rows if r not in clean))
    if not rows:
        return []
    each = [[r for r in rows if r.perturbation == family] for family in families]
    curves = [_clean_start(clean, own) + own for own in each] or [clean]
    y = _accuracy_axis([row for curve in curves for row in curve])
    reach = float(max(r.strength for r in rows)) or 1.0
    x = Scale(-0.05 * reach, 1.04 * reach, 40, 314)
    charts = []
    for index, (family, curve) in enumerate(zip(families or ["clean"], curves, strict=True)):
        ordered = sorted(curve, key=lambda r: r.strength)
        charts.append(_accuracy_panel(f"accuracy-{index}", family, ordered, Plot(x, y)))
    return charts


def _clean_start(clean: list[AccuracyRow], own: list[AccuracyRow]) -> list[AccuracyRow]:
    """Return the clean point of a curve, measured on the same images as the rest of it."""
    first = own[0]
    if first.clean_float_accuracy is None and first.clean_chip_accuracy is None:
        return [row for row in clean if row.samples == first.samples]
    return [
        first.model_copy(
            update={
                "perturbation": "clean",
                "strength": 0,
                "float_accuracy": first.clean_float_accuracy,
                "float_ci": first.clean_float_ci,
                "chip_accuracy": first.clean_chip_accuracy,
                "chip_ci": first.clean_chip_ci,
            }
        )
    ]


def _accuracy_axis(rows: Sequence[AccuracyRow]) -> Scale:
    seen = [v for r in rows for v in (r.float_accuracy, r.chip_accuracy, *r.float_ci, *r.chip_ci)]
    seen += [r.naive_accuracy for r in rows if r.naive_accuracy is not None]
    low, high = 100 * min(seen), 100 * max(seen)
    step = 10 if high - low > 12 else 5
    floor = max(0.0, step * ((low - 0.5) // step))
    ceiling = min(100.0, step * -((-high - 0.5) // step))
    return Scale(floor, max(ceiling, floor + step), 204, 28)


def _accuracy_panel(key: str, family: str, rows: Sequence[AccuracyRow], plot: Plot) -> Chart:
    strengths = sorted({float(r.strength) for r in rows})
    ticks = strengths if len(strengths) <= 8 else plot.x.ticks(6)
    body = [
        text(4, 10, plot.y.label("accuracy, %"), "label"),
        plot.grid(),
        plot.base(ticks, plot.x.label("strength, 1/255")),
        _naive_line(rows, plot),
        _accuracy_line("chip", 3.0, rows, plot),
        _accuracy_line("float", -3.0, rows, plot),
    ]
    told = "; ".join(
        f"at {r.strength:g}/255 trained {accuracy(r.float_accuracy)} %, "
        f"chip {accuracy(r.chip_accuracy)} %"
        + ("" if r.naive_accuracy is None else f", naively {accuracy(r.naive_accuracy)} %")
        for r in rows
    )
    title = f"Accuracy under {family}: trained network and chip network"
    svg = figure(key, title, told, (320, 242), Markup("").join(body))
    return Chart(family, svg, rows[-1].bound_note)


def _accuracy_line(name: str, shift: float, rows: Sequence[AccuracyRow], plot: Plot) -> Markup:
    parts: list[Markup] = []
    track: list[Point] = []
    for row in rows:
        value, ends = row.float_accuracy, row.float_ci
        if name == "chip":
            value, ends = row.chip_accuracy, row.chip_ci
        x, y = plot.at(row.strength, 100 * value)
        track.append((x + shift, y))
        low, high = (plot.y(100 * end) for end in ends)
        parts += [line(x + shift, low, x + shift, high, "whisker"), _point(name, x + shift, y)]
    return group([path(track, "curve"), *parts], class_=f"s-{name}")


def _naive_line(rows: Sequence[AccuracyRow], plot: Plot) -> Markup:
    """Draw what the naive attack leaves of the trained network, if it was run."""
    track = [
        plot.at(row.strength, 100 * value)
        for row in rows
        if (value := row.naive_accuracy if row.strength else row.float_accuracy) is not None
    ]
    if all(row.naive_accuracy is None for row in rows):
        return Markup("")
    marks = [
        element("path", d=f"M{x - 4:g} {y:g}H{x + 4:g}M{x:g} {y - 4:g}V{y + 4:g}", class_="curve")
        for x, y in track[1:]
    ]
    return group([path(track, "curve"), *marks], class_="s-naive")


def _point(name: str, x: float, y: float) -> Markup:
    if name == "chip":
        return element("rect", x=x - 3.5, y=y - 3.5, width=7, height=7, class_="solid")
    return element("circle", cx=x, cy=y, r=3.6, class_="hollow")


def forest_scale(rows: Sequence[AccuracyRow]) -> Scale:
    """Return the common axis, in points, of the difference plots of all rows."""
    seen = [100 * abs(v) for r in rows for v in (r.difference, r.margin, *r.ci)]
    reach = 1.12 * max(seen, default=1.0) or 1.0
    return Scale(-reach, reach, 4, 176)


def forest(key: str, row: AccuracyRow, scale: Scale) -> Markup:
    """Draw one difference with its interval over the band in which it counts as equal."""
    left, right = scale(-100 * row.margin), scale(100 * row.margin)
    low, high = (scale(100 * end) for end in row.ci)
    parts = [
        element("rect", x=left, y=1, width=right - left, height=20, class_="band"),
        line(scale(0), 1, scale(0), 21, "axis"),
        line(low, 11, high, 11, "whisker"),
        _point("chip", scale(100 * row.difference), 11),
    ]
    told = f"{points(row.difference)} points, interval {interval(row.ci, points)}"
    title = f"Chip minus trained, {row.perturbation} {row.strength:g}/255"
    body = group(parts, class_="s-chip")
    return figure(key, title, told, (180, 22), body)
