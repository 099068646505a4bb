"""What the float network sends on calibration images: the input of each layer that is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.quantise import FloatLayer
from spikeproof.convert.score import Inputs
from spikeproof.engines.floats import apply_node, run_float, run_lif
from spikeproof.engines.numpy_engine import lagged
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.ir.limits import INPUT

_CHUNK = 64
_CHUNK_VALUES = 1 << 22


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
        arriving = self._arriving(layer)
        if len(arriving) == 1:
            return arriving[0]
        form = (len(arriving[0]), max(one.shape[1] for one in arriving))
        full = [np.broadcast_to(one, (*form, *one.shape[2:])) for one in arriving]
        flat = [one.reshape(*form, prod(one.shape[2:])) for one in full]
        return np.concatenate(flat, axis=2)

    def run(self, layer: FloatLayer) -> None:
        """Find the spikes of a layer whose input was asked for, and drop what nobody reads now."""
        if layer.name not in self.sent and isinstance(layer.end, Lif):
            self.sent[layer.name] = spikes_of(layer, self._arriving(layer))
        del self.readers[layer.name]
        wanted = {source for sources in self.readers.values() for source in sources}
        self.sent = {name: spikes for name, spikes in self.sent.items() if name in wanted}

    def _arriving(self, layer: FloatLayer) -> list[Inputs]:
        return [
            lagged(self.sent[source], wire.lag, self.steps)
            for source, wire in zip(self.readers[layer.name], layer.wires, strict=True)
        ]

    def _source(self, layer: FloatLayer, k: int) -> str:
        return layer.wires[k].source or self.before[layer.name]


def spikes_of(layer: FloatLayer, arriving: Sequence[Inputs]) -> Inputs:
    """Return a layer's spikes (N, T, *neurons) for what its maps receive, (N, T or 1, *shape).

    In float64, as whoever verifies a conversion computes them: in single precision a state near
    the threshold now and then falls on the other side, and layers behind it tell more and more.
    """
    if not isinstance(layer.end, Lif):
        raise TypeError("a readout has no spikes")
    size = max(1, _CHUNK_VALUES // (layer.timesteps * prod(layer.shape)))
    found = []
    for start in range(0, len(arriving[0]), size):
        total: NDArray[np.float64] | None = None
        for (part, shape, wire), one in zip(layer.parts, arriving, strict=True):
            x = one[start : start + size].astype(np.float64)
            x = x / 255 if layer.is_pixels(wire) else x
            current = apply_node(part, x.reshape(-1, *shape))
            current = current.reshape(*x.shape[:2], *current.shape[1:])
            total = current if total is None else total + current
        assert total is not None
        found.append(np.asarray(run_lif(layer.end, total, layer.timesteps).s))
    return np.concatenate(found)


def _is_cyclic(folded: FloatNetwork) -> bool:
    return any(len(part) > 1 for part in folded.order.parts)


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
