"""How often u wrapped and v saturated: counted step by step, against a count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof import fixedpoint as fx
from spikeproof.certify.overflow import count_overflows, possible_overflows
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    LifNeuron,
)

STEPS = 6


def dense(weight: int, inputs: int, dv: int, du: int = 4095) -> ChipNetwork:
    array = np.full((1, inputs), weight, np.int16)
    neuron = LifNeuron(fx.THRESHOLD_MAX, dv, np.zeros(1, np.int32), 6, du)
    layer = ChipLayer("d", (Connection(DenseSynapse(array)),), neuron, (1,))
    return ChipNetwork("n", (inputs, 1, 1), STEPS, (layer,), "spikes")


def spikes(network: ChipNetwork, steps: int) -> np.ndarray:
    """One sample: all inputs spike in the first ``steps`` steps."""
    x = np.zeros((1, STEPS, *network.input_shape), np.uint8)
    x[:, :steps] = 1
    return x


def test_a_network_that_fits_is_not_even_run() -> None:
    assert count_overflows(dense(-2, 9, 0), np.zeros((0,), np.uint8)) == []


@pytest.mark.parametrize("steps", [0, 2, 3, 6])
def test_saturation_is_counted_by_the_step(steps: int) -> None:
    """-200 x 250 x 64 is -3.2 million a step: the third leaves, every further one, too."""
    (found,) = count_overflows(dense(-200, 250, 0), spikes(dense(-200, 250, 0), steps))
    assert (found.wrapped, found.saturated, found.values) == (0, max(0, steps - 2), STEPS)
    assert (found.u_bound, found.v_bound > fx.STATE_MAX) == (0, True)


def test_wrapping_is_counted() -> None:
    """-250 x 600 x 64 is -9.6 million: u wraps at once, and v clears every step (dv 4096)."""
    network = dense(-250, 600, 4096)
    (found,) = count_overflows(network, spikes(network, 2))
    assert (found.wrapped, found.saturated) == (2, 0)
    assert "u could reach 9,600,000" in found.sentence
    assert "2 times (33.33%) u wrapped" in found.sentence


def test_it_says_that_nothing_happened() -> None:
    network = dense(-200, 250, 0)
    (found,) = count_overflows(network, spikes(network, 1))
    assert found.sentence.endswith("On the self-test's 1 sample it never happened.")
    (possible,) = possible_overflows(network)
    assert possible.sentence.endswith("in every engine as on the chip.")


@pytest.mark.parametrize("seed", range(12))
def test_nothing_happens_where_nothing_can(seed: int) -> None:
    """Random networks, half of them nasty: what was counted lies in layers that are named."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, nasty=bool(seed % 2))
    for found in count_overflows(network, random_input(rng, network, 3)):
        assert found.wrapped == 0 or found.u_bound
        assert found.saturated == 0 or found.v_bound or found.u_bound


def test_convolutions_and_leaks_are_counted_like_the_engine_computes() -> None:
    weight = np.full((2, 1, 3, 3), -254, np.int16)
    synapse = ConvSynapse(weight, (1, 30, 30), (1, 1), (0, 0))
    neuron = LifNeuron(5, 40, np.full((2, 1, 1), -4000, np.int32), 7, 4095)
    layer = ChipLayer("c", (Connection(synapse),), neuron, (2, 28, 28))
    network = ChipNetwork("n", (1, 30, 30), 40, (layer,), "spikes")
    x = np.ones((1, 40, 1, 30, 30), np.uint8)
    v, count = 0, 0
    for _ in range(40):
        v = int(fx.scale_toward_zero(v, 4096 - 40)) - 9 * 254 * 64 - (4000 << 7)
        count += v < -fx.STATE_MAX
        v = max(v, -fx.STATE_MAX)
    (found,) = count_overflows(network, x)
    assert found.saturated == count * 2 * 28 * 28 > 0
