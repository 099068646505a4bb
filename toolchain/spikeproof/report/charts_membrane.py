"""Draw the perturbation inside the membranes: difference against size, and energy over time."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from spikeproof.document.numbers import finite, significant
from spikeproof.report.charts import Chart
from spikeproof.report.svg import (
    Plot,
    Point,
    Scale,
    element,
    figure,
    line,
    linear_ticks,
    padded,
    path,
    shorten,
    text,
)
from spikeproof.text import counted
from spikeproof.verify.checks.response import AttackMatch
from spikeproof.verify.config import MppdLimits
from spikeproof.verify.layer_match import Cloud, LayerMatch

MARKS = ("circle", "square", "triangle", "diamond", "plus", "bar")
MAX_POINTS = 200
_SHAPES = {
    "circle": "m-2.2 0a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0",
    "square": "m-2-2h4v4h-4z",
    "triangle": "m0-2.6l2.5 4.4h-5z",
    "diamond": "m0-2.9l2.9 2.9l-2.9 2.9l-2.9-2.9z",
    "plus": "m-.7-2.7h1.4v2h2v1.4h-2v2h-1.4v-2h-2v-1.4h2z",
    "bar": "m-2.8-.9h5.6v1.8h-5.6z",
}
_LEFT, _RIGHT, _WIDTH = 48, 292, 300


def mark(index: int) -> str:
    """Return the marker shape of the index-th perturbation."""
    return MARKS[index % len(MARKS)]


def swatch(index: int, curve: bool = False) -> Markup:
    """Draw the legend sign of the index-th perturbation; ``curve``: that of its curves."""
    style, shape = f"k{index % len(MARKS)}", _SHAPES[mark(index)]
    middle, box, width = (15, "0 2 30 10", 30) if curve else (7, "2 2 10 10", 14)
    signs = [element("path", d=f"M{middle} 7{shape}", class_=f"{style} dot")]
    if curve:
        signs.insert(0, element("path", d="M1 7H29", class_=f"{style} curve"))
    drawn = Markup("").join(signs)
    return element(
        "svg", drawn, viewBox=box, width=width, height=14, class_="swatch", aria_hidden="true"
    )


def layer_names(attacks: Sequence[AttackMatch]) -> list[str]:
    """Return the layers of all perturbations in order of first appearance."""
    return list(dict.fromkeys(layer.name for a in attacks for layer in a.layers))


def _of_layer(attacks: Sequence[AttackMatch], name: str) -> list[tuple[int, str, LayerMatch]]:
    return [
        (i, a.name, entry)
        for i, a in enumerate(attacks)
        for entry in a.layers
        if entry.name == name
    ]


# --- difference against size ----------------------------------------------------------------------


def residuals(cloud: Cloud) -> list[Point]:
    """Return (mean, difference in per cent of the trained value) of at most MAX_POINTS images.

    Images are chosen evenly. One whose value is missing, or zero in the trained network, has no
    relative difference and is left out.
    """
    both = [
        ((a + b) / 2, 100 * (b - a) / a)
        for a, b in zip(cloud.trained, cloud.chip, strict=False)
        if a and b is not None
    ]
    usable = [p for p in both if all(finite(v) is not None for v in p)]
    return usable[:: max(1, -(-len(usable) // MAX_POINTS))]


def mppd_residuals(attacks: Sequence[AttackMatch], limits: MppdLimits | None) -> list[Chart]:
    """Draw per layer how far chip and trained network differ, image by image, against the size."""
    charts = []
    for number, name in enumerate(layer_names(attacks)):
        sets = [(i, residuals(entry.scatter)) for i, _, entry in _of_layer(attacks, name)]
        if any(dots for _, dots in sets):
            charts.append(_residual_panel(f"residual-{number}", name, sets, limits))
    return charts


def _residual_panel(
    key: str, name: str, sets: list[tuple[int, list[Point]]], limits: MppdLimits | None
) -> Chart:
    sizes = [x for _, dots in sets for x, _ in dots]
    largest = max(abs(y) for _, dots in sets for _, y in dots)
    x = padded(sizes, _LEFT, _RIGHT, min(sizes) > 0 and max(sizes) > 8 * min(sizes))
    reach = 1.15 * largest or 1.0
    plot = Plot(x, Scale(-reach, reach, 196, 24))
    bounds = {}
    if limits is not None:
        bounds = {"half": 100 * limits.median_difference, "most": 100 * limits.p99_difference}
    body = [
        plot.grid(),
        *(
            line(x.start, plot.y(side * v), x.end, plot.y(side * v), f"limit-{style}")
            for style, v in bounds.items()
            if v <= reach
            for side in (-1, 1)
        ),
        line(x.start, plot.y(0), x.end, plot.y(0), "axis"),
        plot.base(x.ticks(3), x.label("mean MPPD of both networks, θ")),
        text(4, 10, plot.y.label("chip \N{MINUS SIGN} trained, %"), "label"),
    ]
    for index, dots in sets:
        shape = _SHAPES[mark(index)]
        drawn = "".join(_stamp(*plot.at(*d), shape) for d in dots)
        if drawn:
            body.append(element("path", d=drawn, class_=f"k{index % len(MARKS)} dot"))
    total = sum(len(dots) for _, dots in sets)
    told = (
        f"{counted(total, 'image')}; the largest difference is {significant(largest)} % of the "
        "trained network's value. Figures in the table below."
    )
    outside = [f"±{v:g} %" for v in bounds.values() if v > reach]
    if outside:
        told += f" The limits {' and '.join(outside)} lie outside the panel."
    title = f"Layer {name}: difference in MPPD between chip and trained network, against its size"
    return Chart(name, figure(key, title, told, (_WIDTH, 236), Markup("").join(body)))


def _stamp(x: float, y: float, shape: str) -> str:
    return f"M{x:.1f} {y:.1f}{shape}"


# --- energy over time -----------------------------------------------------------------------------


def energy_curves(attacks: Sequence[AttackMatch]) -> list[Chart]:
    """Draw per layer how the energy develops, and below it how far the two networks differ."""
    charts = []
    for number, name in enumerate(layer_names(attacks)):
        sets = [(i, a, entry.energy) for i, a, entry in _of_layer(attacks, name)]
        values = [v for _, _, e in sets for v in e.trained if v is not None]
        if values:
            charts.append(_energy_panel(f"energy-{number}", name, sets, values))
    return charts


def _energy_panel(
    key: str, name: str, sets: list[tuple[int, str, Cloud]], values: list[float]
) -> Chart:
    steps = max(max(len(e.trained), len(e.chip)) for _, _, e in sets)
    log = min(values) > 0 and max(values) > 8 * min(values)
    x = Scale(0, max(steps - 1, 1), _LEFT + 4, _RIGHT - 6)
    level = Plot(x, padded(values, 146, 24, log))
    apart = {i: _relative(e) for i, _, e in sets}
    reach = 1.2 * max((abs(y) for dots in apart.values() for _, y in dots), default=0.0) or 1.0
    below = Plot(x, Scale(-reach, reach, 246, 186))
    ticks = [float(t) for t in range(steps)] if steps <= 8 else linear_ticks(0, steps - 1, 5)
    body = [
        level.grid(),
        text(4, 10, level.y.label("energy, trained network, θ²"), "label"),
        below.grid(),
        line(x.start, below.y(0), x.end, below.y(0), "axis"),
        text(4, 172, below.y.label("chip \N{MINUS SIGN} trained, %"), "label"),
        below.base(ticks, "timestep"),
    ]
    told = []
    for index, attack, energy in sets:
        style, shape = f"k{index % len(MARKS)}", _SHAPES[mark(index)]
        track = [
            level.at(t, v)
            for t, v in enumerate(energy.trained)
            if v is not None and not (log and v <= 0)
        ]
        for points_ in (track, [below.at(*d) for d in apart[index]]):
            body.append(path(points_, f"{style} curve"))
            if points_:
                drawn = "".join(_stamp(*p, shape) for p in points_)
                body.append(element("path", d=drawn, class_=f"{style} dot"))
        last = [
            significant(track[-1] if track else None) for track in (energy.trained, energy.chip)
        ]
        told.append(f"{shorten(attack, 40)}: last step trained {last[0]}, chip {last[1]}")
    title = f"Layer {name}: perturbation energy over time, and difference between the networks"
    return Chart(name, figure(key, title, "; ".join(told), (_WIDTH, 284), Markup("").join(body)))


def _relative(energy: Cloud) -> list[Point]:
    """Return (timestep, chip minus trained in per cent) where the trained network has energy."""
    return [
        (float(t), y)
        for t, (a, b) in enumerate(zip(energy.trained, energy.chip, strict=False))
        if a and b is not None and (y := finite(100 * (b - a) / a)) is not None
    ]
