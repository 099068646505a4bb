"""How far the state of a layer can go for any input: it decides which update its kernel needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip

Int64s = NDArray[np.int64]
ANY, UNCLIPPED, SMALL = 0, 1, 2
"""Updates a kernel has: the whole rule; v cannot saturate; nor can v x leak leave 32 bits."""


def update_mode(layer: chip.ChipLayer, steps: int, payload: int, plain_sum: bool) -> int:
    """Return the cheapest update that is exact for every input.

    Args:
        layer: a layer of a checked network.
        steps: T.
        payload: the largest input, 1 or 255.
        plain_sum: whether the sum is only shifted left, and u is never filtered or wrapped.
    """
    if not plain_sum:
        return ANY
    reached, kept, largest_leak = _reach(layer, steps, payload)
    if reached > fx.STATE_MAX:
        return ANY
    fits = kept * largest_leak + fx.DECAY_ONE <= np.iinfo(np.int32).max
    return SMALL if fits else UNCLIPPED


def _reach(layer: chip.ChipLayer, steps: int, payload: int) -> tuple[int, int, int]:
    """Return the largest |v| before and after the reset, and the largest leak."""
    low_drive, high_drive = _drive(layer, payload)
    low, high = np.zeros_like(low_drive), np.zeros_like(high_drive)
    reached = kept = largest = 0
    for t in range(steps):
        leak, threshold = layer.neuron.leak_at(t), layer.neuron.threshold_at(t)
        low = fx.scale_toward_zero(low, leak) + low_drive
        high = fx.scale_toward_zero(high, leak) + high_drive
        reached = max(reached, int(-low.min()), int(high.max()))
        low, high = np.minimum(low, 0), np.clip(high, 0, threshold)  # fired: 0; not: at most that
        kept = max(kept, int(-low.min()), int(high.max()))
        largest = max(largest, leak)
        if reached > fx.STATE_MAX:
            break
    return reached, kept, largest


def _drive(layer: chip.ChipLayer, payload: int) -> tuple[Int64s, Int64s]:
    """Return the smallest and largest amount added to v in a step, for each channel."""
    synapse, neuron = layer.synapse, layer.neuron
    bias = _by_channel(neuron.bias, layer)
    if layer.host:
        offset, shift = _by_channel(layer.host.offset, layer), layer.host.shift
        low, high = _sums(synapse, payload)
        low = fx.round_half_up_shift(low + offset.min(axis=1), shift)
        high = fx.round_half_up_shift(high + offset.max(axis=1), shift)
        low, high = low + bias.min(axis=1), high + bias.max(axis=1)
        return fx.shift_sum(low, neuron.bias_exponent), fx.shift_sum(high, neuron.bias_exponent)
    bias = fx.shift_sum(bias, neuron.bias_exponent)
    low, high = (
        fx.shift_sum(fx.shift_sum(s, synapse.exponent), fx.CURRENT_SHIFT)
        for s in _sums(synapse, payload)
    )
    return low + bias.min(axis=1), high + bias.max(axis=1)


def _sums(synapse: chip.Synapse, payload: int) -> tuple[Int64s, Int64s]:
    rows = synapse.weight.reshape(len(synapse.weight), -1)
    low = np.minimum(rows, 0).sum(axis=1, dtype=np.int64)
    return low * payload, (rows.sum(axis=1, dtype=np.int64) - low) * payload


def _by_channel(values: Any, layer: chip.ChipLayer) -> Int64s:
    whole = np.broadcast_to(values.astype(np.int64), layer.shape)
    return whole.reshape(layer.shape[0], -1)
