"""The chip dialect: integers only, exactly what docs/semantics.md runs.

A network is a chain of layers; each layer is one synapse and one neuron population.
Array shapes: neurons (C, H, W) or (N,); weights (out, in) or (out, in/groups, kH, kW).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.signedinteger[Any]]
Shape = tuple[int, ...]
Sign = Literal["mixed", "excitatory", "inhibitory"]


@dataclass(frozen=True, eq=False)
class DenseSynapse:
    """a = W s on the input flattened in C-order; weight (out, in).

    ``sign`` selects the legal 8-bit weights: mixed = even -256..254, excitatory = 0..255,
    inhibitory = -255..0. ``exponent`` shifts the finished sum (floor when negative).
    """

    weight: Ints
    sign: Sign = "mixed"
    exponent: int = 0


@dataclass(frozen=True, eq=False)
class ConvSynapse:
    """Cross-correlation with zero padding; weight (out, in/groups, kH, kW), input (C, H, W)."""

    weight: Ints
    input_shape: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    sign: Sign = "mixed"
    exponent: int = 0


Synapse = DenseSynapse | ConvSynapse


@dataclass(frozen=True, eq=False)
class HostCurrent:
    """Constant first-layer current, computed once per image on the host and written as bias.

    mantissa = round_half_up((W x + offset) / 2**shift); |mantissa| <= 4095 for every image.
    The inner synapse is host arithmetic: weights are not bound to 8 bits (|w| <= 32767),
    its exponent is 0; ``offset`` broadcasts to the neurons' shape.
    """

    synapse: Synapse
    offset: Ints
    shift: int


@dataclass(frozen=True, eq=False)
class LifNeuron:
    """CUBA-LIF with one decay and threshold per population.

    threshold: 17-bit mantissa, compared as ``v > threshold << 6``; dv, du: 12-bit decays
    (dv 0..4096; du 0..4095, 4095 = no synaptic filter). bias: 13-bit signed mantissas,
    broadcastable to the neurons' shape, added to v each step as ``bias << bias_exponent``.
    """

    threshold: int
    dv: int
    bias: Ints
    bias_exponent: int = 0
    du: int = 4095


@dataclass(frozen=True, eq=False)
class TableLifNeuron:
    """LIF whose leak and threshold change with the step: a lowered DLIF gain.

    leak: (T,) numerators over 4096, 0..16383 (above 4096 the state grows);
    threshold: (T,) in raw v-units, compared as ``v > threshold[t]``. The index runs on the
    layer's own clock and restarts with each sample. Bias and du as in LifNeuron.
    """

    leak: Ints
    threshold: Ints
    bias: Ints
    bias_exponent: int = 0
    du: int = 4095


@dataclass(frozen=True, eq=False)
class ReadoutNeuron:
    """Non-spiking integrator: v accumulates without decay; logits are v at the last step."""

    bias: Ints
    bias_exponent: int = 0


Neuron = LifNeuron | TableLifNeuron | ReadoutNeuron
CHIP_PARTS: tuple[type[Any], ...] = (
    DenseSynapse,
    ConvSynapse,
    HostCurrent,
    LifNeuron,
    TableLifNeuron,
    ReadoutNeuron,
)


@dataclass(frozen=True, eq=False)
class ChipLayer:
    """One synapse and the neurons it feeds."""

    name: str
    synapse: Synapse | HostCurrent
    neuron: Neuron
    shape: Shape
    """Shape of the neuron population, (C, H, W) or (N,)."""


@dataclass(frozen=True, eq=False)
class ChipNetwork:
    """A chain of layers, run for ``timesteps`` steps per sample.

    coding "pixels": input uint8 (C, H, W), the same graded payload at every step (or the
    host current); "spikes": input 0/1 of shape (T, C, H, W). The last layer is the readout
    (or a spiking layer, for networks that come from elsewhere).
    """

    name: str
    input_shape: Shape
    timesteps: int
    layers: tuple[ChipLayer, ...]
    coding: Literal["pixels", "spikes"] = "pixels"
