"""Tell a readout from a spiking layer by proof: a last layer that can never fire.

lava-dl writes regressors with the highest threshold the chip takes, no leak and no synaptic filter.
Whether such a layer fires does not depend on its name: if no input whatever lets v pass the
threshold, its spike counts are 0 for ever, and what it says is its membrane.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.certify.ranges import LayerRange, certify_layer
from spikeproof.ir.chip import ChipLayer, ChipNetwork, LifNeuron, ReadoutNeuron


def integrates_to_the_top(layer: ChipLayer) -> bool:
    """Tell whether a layer has a regressor's parameters: highest threshold, no leak, no filter."""
    neuron = layer.neuron
    return isinstance(neuron, LifNeuron) and (neuron.threshold, neuron.dv, neuron.du) == (
        fx.THRESHOLD_MAX,
        0,
        fx.DECAY_ONE - 1,
    )


def with_proved_readout(network: ChipNetwork) -> ChipNetwork:
    """Return a legal network whose last layer is a readout, if it is proved to be one.

    u and v stay what they are; the layer no longer has spikes, of which it had none.
    """
    last = network.layers[-1]
    if last.host or not integrates_to_the_top(last):
        return network
    readout = replace(last, neuron=ReadoutNeuron(last.neuron.bias, last.neuron.bias_exponent))
    if not last_range(network, readout).ok:
        return network
    return replace(network, layers=(*network.layers[:-1], readout))


def last_range(network: ChipNetwork, last: ChipLayer) -> LayerRange:
    """Bound the last layer, whatever the layers before it do."""
    (source,) = network.sources[-1]
    highest = np.full(network.shape_of(source), network.payload_of(source), np.int64)
    return certify_layer(last, [highest], network.timesteps)[0]
