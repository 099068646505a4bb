"""Constants of the neuron update at one step, read off the chip dialect.

Engines, the range certificate, the lowering and the checks all need the leak and the threshold
that hold at step t; they are a property of the network, so no engine owns them.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip


@singledispatch
def neuron_step(neuron: Any, t: int) -> tuple[int, int, int]:
    """Return (du, leak numerator, raw threshold) at step t; a readout never reaches its own."""
    raise TypeError(f"no step for {type(neuron).__name__}")


@neuron_step.register
def _(neuron: chip.LifNeuron, t: int) -> tuple[int, int, int]:
    threshold = int(fx.shift_sum(neuron.threshold, fx.CURRENT_SHIFT))
    return neuron.du, fx.DECAY_ONE - neuron.dv, threshold


@neuron_step.register
def _(neuron: chip.TableLifNeuron, t: int) -> tuple[int, int, int]:
    return neuron.du, int(neuron.leak[t]), int(neuron.threshold[t])


@neuron_step.register
def _(neuron: chip.ReadoutNeuron, t: int) -> tuple[int, int, int]:
    return fx.DECAY_ONE - 1, fx.DECAY_ONE, fx.STATE_MAX
