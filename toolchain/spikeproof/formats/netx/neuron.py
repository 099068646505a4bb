"""Neurons and biases of a ``.net`` layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.formats.netx.rules import BIAS_EXPONENT, SILENT_THRESHOLD
from spikeproof.formats.netx.values import LayerValues
from spikeproof.ir.chip import LifNeuron, ReadoutNeuron
from spikeproof.ir.shapes import Shape

Bias = NDArray[np.int32]
_TYPES = ("CUBA", "LOIHI")


def read_neuron(values: LayerValues, bias: Bias) -> LifNeuron | ReadoutNeuron | None:
    """Return the layer's neurons; None if they have no equal here (all reasons are noted).

    A threshold beyond 17 bits is how lava-dl writes a layer that never fires; without leak and
    synaptic filter that is a readout, its classes are told by the membrane.
    """
    if not values.has_neuron:
        return _default_neuron(values, bias)
    kind = values.text("neuron/type")
    if kind not in _TYPES:
        values.refuse(f"neurons of type {kind!r} are not supported; supported: {', '.join(_TYPES)}")
        values.skip_below("neuron/")
        return None
    values.fixed("neuron/refDelay", 1, "refractory delays are not supported")
    values.fixed("neuron/gradedSpike", 0, "graded spikes are not supported")
    values.fixed("neuron/messageBits", 0, "graded spikes are not supported")
    values.fixed("neuron/wgtExp", 0, "a weight exponent is ignored by lava-dl")
    values.skip("neuron/theta", "neuron/tauRho", "neuron/scaleRho")  # used in training only
    synaptic = values.whole("neuron/iDecay", 1, fx.DECAY_ONE)
    membrane = values.whole("neuron/vDecay", 0, fx.DECAY_ONE)
    threshold = values.one("neuron/vThMant")
    if synaptic is None or membrane is None or threshold is None:
        return None
    if 0 <= threshold <= fx.THRESHOLD_MAX:
        return LifNeuron(threshold, membrane, bias, BIAS_EXPONENT, synaptic - 1)
    if fx.THRESHOLD_MAX < threshold <= SILENT_THRESHOLD and (synaptic, membrane) == (
        fx.DECAY_ONE,
        0,
    ):
        return ReadoutNeuron(bias, BIAS_EXPONENT)
    values.refuse(
        f"neuron/vThMant is {threshold}, the chip takes 0..{fx.THRESHOLD_MAX} (up to "
        f"{SILENT_THRESHOLD} only for a readout: vDecay 0, iDecay {fx.DECAY_ONE})"
    )
    return None


def _default_neuron(values: LayerValues, bias: Bias) -> ReadoutNeuron | None:
    """Return what lava-dl puts where a dense layer has no neuron.

    That is iDecay 0, vDecay 4096 and a threshold v cannot reach: u sums up what arrives and v is
    u. A readout has the same v, as long as nothing leaves 24 bits; its u is that of one step.
    """
    if values.raw.kind != "dense":
        values.refuse("has no neuron; lava-dl knows a default one for dense layers only")
        return None
    if bias.any():
        values.refuse(
            "has no neuron but a bias: lava-dl's default neuron adds it once, a readout at "
            f"every step; write the neuron (iDecay {fx.DECAY_ONE}, vDecay 0, vThMant "
            f"{SILENT_THRESHOLD}) if that is meant"
        )
        return None
    return ReadoutNeuron(bias, BIAS_EXPONENT)


def read_bias(values: LayerValues, shape: Shape) -> Bias:
    """Return bias mantissas for neurons of ``shape``: one per neuron, or (C, 1, 1) per channel.

    The file holds one per channel, one per neuron of a convolution as (W, H, C), or a single one
    for all neurons of a dense layer.
    """
    per_channel = (shape[0],) + (1,) * (len(shape) - 1)
    none = np.zeros(per_channel, np.int32)
    found = values.array("bias")
    if found is None:
        return none
    if (np.abs(found) > fx.BIAS_MANTISSA_MAX).any():
        values.refuse(
            f"bias spans {found.min()}..{found.max()}, the chip takes "
            f"{-fx.BIAS_MANTISSA_MAX}..{fx.BIAS_MANTISSA_MAX}"
        )
    elif len(shape) == 3 and found.shape == shape[::-1]:
        return np.ascontiguousarray(found.transpose(2, 1, 0)).astype(np.int32)
    elif found.ndim == 1 and len(found) == shape[0]:
        return found.reshape(per_channel).astype(np.int32)
    elif len(shape) == 1 and found.ndim <= 1 and found.size == 1:
        return np.full(shape, found.item(), np.int32)
    else:
        values.refuse(f"bias has shape {found.shape}, expected ({shape[0]},)")
    return none
