"""Say where a network leaves the chip's number ranges: for which layers it can, how often it did.

u wraps and v saturates when they leave 24 bits, in every engine as on the chip. For a converted
network that is excluded by proof. The integers of a network from elsewhere are what they are, so
whoever reads one must know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.certify.ranges import certify_ranges
from spikeproof.engines.numpy_engine import at_step, lagged, layer_drive
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import INPUT_INDEX, ChipLayer, ChipNetwork
from spikeproof.text import counted


@dataclass(frozen=True)
class Overflow:
    """What one layer can do, and what it did on some samples.

    u_bound, v_bound: certified magnitudes in v-units, 0 where they fit. wrapped, saturated: how
    many of ``values`` values of u and v left their range on ``samples`` samples (0 if not run).
    """

    name: str
    u_bound: int
    v_bound: int
    wrapped: int = 0
    saturated: int = 0
    values: int = 0
    samples: int = 0

    @property
    def sentence(self) -> str:
        """Say it in a sentence."""
        can = [
            f"{key} could reach {bound:,} for some input and then {does} at {limit:,}"
            for key, bound, does, limit in (
                ("u", self.u_bound, "wraps", fx.WRAP_LIMIT),
                ("v", self.v_bound, "saturates", fx.STATE_MAX),
            )
            if bound
        ]
        text = f"{self.name}: {'; '.join(can)}, in every engine as on the chip"
        if not self.values:
            return f"{text}."
        did = [
            f"{counted(count, 'time')} ({count / self.values:.2%}) {what}"
            for count, what in ((self.wrapped, "u wrapped"), (self.saturated, "v saturated"))
            if count
        ]
        happened = " and ".join(did) if did else "it never happened"
        return f"{text}. On the self-test's {counted(self.samples, 'sample')} {happened}."


def possible_overflows(network: ChipNetwork) -> list[Overflow]:
    """Return the layers whose u or v leaves its range for some input, as far as can be proved."""
    found = []
    for bounds in certify_ranges(network):
        v_bound = max(-bounds.v_low, bounds.v_high)
        if bounds.u_bound >= fx.WRAP_LIMIT or v_bound > fx.STATE_MAX:
            u_bound = bounds.u_bound if bounds.u_bound >= fx.WRAP_LIMIT else 0
            v_bound = v_bound if v_bound > fx.STATE_MAX else 0
            found.append(Overflow(bounds.name, u_bound, v_bound))
    return found


def count_overflows(network: ChipNetwork, x: NDArray[np.uint8]) -> list[Overflow]:
    """Return the same layers with how often it happened on ``x``.

    Args:
        network: a legal network.
        x: samples as an engine takes them. They are run only if some layer can overflow.
    """
    possible = possible_overflows(network)
    if not possible:
        return []
    traces = ReferenceEngine().run(network, x, trace=True).traces or {}
    counted = []
    for overflow in possible:
        index = next(i for i, layer in enumerate(network.layers) if layer.name == overflow.name)
        layer, trace = network.layers[index], traces[overflow.name]
        arriving = [
            lagged(_sent(network, source, traces, x), one.lag, network.timesteps)
            for one, source in zip(layer.inputs, network.sources[index], strict=True)
        ]
        wrapped, saturated = _count(layer, trace, arriving)
        counted.append(
            replace(
                overflow, wrapped=wrapped, saturated=saturated, values=trace.v.size, samples=len(x)
            )
        )
    return counted


def _sent(
    network: ChipNetwork, source: int, traces: dict[str, LayerTrace], x: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return what a source sent, (N, T or 1, ...); pixels stay the same."""
    if source == INPUT_INDEX:
        return x[:, None] if network.coding == "pixels" else x
    spikes = traces[network.layers[source].name].s
    assert spikes is not None  # a readout is the source of nothing
    return spikes


def _count(
    layer: ChipLayer, trace: LayerTrace, arriving: list[NDArray[np.uint8]]
) -> tuple[int, int]:
    """Do each step again from the recorded state, without wrap and clip, and count what leaves.

    ``arriving``: what each connection carries, (N, T or 1, ...).
    """
    wrapped = saturated = 0
    current, bias = layer_drive(layer, arriving)
    u = np.zeros((len(trace.v), *layer.shape), np.int64)
    v = u + layer.neuron.initial
    for t in range(trace.v.shape[1]):
        raw = fx.scale_toward_zero(u, layer.neuron.u_keep) + at_step(current, t)
        wrapped += int(((raw > fx.WRAP_LIMIT) | (raw <= -fx.WRAP_LIMIT)).sum())
        u = trace.u[:, t].astype(np.int64)
        moved = fx.scale_toward_zero(v, layer.neuron.leak_at(t)) + u
        saturated += int((np.abs(moved + at_step(bias, t)) > fx.STATE_MAX).sum())
        v = trace.v[:, t].astype(np.int64)
        if trace.s is not None:
            v = np.where(trace.s[:, t] > 0, layer.neuron.after_spike(v), v)
    return wrapped, saturated
