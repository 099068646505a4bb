"""Draw the perturbation inside the membranes: clouds of images, energy over time."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from spikeproof.report.charts import Chart
from spikeproof.report.data import Attack, Cloud, MatchLayer
from spikeproof.report.numbers import finite, integer
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


def mark(index: int) -> str:
    """Return the marker shape of the index-th perturbation."""
    return MARKS[index % len(MARKS)]


def swatch(index: int) -> Markup:
    """Draw the legend sign of the index-th perturbation."""
    shape = element("path", d=f"M7 7{_SHAPES[mark(index)]}", class_=f"k{index % len(MARKS)} dot")
    return element(
        "svg", shape, viewBox="2 2 10 10", width=14, height=14, class_="swatch", aria_hidden="true"
    )


def layer_names(attacks: Sequence[Attack]) -> list[str]:
    """Return the layers of all perturbations in order of first appearance."""
    return list(dict.fromkeys(layer.name for a in attacks for layer in a.layers))


def _of_layer(attacks: Sequence[Attack], name: str) -> list[tuple[int, str, MatchLayer]]:
    return [
        (i, a.name, entry)
        for i, a in enumerate(attacks)
        for entry in a.layers
        if entry.name == name
    ]


def pairs(cloud: Cloud) -> list[Point]:
    """Return the complete (trained, chip) pairs, at most MAX_POINTS evenly chosen ones."""
    both = [
        (f, c)
        for a, b in zip(cloud.trained, cloud.chip, strict=False)
        if (f := finite(a)) is not None and (c := finite(b)) is not None
    ]
    stride = max(1, -(-len(both) // MAX_POINTS))
    return both[::stride]


def mppd_clouds(attacks: Sequence[Attack]) -> list[Chart]:
    """Draw per layer the perturbation of every image, trained against chip, with the identity."""
    charts = []
    for number, name in enumerate(layer_names(attacks)):
        sets = [(i, pairs(entry.scatter)) for i, _, entry in _of_layer(attacks, name)]
        everything = [value for _, points_ in sets for pair in points_ for value in pair]
        if everything:
            charts.append(_cloud(f"cloud-{number}", name, sets, everything))
    return charts


def _cloud(
    key: str, name: str, sets: list[tuple[int, list[Point]]], everything: list[float]
) -> Chart:
    positive = [v for v in everything if v > 0]
    log = bool(positive) and max(positive) > 8 * min(positive)
    shown = positive if log else everything
    x = padded(shown, 46, 236, log)
    plot = Plot(x, Scale(x.low, x.high, 204, 20, x.kind))
    ticks = x.ticks(3)
    body = [
        plot.grid(ticks),
        plot.base(ticks, "trained"),
        text(4, 8, "chip", "label"),
        line(x.start, plot.y.start, x.end, plot.y.end, "identity"),
    ]
    hidden = 0
    for index, dots in sets:
        visible = [d for d in dots if not log or min(d) > 0]
        hidden += len(dots) - len(visible)
        shape = _SHAPES[mark(index)]
        drawn = "".join(_stamp(*plot.at(*d), shape) for d in visible)
        if drawn:
            body.append(element("path", d=drawn, class_=f"k{index % len(MARKS)} dot"))
    total = sum(len(dots) for _, dots in sets)
    told = f"{integer(total)} images around the identity line; figures in the table above."
    if hidden:
        told += f" {integer(hidden)} of them are zero on one side and lie outside the log axes."
    title = f"Layer {name}: membrane perturbation distance, trained against chip"
    return Chart(name, figure(key, title, told, (244, 242), Markup("").join(body)))


def _stamp(x: float, y: float, shape: str) -> str:
    return f"M{x:.1f} {y:.1f}{shape}"


def energy_curves(attacks: Sequence[Attack]) -> list[Chart]:
    """Draw per layer how the perturbation energy develops over the timesteps."""
    charts = []
    for number, name in enumerate(layer_names(attacks)):
        sets = [(i, a, entry.energy) for i, a, entry in _of_layer(attacks, name)]
        values = [
            v for _, _, e in sets for raw in (*e.trained, *e.chip) if (v := finite(raw)) is not None
        ]
        if values:
            charts.append(_energy_panel(f"energy-{number}", name, sets, values))
    return charts


def _energy_panel(
    key: str, name: str, sets: list[tuple[int, str, Cloud]], values: list[float]
) -> Chart:
    steps = max(max(len(e.trained), len(e.chip)) for _, _, e in sets)
    log = min(values) > 0 and max(values) > 8 * min(values)
    x = Scale(1, max(steps, 2), 54, 232)
    plot = Plot(x, padded(values, 186, 20, log))
    ticks = [float(t) for t in range(1, steps + 1)] if steps <= 8 else linear_ticks(1, steps, 5)
    body = [plot.grid(), plot.base(ticks, "timestep"), text(4, 8, "energy", "label")]
    told = []
    for index, attack, energy in sets:
        for side, track in (("chip", energy.chip), ("float", energy.trained)):
            points_ = [
                plot.at(t + 1, v)
                for t, raw in enumerate(track)
                if (v := finite(raw)) is not None and not (log and v <= 0)
            ]
            body.append(path(points_, f"k{index % len(MARKS)} energy-{side}"))
        told.append(
            f"{shorten(attack, 40)}: last step trained {_last(energy.trained)}, "
            f"chip {_last(energy.chip)}"
        )
    title = f"Layer {name}: perturbation energy over time, trained and chip"
    return Chart(name, figure(key, title, "; ".join(told), (244, 224), Markup("").join(body)))


def _last(track: Sequence[float | None]) -> str:
    value = finite(track[-1]) if track else None
    return "unknown" if value is None else f"{value:.3g}"
