"""A chip network as a float network in torch, the way a careful user would write its inference.

Weights and biases are divided by the threshold, so that neurons fire above 1; the chip's rounding,
wrapping and saturation are left out, everything else is the same: leak, hard reset to zero, strict
comparison, synaptic decay, tables. This is what the integer engines are compared with for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from spikeproof import fixedpoint as fx
from spikeproof.errors import UnsupportedError
from spikeproof.ir import chip

Style = Literal["loop", "merged", "channels_last"]
STYLES: tuple[Style, ...] = ("loop", "merged", "channels_last")


@dataclass(frozen=True, eq=False)
class TorchLayer:
    """One layer in floats.

    current: input (B, ...) to current (B, *neurons), bias included. leak, threshold: by step.
    keep: factor on the synaptic current from one step to the next (0: no filter). later: bias
    that enters v and not the filtered current, None where ``current`` holds it.
    """

    current: Callable[[Tensor], Tensor]
    leak: tuple[float, ...]
    threshold: tuple[float, ...]
    keep: float
    later: Tensor | None
    readout: bool
    weight: Tensor

    def step(self, t: int, drive: Tensor, state: list[Tensor | None]) -> Tensor:
        """Advance [u, v] by one step in place and return the spikes (of a readout: v)."""
        if self.keep:
            drive = drive.clone() if state[0] is None else state[0].mul_(self.keep).add_(drive)
            state[0] = drive
        v = drive.clone() if state[1] is None else state[1].mul_(self.leak[t]).add_(drive)
        if self.later is not None:
            v += self.later
        state[1] = v
        if self.readout:
            return v
        fired = v > self.threshold[t]
        v.masked_fill_(fired, 0)
        return fired.to(v.dtype)


class FloatForward:
    """Run a chip network in floats: eval, without gradients.

    Args:
        network: the chip network.
        style: "loop" goes through all layers step by step; "merged" through all steps layer by
            layer, with time and batch in one product; "channels_last" is the loop with the
            memory format oneDNN prefers for convolutions.
        dtype: float32, or float64 for comparisons.
        normalise: divide by the thresholds; False keeps the chip's integers.
    """

    def __init__(
        self,
        network: chip.ChipNetwork,
        style: Style = "loop",
        *,
        dtype: torch.dtype = torch.float32,
        normalise: bool = True,
    ) -> None:
        self.network, self.style, self.dtype = network, style, dtype
        steps = network.timesteps
        self.layers = [torch_layer(layer, steps, dtype, normalise) for layer in network.layers]

    @torch.inference_mode()
    def __call__(self, x: NDArray[np.uint8]) -> NDArray[Any]:
        """Return logits (B, K) of input as engines take it: v of a readout, or spike counts."""
        found = self._merged(x) if self.style == "merged" else self._loop(x)
        return found.flatten(1).numpy()

    def _loop(self, x: NDArray[np.uint8]) -> Tensor:
        states: list[list[Tensor | None]] = [[None, None] for _ in self.layers]
        raw = torch.from_numpy(x)
        pixels = self.network.coding == "pixels"
        constant = self.layers[0].current(self._input(raw)) if pixels else None
        count: Tensor | None = None
        signal = torch.empty(0)
        for t in range(self.network.timesteps):
            signal = torch.empty(0) if pixels else self._input(raw[:, t])
            for layer, state in zip(self.layers, states, strict=True):
                first = layer is self.layers[0]
                drive = constant if first and constant is not None else layer.current(signal)
                signal = layer.step(t, drive, state)
            if not self.layers[-1].readout:
                count = signal if count is None else count.add_(signal)
        return signal if count is None else count

    def _input(self, x: Tensor) -> Tensor:
        values = x.to(self.dtype)
        if self.style == "channels_last":
            values = values.contiguous(memory_format=torch.channels_last)
        return values

    def _merged(self, x: NDArray[np.uint8]) -> Tensor:
        """Go layer by layer; signals are (T, B, ...), or (1, B, ...) where nothing changes."""
        raw = torch.from_numpy(x)
        signal = (raw[None] if self.network.coding == "pixels" else raw.transpose(0, 1)).to(
            self.dtype
        )
        for layer in self.layers:
            length, batch = signal.shape[:2]
            drive = layer.current(signal.reshape(length * batch, *signal.shape[2:]))
            drive = drive.unflatten(0, (length, batch))
            state: list[Tensor | None] = [None, None]
            out = [
                layer.step(t, drive[t if length > 1 else 0], state)
                for t in range(self.network.timesteps)
            ]
            if layer.readout:
                return out[-1]
            signal = torch.stack(out)
        return signal.sum(0)


def torch_layer(
    layer: chip.ChipLayer, steps: int, dtype: torch.dtype, normalise: bool = True
) -> TorchLayer:
    """Return the float form of a layer."""
    neuron, synapse = layer.neuron, layer.synapse
    if not neuron.uniform:
        raise UnsupportedError(
            f"no plain form of {neuron.title} neurons that are not all alike", where=layer.name
        )
    unit = float(max(1, int(neuron.threshold_at(0)))) if normalise and neuron.spiking else 1.0
    bias, keep = neuron.bias_units() / unit, 0.0
    if layer.host:
        factor = 2.0 ** (neuron.bias_exponent - layer.host.shift) / unit
        bias = bias + layer.host.offset * factor
    else:
        factor = 2.0**synapse.exponent * fx.CURRENT_UNIT / unit
        keep = int(neuron.u_keep) / fx.DECAY_ONE
    weight = torch.from_numpy(synapse.weight.astype(np.float64) * factor).to(dtype)
    shift = torch.from_numpy(np.atleast_1d(np.array(bias))).to(dtype)
    later = shift if keep and bool(shift.any()) else None
    return TorchLayer(
        _current(synapse, weight, shift if later is None else torch.zeros(1, dtype=dtype)),
        tuple((neuron.leaks(steps) / fx.DECAY_ONE).tolist()),
        tuple((neuron.thresholds(steps) / unit).tolist()),
        keep,
        later,
        not neuron.spiking,
        weight,
    )


def _current(synapse: chip.Synapse, weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the product, with the bias inside it where torch takes one per output."""
    outputs = len(weight)
    per_output = bias.numel() == 1 or bias.numel() == bias.shape[0] == outputs
    inside = bias.flatten().expand(outputs).contiguous() if per_output else None
    rest = None if per_output else bias
    if not isinstance(synapse, chip.ConvSynapse):

        def dense(x: Tensor) -> Tensor:
            y = F.linear(x.flatten(1), weight, inside)
            return y if rest is None else y + rest

        return dense
    stride, padding = synapse.stride, synapse.padding
    dilation, groups = synapse.dilation, synapse.groups

    def conv(x: Tensor) -> Tensor:
        y = F.conv2d(x, weight, inside, stride, padding, dilation, groups)
        return y if rest is None else y + rest

    return conv
