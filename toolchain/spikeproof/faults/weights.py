"""Bit flips in the memory of the chip's synapses.

What is stored is a byte for each weight: under mixed signs half of it in two's complement (its
lowest bit is dropped by the chip), else its magnitude. A kernel is stored once, for all places. The
weights of a current that the host computes are none of the chip's memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeproof.faults.base import Fault, Faulted, Images, Labels, Pair
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.ir.synapses import Synapse

BITS = 8
Bytes = NDArray[np.uint8]


def stored(synapse: Synapse) -> Bytes:
    """Return the bytes that hold the weights, in their shape."""
    weight = synapse.weight.astype(np.int64)
    if synapse.sign == "mixed":
        return (weight >> 1).astype(np.int8).view(np.uint8)
    return np.abs(weight).astype(np.uint8)


def from_stored(synapse: Synapse, held: Bytes) -> Synapse:
    """Return the synapse whose weights are held in these bytes."""
    if synapse.sign == "mixed":
        weight = held.view(np.int8).astype(np.int16) * 2
    else:
        weight = held.astype(np.int16) * (-1 if synapse.sign == "inhibitory" else 1)
    return synapse.changed(weight=weight.astype(np.result_type(synapse.weight, np.int16)))


def memories(network: ChipNetwork) -> Iterator[tuple[int, int, Synapse]]:
    """Yield (layer, connection, synapse) for all weights that the chip stores."""
    for i, layer in enumerate(network.layers):
        for k, one in enumerate(layer.inputs):
            if one.host is None:
                yield i, k, one.synapse


def flipped(pair: Pair, masks: dict[tuple[int, int], Bytes]) -> Faulted:
    """Return both networks with the bits flipped that are 1 in the masks.

    Args:
        pair: the networks.
        masks: bytes in the shape of the weights, by (layer, connection); those without a 1 count
            for nothing.
    """
    changed: dict[str, ChipLayer] = {}
    for (i, k), mask in masks.items():
        if not mask.any():
            continue
        layer = changed.get(pair.chip.layers[i].name, pair.chip.layers[i])
        one = layer.inputs[k]
        synapse = from_stored(one.synapse, stored(one.synapse) ^ mask)
        inputs = list(layer.inputs)
        inputs[k] = one.changed(synapse=synapse)
        changed[layer.name] = layer.changed(inputs=tuple(inputs))
    chip = pair.with_layers(changed)
    return Faulted(pair.trained if chip is pair.chip else pair.as_trained(chip), chip)


@dataclass(frozen=True)
class WeightBits(Fault):
    """Every stored bit of a weight is flipped with the same probability."""

    kind = "weight-bits"
    title = "weight bits flipped"
    unit = "of stored bits"
    rates = (0.001, 0.01, 0.05)

    def strike(self, pair: Pair, seed: int, x: Images, y: Labels) -> Faulted:
        """Flip bits of the chip's memory, and change the trained weights by as much."""
        masks = {}
        for i, k, synapse in memories(pair.chip):
            chosen = self.draws(seed, i, k).random((*synapse.weight.shape, BITS)) < self.rate
            masks[i, k] = np.packbits(chosen, axis=-1)[..., 0]
        return flipped(pair, masks)
