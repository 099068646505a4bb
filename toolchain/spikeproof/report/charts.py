"""Draw accuracy before and after conversion: curves over strength, differences over a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from spikeproof.document.numbers import accuracy, finite, interval, points
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
from spikeproof.verify.checks.accuracy import AccuracyRow


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
    curves: list[list[AccuracyRow]] = []
    for family in families:
        own = [r for r in rows if r.perturbation == family]
        curves.append(_clean_start(clean, own) + own)
    curves = curves or [clean]
    y = _accuracy_axis([row for curve in curves for row in curve])
    reach = max((finite(r.strength) or 0.0 for r in rows), default=0.0) or 1.0
    x = Scale(-0.05 * reach, 1.04 * reach, 40, 314)
    charts = []
    for index, (family, curve) in enumerate(zip(families or ["clean"], curves, strict=True)):
        ordered = sorted(curve, key=lambda r: finite(r.strength) or 0.0)
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
    seen: list[float] = []
    for row in rows:
        for value in (
            row.float_accuracy,
            row.chip_accuracy,
            *row.float_ci,
            *row.chip_ci,
        ):
            seen.append(100 * value)
    low, high = min(seen, default=0.0), max(seen, default=100.0)
    step = 10 if high - low > 12 else 5
    floor = max(0.0, step * ((low - 0.5) // step))
    ceiling = min(100.0, step * -((-high - 0.5) // step))
    return Scale(floor, max(ceiling, floor + step), 204, 28)


def _accuracy_panel(key: str, family: str, rows: Sequence[AccuracyRow], plot: Plot) -> Chart:
    strengths = sorted({s for r in rows if (s := finite(r.strength)) is not None})
    body = [
        text(4, 10, plot.y.label("accuracy, %"), "label"),
        plot.grid(),
        plot.base(
            strengths if len(strengths) <= 8 else plot.x.ticks(6), plot.x.label("strength, 1/255")
        ),
    ]
    for name, shift in (("chip", 3.0), ("float", -3.0)):
        body.append(_accuracy_line(name, shift, rows, plot))
    told = "; ".join(
        f"at {_strength(r)} trained {accuracy(r.float_accuracy)} %, "
        f"chip {accuracy(r.chip_accuracy)} %"
        for r in rows
    )
    title = f"Accuracy under {family}: trained network and chip network"
    svg = figure(key, title, told, (320, 242), Markup("").join(body))
    return Chart(family, svg, rows[-1].bound_note)


def _strength(row: AccuracyRow) -> str:
    return f"{row.strength:g}/255" if finite(row.strength) is not None else "unknown strength"


def _accuracy_line(name: str, shift: float, rows: Sequence[AccuracyRow], plot: Plot) -> Markup:
    parts: list[Markup] = []
    track: list[Point] = []
    for row in rows:
        mean, ends = (
            (row.chip_accuracy, row.chip_ci)
            if name == "chip"
            else (row.float_accuracy, row.float_ci)
        )
        value = finite(mean)
        if value is None:
            continue
        x, y = plot.at(finite(row.strength) or 0.0, 100 * value)
        track.append((x + shift, y))
        low, high = (finite(e) for e in ends) if ends else (None, None)
        if low is not None and high is not None:
            parts.append(
                line(x + shift, plot.y(100 * low), x + shift, plot.y(100 * high), "whisker")
            )
        parts.append(_point(name, x + shift, y))
    return group([path(track, "curve"), *parts], class_=f"s-{name}")


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
    parts = [line(scale(0), 1, scale(0), 21, "axis")]
    if (margin := finite(row.margin)) is not None:
        left, right = scale(-100 * margin), scale(100 * margin)
        band = element("rect", x=left, y=1, width=right - left, height=20, class_="band")
        parts.insert(0, band)
    low, high = (finite(e) for e in row.ci) if row.ci else (None, None)
    if low is not None and high is not None:
        parts.append(line(scale(100 * low), 11, scale(100 * high), 11, "whisker"))
    if (value := finite(row.difference)) is not None:
        parts.append(_point("chip", scale(100 * value), 11))
    told = f"{points(row.difference)} points, interval {interval(row.ci, points)}"
    title = f"Chip minus trained, {row.perturbation} {_strength(row)}"
    body = group(parts, class_="s-chip")
    return figure(key, title, told, (180, 22), body)
