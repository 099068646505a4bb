"""Draw the scaling figures as one SVG file that stands alone."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from spikeproof.bench.document import Point, Scaling, Series
from spikeproof.io.marks import DRAWING_MARK
from spikeproof.report.svg import Plot, coordinate, element, figure, group, padded, path, text

_WIDTH, _HEIGHT = 320, 240
_STYLE = """
svg{font:11.5px system-ui,sans-serif;background:#fff}
text{fill:#555}text.label{fill:#222}.grid{stroke:#e3e3e3}.axis{stroke:#888}
.curve{fill:none;stroke:#1f6f8b;stroke-width:1.6}.memory .curve{stroke:#b4552d}
.dot{fill:#1f6f8b}.memory .dot{fill:#b4552d}
"""


def draw(document: Scaling) -> str:
    """Return the file: time over each axis, then memory over synapses, all logarithmic."""
    panels = [
        _panel(f"time-{series.axis}", series, lambda p: 1e3 * p.seconds, "ms per sample", "time")
        for series in document.series
    ] + [
        _panel("memory", series, lambda p: p.peak_bytes / 2**20, "peak memory, MiB", "memory")
        for series in document.series
        if series.axis == "synapses"
    ]
    placed = [
        element("g", panel, transform=f"translate({coordinate(i * _WIDTH)} 0)")
        for i, panel in enumerate(panels)
    ]
    width = _WIDTH * len(panels)
    svg = element(
        "svg",
        element("style", Markup(_STYLE)),
        Markup("").join(placed),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {_HEIGHT}",
        width=width,
        height=_HEIGHT,
    )
    return f"{DRAWING_MARK}{svg}\n"


def _panel(
    key: str, series: Series, value: Callable[[Point], float], label: str, class_: str
) -> Markup:
    axis = series.axis
    size, name = (1e-6, "million synapses") if axis == "synapses" else (1.0, axis)
    data = [(size * p.size(axis), value(p)) for p in series.points]
    plot = Plot(
        padded([x for x, _ in data], 52, _WIDTH - 14, log=True),
        padded([y for _, y in data], 188, 34, log=True),
    )
    dots = [plot.at(x, y) for x, y in data]
    title = f"{label} over {axis}"
    body = [
        text(8, 18, title, "label"),
        plot.grid(),
        plot.base(plot.x.ticks(), name),
        group(
            [
                path(dots, "curve"),
                *(element("circle", cx=x, cy=y, r=3, class_="dot") for x, y in dots),
            ],
            class_=class_,
        ),
    ]
    told = "; ".join(f"{x:,.4g}: {y:.4g}" for x, y in data)
    return figure(key, title, told, (_WIDTH, _HEIGHT), Markup("").join(body))
