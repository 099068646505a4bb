"""Tell what the network needs of a chip: cores, neurons, weights, and operations per image."""

from __future__ import annotations

from spikeproof.document import numbers as n
from spikeproof.document.shown import Head, Table, by_columns
from spikeproof.text import counted
from spikeproof.verify.document import Report
from spikeproof.verify.operations import LayerOperations

Work = tuple[str, float | None, float | None, LayerOperations]
"""A layer, its neurons and synapses, and what it does for one image."""


def fit_table(report: Report) -> Table:
    """Compare what the network needs with the published limits of each chip."""
    return by_columns(
        "What the network needs of each chip",
        report.network.chip_fit,
        (Head("resource", "name"), lambda r: r.resource),
        (Head("needed"), lambda r: n.integer(r.needed)),
        (Head("available"), lambda r: n.integer(r.available)),
        (Head("used", unit="%"), lambda r: _share(r.needed, r.available, n.rate)),
        (Head("fits", "text"), lambda r: n.anything(r.fits)),
        group=lambda r: r.chip + (f" (limits: {r.source})" if r.source else ""),
    )


def connection_table(report: Report) -> Table:
    """List what each layer of a graph reads, and what delays that needs."""
    return by_columns(
        "What each layer reads",
        report.network.connections,
        (Head("layer", "name"), lambda r: r.layer),
        (Head("reads", "text"), lambda r: r.source),
        (Head("arrives later", unit="steps"), lambda r: n.integer(r.lag)),
        (Head("synaptic delay", unit="steps"), lambda r: n.integer(r.delay)),
        (Head("kind", "text"), lambda r: r.kind),
        (Head("weights"), lambda r: n.integer(r.weights)),
        (Head("exponent"), lambda r: n.integer(r.exponent)),
        (Head("runs on", "text"), lambda r: r.portability),
    )


def operation_table(report: Report) -> Table:
    """List what one image costs in each layer, on average, and in all."""
    layers, work = report.network.layers, report.network.operations
    sizes = {row.layer: (n.finite(row.neurons), n.finite(row.synapses)) for row in layers}
    rows: list[Work] = [(row.name, *sizes.get(row.name, (None, None)), row) for row in work]
    if len(rows) > 1:
        total = LayerOperations(
            name="in all",
            spikes=sum(row.spikes or 0 for row in work),
            synaptic=sum(row.synaptic for row in work),
            synaptic_most=sum(row.synaptic_most for row in work),
            host=sum(row.host for row in work),
        )
        neurons, synapses = (sum(pair[i] or 0 for pair in sizes.values()) for i in (0, 1))
        rows.append((total.name, neurons, synapses, total))
    images = report.network.operations_samples
    mean = f", mean of {counted(images, 'clean image')}" if images is not None else ""
    return by_columns(
        f"What one image costs{mean}",
        rows,
        (Head("layer", "name"), lambda r: r[0]),
        (Head("neurons"), lambda r: n.integer(r[1])),
        (Head("synapses"), lambda r: n.integer(r[2])),
        (Head("spikes fired"), lambda r: n.integer(r[3].spikes)),
        (Head("synaptic operations"), lambda r: n.integer(r[3].synaptic)),
        (
            Head("share of the most possible", unit="%"),
            lambda r: _share(r[3].synaptic, r[3].synaptic_most, n.percent),
        ),
        (Head("multiplications on the host"), lambda r: n.integer(r[3].host)),
    )


def _share(part: float | None, whole: float | None, form: n.Formatter) -> str:
    return n.MISSING if part is None or not whole else form(part / whole)
