"""Draw inline SVG: escaped elements, linear and logarithmic scales, axes, accessible figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from spikeproof.document.numbers import SUPERSCRIPT, significant

Point = tuple[float, float]
_DECADES = 1e-12
"""Smallest share of the largest value that a log axis still shows apart from zero."""


def coordinate(value: float) -> str:
    """Write a coordinate with at most two decimals, so that equal drawings are equal bytes."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def element(name: str, *children: str, **attributes: object) -> Markup:
    """Build one element; text and attribute values are escaped, Markup children are not.

    ``class_`` becomes ``class``; other underscores become hyphens; floats are rounded.
    """
    parts = [name]
    for key, value in attributes.items():
        text = coordinate(value) if isinstance(value, (int, float)) else str(value)
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    head = " ".join(parts)
    if not children:
        return Markup(f"<{head}/>")
    body = "".join(str(escape(child)) for child in children)
    return Markup(f"<{head}>{body}</{name}>")


def group(children: Iterable[Markup], **attributes: object) -> Markup:
    """Wrap elements in ``<g>``; empty when there are none."""
    body = Markup("").join(children)
    return element("g", body, **attributes) if body else Markup("")


def tick_labels(values: Sequence[float]) -> list[str]:
    """Write axis values as short as they can be, all in the same manner."""
    powers = [math.log10(v) if v > 0 else 0.5 for v in values]
    whole = all(abs(p - round(p)) < 1e-9 for p in powers)
    if whole and powers and not (min(powers) > -2.5 and max(powers) < 4.5):
        return ["10" + str(round(p)).translate(SUPERSCRIPT) for p in powers]
    return [_tick_label(v) for v in values]


def _tick_label(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        return significant(value, 1)
    return f"{value:,g}".replace("-", "\N{MINUS SIGN}")


def text(x: float, y: float, content: str, class_: str = "tick", anchor: str = "start") -> Markup:
    """Write a label."""
    return element("text", content, x=x, y=y, class_=class_, text_anchor=anchor)


def path(points: Sequence[Point], class_: str) -> Markup:
    """Join points with straight lines; empty below two points."""
    if len(points) < 2:
        return Markup("")
    line = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return element("path", d=f"M{line}", class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Draw one line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def shorten(label: str, limit: int) -> str:
    """Cut a label that would not fit; the full text stands in the table beside the chart."""
    return label if len(label) <= limit else label[: limit - 1] + "…"


def figure(key: str, title: str, description: str, size: tuple[int, int], body: Markup) -> Markup:
    """Close a drawing: scalable, with a title and a description for those who cannot see it."""
    width, height = size
    return element(
        "svg",
        element("title", title or " ", id=f"{key}-t"),
        element("desc", description or " ", id=f"{key}-d"),
        body,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{key}-t {key}-d",
        class_="chart",
    )


@dataclass(frozen=True)
class Scale:
    """Map values to pixels; ``low`` and ``high`` are the ends of the axis (positive if log)."""

    low: float
    high: float
    start: float
    end: float
    kind: Literal["linear", "log"] = "linear"

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        if self.kind == "log":
            span = math.log(self.high / self.low)
            share = math.log(max(value, self.low) / self.low) / span if span else 0.5
        else:
            span = self.high - self.low
            share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def label(self, text: str) -> str:
        """Return the label of the axis with the kind of scale it has."""
        return f"{text} ({self.kind})"

    def ticks(self, count: int = 4) -> list[float]:
        """Return round values inside the axis."""
        if self.kind == "linear":
            return linear_ticks(self.low, self.high, count)
        return log_ticks(self.low, self.high, count)


def linear_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return multiples of 1, 2, 2.5 or 5 x 10^k between ``low`` and ``high``."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return powers of ten, or 1-2-5 or 1-3 steps where the axis holds too few of them."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    inside: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [m * 10.0**p for p in powers for m in steps]
        inside = [v for v in found if low * 0.999 <= v <= high * 1.001]
        if len(inside) >= 3:
            break
    return inside[:: max(1, -(-len(inside) // (count + 2)))]


def padded(values: Sequence[float], start: float, end: float, log: bool) -> Scale:
    """Return a scale that holds all values with a little air; log needs positive values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log and low > 0:
        low, high = max(low, high * _DECADES), min(high, 1e300)
        air = max((high / low) ** 0.06, 1.15)
        return Scale(low / air, high * air, start, end, "log")
    air = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low - air, high + air, start, end)


@dataclass(frozen=True)
class Plot:
    """Two scales and the frame around them."""

    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> Point:
        """Return the pixel of a data point."""
        return self.x(x), self.y(y)

    def grid(self, ticks: Sequence[float] | None = None) -> Markup:
        """Draw horizontal rules with their values at the left."""
        parts = []
        values = self.y.ticks() if ticks is None else ticks
        for value, label in zip(values, tick_labels(values), strict=True):
            y = self.y(value)
            parts.append(line(self.x.start, y, self.x.end, y, "grid"))
            parts.append(text(self.x.start - 6, y + 3.5, label, anchor="end"))
        return Markup("").join(parts)

    def base(self, ticks: Sequence[float], label: str) -> Markup:
        """Draw the horizontal axis at the bottom with its ticks and label."""
        bottom = self.y.start
        parts = [line(self.x.start, bottom, self.x.end, bottom, "axis")]
        for value, name in zip(ticks, tick_labels(ticks), strict=True):
            x = self.x(value)
            parts.append(line(x, bottom, x, bottom + 4, "axis"))
            parts.append(text(x, bottom + 16, name, anchor="middle"))
        middle = (self.x.start + self.x.end) / 2
        parts.append(text(middle, bottom + 32, label, "label", "middle"))
        return Markup("").join(parts)
