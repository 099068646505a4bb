"""Synaptic operations are counted as a chip would do them: one per spike and non-zero weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.ir.chip import ConvSynapse, DenseSynapse
from spikeproof.verify.operations import count_operations, weights_met


def _one_by_one(synapse: ConvSynapse, arriving: Any) -> int:
    """Walk over every output neuron and every tap."""
    channels, height, width = arriving.shape
    outputs, per_group, k_h, k_w = synapse.weight.shape
    reach = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip(
            (height, width),
            synapse.padding,
            synapse.dilation,
            (k_h, k_w),
            synapse.stride,
            strict=True,
        )
    ]
    total = 0
    for o, y, x, c, i, j in np.ndindex(outputs, *reach, per_group, k_h, k_w):
        row = y * synapse.stride[0] - synapse.padding[0] + i * synapse.dilation[0]
        column = x * synapse.stride[1] - synapse.padding[1] + j * synapse.dilation[1]
        source = o // (outputs // synapse.groups) * per_group + c
        inside = 0 <= row < height and 0 <= column < width and source < channels
        if inside and synapse.weight[o, c, i, j]:
            total += int(arriving[source, row, column])
    return total


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_adds_each_weight_that_a_spike_meets(groups: int) -> None:
    rng = np.random.default_rng(3)
    weight = 2 * rng.integers(-2, 3, (4, 4 // groups, 3, 3))
    synapse = ConvSynapse(weight, (4, 5, 6), (2, 1), (1, 1), (1, 2), groups)
    arriving = rng.integers(0, 4, (4, 5, 6))
    assert weights_met(synapse, arriving) == _one_by_one(synapse, arriving) > 0


def test_a_dense_layer_adds_each_weight_that_a_spike_meets() -> None:
    synapse = DenseSynapse(np.array([[0, 2, -4], [6, 0, 8]]), exponent=3)
    assert weights_met(synapse, np.array([5, 1, 2])) == 5 + 1 + 2 * 2


def test_a_network_counts_spikes_of_the_layer_before_and_nothing_for_the_host(case: Any) -> None:
    network, x = case.bundle.network, case.x[:3]
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    first, second, out = count_operations(network, x, traces)
    fired = traces["l1"].s.reshape(3, network.timesteps, -1).sum(axis=(0, 1))
    fan_out = np.count_nonzero(network.layers[1].synapse.weight, axis=0)
    assert first.host > 0 and first.synaptic == first.synaptic_most == 0
    assert first.spikes == fired.sum() / 3
    assert second.synaptic == pytest.approx((fired * fan_out).sum() / 3)
    assert second.synaptic_most == network.timesteps * fan_out.sum()
    assert out.spikes is None
