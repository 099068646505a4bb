"""Say of a chip network what each layer reads, as documents hold it."""

from __future__ import annotations

from spikeproof.document.values import Record, Text
from spikeproof.ir.chip import INPUT_INDEX, ChipLayer, ChipNetwork
from spikeproof.ir.graph import delays
from spikeproof.ir.limits import DELAY_MAX


class ConnectionRow(Record):
    """One connection that feeds a layer."""

    layer: Text
    source: Text
    """The layer it comes from, or "the input"."""
    lag: int
    """Steps by which it arrives later, on the layer's own clock."""
    delay: int
    """Steps a chip's synapses hold its spikes back, so that they do."""
    kind: Text
    weights: int
    weight_range: list[int]
    exponent: int
    portability: Text
    """"portable", or "simulator only": no synaptic delay of a chip is so long, or so short."""


def connection_rows(network: ChipNetwork) -> list[list[ConnectionRow]]:
    """Return one row for each connection of each layer."""
    found = zip(network.layers, network.sources, delays(network), strict=True)
    return [_rows(network, layer, sources, held) for layer, sources, held in found]


def _rows(
    network: ChipNetwork, layer: ChipLayer, sources: tuple[int, ...], held: tuple[int, ...]
) -> list[ConnectionRow]:
    rows = []
    for one, source, delay in zip(layer.inputs, sources, held, strict=True):
        weight = one.synapse.weight
        row = ConnectionRow(
            layer=layer.name,
            source="the input" if source == INPUT_INDEX else network.layers[source].name,
            lag=one.lag,
            delay=delay,
            kind=one.kind,
            weights=int(weight.size),
            weight_range=[int(weight.min()), int(weight.max())],
            exponent=one.synapse.exponent,
            portability="portable" if 0 <= delay <= DELAY_MAX else "simulator only",
        )
        rows.append(row)
    return rows


def graph_rows(network: ChipNetwork) -> list[ConnectionRow]:
    """Return one row for each connection; none where each layer reads the one before, at once."""
    rows = [row for layer in connection_rows(network) for row in layer]
    chain = all(sources == (i - 1,) for i, sources in enumerate(network.sources))
    return [] if chain and not any(row.lag for row in rows) else rows
