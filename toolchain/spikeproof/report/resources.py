"""Tell what the network needs of a chip: cores, neurons, weights, and operations per image."""

from __future__ import annotations

from spikeproof.document import numbers as n
from spikeproof.document.shown import Head, Line, Table, lines
from spikeproof.verify.document import Report


def fit_table(report: Report) -> Table:
    """Compare what the network needs with the published limits of each chip."""
    head = (
        Head("resource", "name"),
        Head("needed"),
        Head("available"),
        Head("used", unit="%"),
        Head("fits", "text"),
    )
    rows = []
    for row in report.network.chip_fit:
        need, have = n.finite(row.needed), n.finite(row.available)
        used = n.rate(need / have) if need is not None and have else n.MISSING
        counts = (n.integer(row.needed), n.integer(row.available), used, n.anything(row.fits))
        source = f" (limits: {row.source})" if row.source else ""
        rows.append(Line((row.resource, *counts), group=row.chip + source))
    return Table("What the network needs of each chip", head, tuple(rows))


def operation_table(report: Report) -> Table:
    """List what one image costs in each layer, on average, and in all."""
    head = (
        Head("layer", "name"),
        Head("neurons"),
        Head("synapses"),
        Head("spikes fired"),
        Head("synaptic operations"),
        Head("of the most possible", unit="%"),
        Head("multiplications on the host"),
    )
    converted = {row.layer: row for row in report.network.layers}
    rows: list[tuple[str, ...]] = []
    for row in report.network.operations:
        layer = converted.get(row.name)
        rows.append(
            (
                row.name,
                n.anything(layer.neurons if layer else None),
                n.integer(layer.synapses if layer else None),
                n.integer(row.spikes),
                n.integer(row.synaptic),
                _share(row.synaptic, row.synaptic_most),
                n.integer(row.host),
            )
        )
    if len(rows) > 1:
        rows.append(_total(report))
    images = report.network.operations_samples
    counted = f", mean of {n.integer(images)} clean images" if images is not None else ""
    return Table(f"What one image costs{counted}", head, lines(rows))


def _total(report: Report) -> tuple[str, ...]:
    layers, work = report.network.layers, report.network.operations
    neurons = [v for row in layers if (v := n.finite(row.neurons)) is not None]
    synapses = [v for row in layers if (v := n.finite(row.synapses)) is not None]
    done, most = (
        _sum([getattr(row, key) for row in work]) for key in ("synaptic", "synaptic_most")
    )
    return (
        "in all",
        n.integer(sum(neurons)),
        n.integer(sum(synapses)),
        n.integer(_sum([row.spikes for row in work])),
        n.integer(done),
        _share(done, most),
        n.integer(_sum([row.host for row in work])),
    )


def _sum(values: list[float | None]) -> float:
    return sum(v for raw in values if (v := n.finite(raw)) is not None)


def _share(done: float | None, most: float | None) -> str:
    part, whole = n.finite(done), n.finite(most)
    return n.percent(part / whole) if part is not None and whole else n.MISSING
