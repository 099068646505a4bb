"""What the float network sends on calibration images: the input of each layer that is rounded."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.quantise import FloatLayer
from spikeproof.convert.score import Inputs, run_layer
from spikeproof.engines.floats import run_float
from spikeproof.engines.numpy_engine import lagged
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.ir.graph import components
from spikeproof.ir.limits import INPUT
from spikeproof.numerics.affine import Parallel

_CHUNK = 64


class Activity:
    """Spikes of the float network, kept until the last layer that reads them has had them."""

    def __init__(
        self, folded: FloatNetwork, layers: list[FloatLayer], images: NDArray[np.uint8]
    ) -> None:
        """Begin with images (N, C, H, W); layers on a cycle are run together, all at once."""
        self.steps = folded.timesteps
        names = [layer.name for layer in layers]
        self.before = dict(zip(names, [INPUT, *names[:-1]], strict=True))
        self.readers = {
            layer.name: [self._source(layer, k) for k in range(len(layer.wires))]
            for layer in layers
        }
        self.sent: dict[str, NDArray[np.uint8]] = {}
        if _is_cyclic(folded):
            self.sent = _spikes(folded, images)
        self.sent[INPUT] = images[:, None]

    def of(self, layer: FloatLayer) -> Inputs:
        """Return what a layer receives, (N, T or 1, *shape); several sources flat, in a row."""
        arriving = [
            lagged(self.sent[source], wire.lag, self.steps)
            for source, wire in zip(self.readers[layer.name], layer.wires, strict=True)
        ]
        if not isinstance(layer.linear, Parallel):
            return arriving[0]
        steps = max(one.shape[1] for one in arriving)
        form = (len(arriving[0]), steps)
        full = [np.broadcast_to(one, (*form, *one.shape[2:])) for one in arriving]
        flat = [one.reshape(*form, prod(one.shape[2:])) for one in full]
        return np.concatenate(flat, axis=2)

    def run(self, layer: FloatLayer) -> None:
        """Find the spikes of a layer whose input was asked for, and drop what nobody reads now."""
        if layer.name not in self.sent and isinstance(layer.end, Lif):
            self.sent[layer.name] = run_layer(layer, self.of(layer))
        del self.readers[layer.name]
        wanted = {source for sources in self.readers.values() for source in sources}
        self.sent = {name: spikes for name, spikes in self.sent.items() if name in wanted}

    def _source(self, layer: FloatLayer, k: int) -> str:
        return layer.wires[k].source or self.before[layer.name]


def _is_cyclic(folded: FloatNetwork) -> bool:
    sources = [tuple(one.source for one in incoming) for incoming in folded.incoming]
    return any(len(part) > 1 for part in components(sources))


def _spikes(folded: FloatNetwork, images: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    parts = [
        run_float(folded, images[start : start + _CHUNK], trace=True).traces
        for start in range(0, len(images), _CHUNK)
    ]
    found: dict[str, NDArray[np.uint8]] = {}
    for name, trace in parts[0].items():
        if trace.s is not None:
            pieces = [part[name].s for part in parts]
            found[name] = np.concatenate([piece for piece in pieces if piece is not None])
    return found
