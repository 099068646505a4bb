"""How far the state of a layer can go for any input: it decides which update its kernel needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.ir import chip
from spikeproof.numerics.intervals import Interval, drive_of, states

ANY, UNCLIPPED, SMALL, EACH = 0, 1, 2, 3
"""Updates a kernel has: the whole rule for neurons that are alike; v cannot saturate; nor can
v x leak leave 32 bits; the whole rule with the numbers of each neuron."""


def update_mode(layer: chip.ChipLayer, steps: int, payloads: Sequence[int], plain_sum: bool) -> int:
    """Return the cheapest update that is exact for every input.

    Args:
        layer: a layer of a checked network.
        steps: T.
        payloads: the largest input of each connection, 1 or 255.
        plain_sum: whether the sum is only shifted left, and u is never filtered or wrapped.
    """
    if not layer.neuron.uniform:
        return EACH
    if not plain_sum:
        return ANY
    sums = [
        _sums(one.synapse, payload, layer)
        for one, payload in zip(layer.inputs, payloads, strict=True)
    ]
    kept = 0
    for state in states(layer, drive_of(layer, sums), steps):
        if max(-state.v_low.min(), state.v_high.max()) > fx.STATE_MAX:
            return ANY
        kept = max(kept, int(-state.kept_low.min()), int(state.kept_high.max()))
    largest_leak = int(layer.neuron.leaks(steps).max())
    fits = kept * largest_leak + fx.DECAY_ONE <= np.iinfo(np.int32).max
    return SMALL if fits else UNCLIPPED


def _sums(synapse: chip.Synapse, payload: int, layer: chip.ChipLayer) -> Interval:
    """Bound the sums of a connection, 0 among them: a lag keeps everything back at first."""
    rows = synapse.rows
    low = np.minimum(rows, 0).sum(axis=1, dtype=np.int64)
    high = rows.sum(axis=1, dtype=np.int64) - low
    # One sum per channel bounds those of all its places, with the border or without.
    per_channel = (-1,) + (1,) * (len(layer.shape) - 1)
    return (low * payload).reshape(per_channel), (high * payload).reshape(per_channel)
