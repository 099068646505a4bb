"""All kinds of neurons and synapses of the chip, under the names that bundles have for them."""

from __future__ import annotations

from spikeproof.ir.neurons import Neuron
from spikeproof.ir.synapses import Synapse
from spikeproof.registry import Registry

NEURONS: Registry[type[Neuron]] = Registry(
    "neuron",
    "spikeproof.neurons",
    {
        "LifNeuron": "spikeproof.ir.neurons:LifNeuron",
        "TableLifNeuron": "spikeproof.ir.neurons:TableLifNeuron",
        "GeneralLifNeuron": "spikeproof.ir.neurons:GeneralLifNeuron",
        "ReadoutNeuron": "spikeproof.ir.neurons:ReadoutNeuron",
    },
)
SYNAPSES: Registry[type[Synapse]] = Registry(
    "synapse",
    "spikeproof.synapses",
    {
        "DenseSynapse": "spikeproof.ir.synapses:DenseSynapse",
        "ConvSynapse": "spikeproof.ir.synapses:ConvSynapse",
    },
)
